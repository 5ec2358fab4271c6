"""The content tree of the structured report (PS3.16 TID 1500, 1002, 1004, 1410, 1600, 4019).

Built item by item, because its order is what plain renderers print: the one-line comment with the disclaimer is the
first thing anybody sees. Every group is TID 1410 with the analysed field of view as region; a group without coordinates
ends OHIF's viewer route. The tree stays
inside the Enhanced SR subset (`dicom_io.sr_class`). No sentence stands here: they are all in `dicom_io.wording`.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from highdicom.sr import ContainerContentItem, ContentItem, ContentSequence
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_io import codes, wording
from dicom_io import content_items as items
from dicom_io.attention_groups import attention_groups
from dicom_io.envelope import ReportContext, datetime_text, local_time
from dicom_io.outcomes import Analysed
from dicom_io.tree_parts import (
    algorithm,
    document_root,
    frame_corners,
    image_library,
    inset_frame,
    model_parameters,
    tracking,
    whole_frame,
)
from dicom_io.words import Language
from model.domain import Category, ClinicalInput, Mode, Quality, Scored, Sex

_CATEGORIES: Final = {
    Category.ABOVE: (codes.ABOVE, codes.HIGH_RISK),
    Category.BETWEEN: (codes.BETWEEN, codes.MODERATE_RISK),
    Category.BELOW: (codes.BELOW, codes.LOW_RISK),
}
_SEXES: Final = {Sex.FEMALE: codes.FEMALE, Sex.MALE: codes.MALE}


def report_tree(header: Dataset, radiograph: Analysed, result: Scored, context: ReportContext) -> ContainerContentItem:
    """The root container of one result, every container below it SEPARATE.

    Raises:
        ValueError, TypeError: a value cannot be written (not finite, too long).

    """
    return document_root(
        context,
        library=image_library(header),
        groups=[
            _result_group(header, radiograph, result, context),
            *(attention_groups(header, radiograph, result, context) if context.attention_regions else []),
        ],
        evaluations=_evaluations(result, context),
        more=_characteristics(header, radiograph, result, context),
    )


def analysed_frame(radiograph: Analysed, result: Scored) -> tuple[int, int, int, int]:
    """The analysed field of view, clipped to the image and inset: (top, left, bottom, right), inclusive pixels."""
    rows, columns = radiograph.shape
    top, left, bottom, right = result.analysed_region
    top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, rows), min(right, columns)
    if bottom <= top or right <= left:
        return whole_frame(rows, columns)
    return inset_frame(top, left, bottom, right)


def _result_group(header: Dataset, radiograph: Analysed, result: Scored, context: ReportContext) -> list[ContentItem]:
    """TID 1410 with TID 4019."""
    category, risk = _CATEGORIES[result.category]
    fused = result.mode is Mode.IMAGE_AND_CLINICAL
    quality = codes.QUALITY_LIMITED if result.quality is Quality.LIMITED else codes.QUALITY_PASS
    return [
        *tracking(header, context),
        items.text(codes.COMMENT, wording.comment(result, language=context.language)),
        items.code(codes.CATEGORY, category),
        items.code(codes.INPUTS_USED, codes.IMAGE_AND_CLINICAL if fused else codes.IMAGE_ONLY),
        *([items.code(codes.FINDING, codes.OSTEOPOROSIS)] if result.category is Category.ABOVE else []),
        *algorithm(result.model, _parameters(result)),
        *_probabilities(result),
        items.code(codes.OSTEOPOROSIS, risk),
        items.code(codes.INPUT_QUALITY, quality),
        _region(header, radiograph, result),
    ]


def _parameters(result: Scored) -> tuple[str, ...]:
    """Everything needed to repeat the decision; numbers to their last digit."""
    return (
        f"threshold={float(result.t_high)!r}",
        *([f"threshold_low={float(result.t_low)!r}"] if result.t_low < result.t_high else []),
        *([] if result.prevalence is None else [f"site_prevalence={float(result.prevalence)!r}"]),
        *model_parameters(result.model),
    )


def _probabilities(result: Scored) -> list[ContentItem]:
    shown = wording.percentages(result)
    rows = [
        (codes.P_FUSED, shown.fused),
        (codes.THRESHOLD, shown.t_high),
        (codes.P_IMAGE, shown.image),
        (codes.P_CLINICAL, shown.clinical),
    ]
    return [items.number(name, float(text), codes.PERCENT) for name, text in rows if text is not None]


def _region(header: Dataset, radiograph: Analysed, result: Scored) -> ContentItem:
    """The frame of the analysed field of view."""
    corners = frame_corners(analysed_frame(radiograph, result))
    return items.region(corners, str(header.SOPClassUID), str(header.SOPInstanceUID))


def _evaluations(result: Scored, context: ReportContext) -> list[ContentItem]:
    """Row 12 of TID 1500: what a reader must know beside the numbers."""
    language = context.language
    intended = wording.intended_use(simulated=result.model.simulated_training, language=language)
    return [
        items.text(codes.DISCLAIMER, intended),
        *(items.text(codes.QUALITY_FINDING, wording.reason(reason, language=language)) for reason in result.reasons),
        items.text(codes.MATCH, f"{result.match}: {wording.match(result.match, language=language)}"),
    ]


def _characteristics(
    header: Dataset, radiograph: Analysed, result: Scored, context: ReportContext
) -> list[ContentItem]:
    """Extension of TID 1500: the clinical inputs, used and missing."""
    sex = _SEXES.get(_sex(radiograph, result))
    zone = local_time(header, context).tzinfo
    shown = (item for item in result.inputs if item.variable not in wording.SEX_VARIABLES)
    content = [
        *([items.code(codes.SUBJECT_SEX, sex)] if sex else []),
        *(_clinical_item(item, result, zone, context.language) for item in shown),
    ]
    return [items.container(codes.PATIENT_CHARACTERISTICS, content)] if content else []


def _sex(radiograph: Analysed, result: Scored) -> Sex:
    """The sex the model used (1 = female, 0 = male), else the image header's."""
    used = next((i.value for i in result.inputs if i.variable in wording.SEX_VARIABLES), None)
    if used is None:
        return radiograph.sex
    return Sex.FEMALE if used else Sex.MALE


def _clinical_item(item: ClinicalInput, result: Scored, zone: dt.tzinfo | None, language: Language) -> ContentItem:
    """Names and units are codes, and stay English; where the value came from is a sentence."""
    name = _variable_code(item)
    if item.value is None:
        return items.code(name, codes.INPUT_MISSING)
    number = items.number(name, item.value, codes.unit(item.unit))
    if item.observed_at is not None:
        number.add_new("ObservationDateTime", "DT", datetime_text(item.observed_at.astimezone(zone)))
    source = wording.source_of(item, used=result.mode is not Mode.IMAGE_ONLY, language=language)
    number.ContentSequence = ContentSequence([items.text(codes.DATA_SOURCE, source, items.PROPERTY)])
    return number


def _variable_code(item: ClinicalInput) -> Code:
    meaning = wording.variable(item.variable)
    if item.code:
        return codes.loinc(item.code, meaning)
    return codes.SUBJECT_AGE if item.variable == "age" else codes.local_variable(item.variable, meaning)
