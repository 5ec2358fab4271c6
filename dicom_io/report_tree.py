"""The content tree of the structured report (PS3.16 TID 1500, 1002, 1004, 1410, 1600, 4019).

Built item by item, because its order is what plain renderers print: the one-line comment with the disclaimer is the
first thing anybody sees. Every group is TID 1410 with the analysed field of view as region; a group without coordinates
ends OHIF's viewer route. Every container is SEPARATE; with CONTINUOUS, `dsr2html` drops all labels. The tree stays
inside the Enhanced SR subset. No sentence stands here: they are all in `dicom_io.wording`.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    ImageLibrary,
    NumContentItem,
    ScoordContentItem,
    TextContentItem,
    UIDRefContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_io import codes, uids, wording
from dicom_io.envelope import ReportContext, datetime_text, local_time
from dicom_io.implementation import MODEL_NAME
from model.domain import Category, ClinicalInput, Mode, Quality, Radiograph, Scored, Sex

FRAME_INSET: Final = 0.02
"""The region's frame stands this far inside the field of view, so that it is visible at the image's edge."""
_CONTAINS: Final = "CONTAINS"
_MODIFIES: Final = "HAS CONCEPT MOD"
_CONTEXT: Final = "HAS OBS CONTEXT"
_PROPERTY: Final = "HAS PROPERTIES"
_CATEGORIES: Final = {
    Category.ABOVE: (codes.ABOVE, codes.HIGH_RISK),
    Category.BETWEEN: (codes.BETWEEN, codes.MODERATE_RISK),
    Category.BELOW: (codes.BELOW, codes.LOW_RISK),
}
_SEXES: Final = {Sex.FEMALE: codes.FEMALE, Sex.MALE: codes.MALE}
_PROJECTION_XRAY: Final = ("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1")


def report_tree(
    header: Dataset, radiograph: Radiograph, result: Scored, context: ReportContext
) -> ContainerContentItem:
    """The root container of one result, every container below it SEPARATE.

    Raises:
        ValueError, TypeError: a value cannot be written (not finite, too long).

    """
    measurements = _container(codes.IMAGING_MEASUREMENTS, [_result_group(header, radiograph, result, context)])
    root = _container(
        codes.IMAGING_MEASUREMENT_REPORT,
        [
            _code(codes.LANGUAGE, codes.ENGLISH, _MODIFIES),
            *_observer(context),
            _code(codes.PROCEDURE_REPORTED, codes.IMAGING_PROCEDURE, _MODIFIES),
            *_image_library(header),
            measurements,
            _container(codes.QUALITATIVE_EVALUATIONS, _evaluations(result)),
            *_characteristics(radiograph, result, local_time(header, context)),
        ],
        template="1500",
        relationship=None,
    )
    _separate(root)
    return root


def analysed_frame(radiograph: Radiograph, result: Scored) -> tuple[int, int, int, int]:
    """The analysed field of view, clipped to the image and inset: (top, left, bottom, right), inclusive pixels."""
    rows, columns = radiograph.pixels.shape
    top, left, bottom, right = result.analysed_region
    top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, rows), min(right, columns)
    if bottom <= top or right <= left:
        top, left, bottom, right = 0, 0, rows, columns
    down, across = round((bottom - top) * FRAME_INSET), round((right - left) * FRAME_INSET)
    return top + down, left + across, bottom - 1 - down, right - 1 - across


def _observer(context: ReportContext) -> list[ContentItem]:
    """TID 1002 and 1004: the device that observed."""
    return [
        _code(codes.OBSERVER_TYPE, codes.DEVICE, _CONTEXT),
        UIDRefContentItem(codes.DEVICE_UID, uids.device_uid(context.installation.namespace), _CONTEXT),
        _text(codes.DEVICE_NAME, context.ae_title, _CONTEXT),
        _text(codes.DEVICE_MANUFACTURER, wording.MANUFACTURER, _CONTEXT),
        _text(codes.DEVICE_MODEL, MODEL_NAME, _CONTEXT),
        _text(codes.DEVICE_SERIAL, context.installation.serial, _CONTEXT),
    ]


def _image_library(header: Dataset) -> list[ContentItem]:
    """TID 1600, left out where the source lacks what highdicom reads for it (often in CR)."""
    orientation, spacing = header.get("PatientOrientation"), header.get("ImagerPixelSpacing")
    pairs = all(isinstance(v, Sequence) and not isinstance(v, str) and len(v) == 2 for v in (orientation, spacing))  # noqa: PLR2004
    if not pairs or not all(orientation or ()) or header.SOPClassUID not in _PROJECTION_XRAY:
        return []
    if not header.get("Rows") or not header.get("Columns"):
        return []
    library: list[ContentItem] = [*ImageLibrary([header])]
    return library


def _result_group(
    header: Dataset, radiograph: Radiograph, result: Scored, context: ReportContext
) -> ContainerContentItem:
    """TID 1410 with TID 4019."""
    category, risk = _CATEGORIES[result.category]
    fused = result.mode is Mode.IMAGE_AND_CLINICAL
    quality = codes.QUALITY_LIMITED if result.quality is Quality.LIMITED else codes.QUALITY_PASS
    items = [
        _text(codes.TRACKING_ID, wording.TRACKING, _CONTEXT),
        UIDRefContentItem(
            codes.TRACKING_UID, uids.tracking_uid(context.installation.namespace, str(header.SOPInstanceUID)), _CONTEXT
        ),
        _text(codes.COMMENT, wording.comment(result)),
        _code(codes.CATEGORY, category),
        _code(codes.INPUTS_USED, codes.IMAGE_AND_CLINICAL if fused else codes.IMAGE_ONLY),
        *([_code(codes.FINDING, codes.OSTEOPOROSIS)] if result.category is Category.ABOVE else []),
        *_algorithm(result),
        *_probabilities(result),
        _code(codes.OSTEOPOROSIS, risk),
        _code(codes.INPUT_QUALITY, quality),
        _region(header, radiograph, result),
    ]
    return _container(codes.MEASUREMENT_GROUP, items, template="1410")


def _algorithm(result: Scored) -> list[ContentItem]:
    """TID 4019; Algorithm Parameters say everything needed to repeat the decision."""
    model = result.model
    zone = [f"threshold_low={result.t_low:.6g}"] if result.t_low < result.t_high else []
    parameters = [
        f"threshold={result.t_high:.6g}",
        *zone,
        f"calibration={model.calibration_id}",
        f"image_model_sha256={model.image_sha256}",
        f"clinical_model_sha256={model.clinical_sha256}",
        f"fusion={model.fusion}",
        f"bundle={model.bundle_id}",
        f"training={'simulated images' if model.simulated_training else 'radiographs'}",
    ]
    return [
        _text(codes.ALGORITHM_NAME, model.name, _MODIFIES),
        _text(codes.ALGORITHM_VERSION, model.version, _MODIFIES),
        _text(codes.ALGORITHM_MANUFACTURER, wording.MANUFACTURER, _MODIFIES),
        *(_text(codes.ALGORITHM_PARAMETERS, text, _MODIFIES) for text in parameters),
        _code(codes.ALGORITHM_FAMILY, codes.ARTIFICIAL_INTELLIGENCE, _MODIFIES),
    ]


def _probabilities(result: Scored) -> list[ContentItem]:
    shown = wording.percentages(result)
    rows = [
        (codes.P_FUSED, shown.fused),
        (codes.THRESHOLD, shown.t_high),
        (codes.P_IMAGE, shown.image),
        (codes.P_CLINICAL, shown.clinical),
    ]
    return [_number(name, float(text), codes.PERCENT) for name, text in rows if text is not None]


def _region(header: Dataset, radiograph: Radiograph, result: Scored) -> ScoordContentItem:
    """Closed POLYLINE of (column, row) pairs in the source image."""
    top, left, bottom, right = analysed_frame(radiograph, result)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    region = ScoordContentItem(codes.IMAGE_REGION, "POLYLINE", np.array(corners, float), relationship_type=_CONTAINS)
    image = ImageContentItem(
        codes.SOURCE, str(header.SOPClassUID), str(header.SOPInstanceUID), relationship_type="SELECTED FROM"
    )
    region.ContentSequence = ContentSequence([image])
    return region


def _evaluations(result: Scored) -> list[ContentItem]:
    """Row 12 of TID 1500: what a reader must know beside the numbers."""
    return [
        _text(codes.DISCLAIMER, wording.intended_use(simulated=result.model.simulated_training)),
        *(_text(codes.QUALITY_FINDING, wording.reason(reason)) for reason in result.reasons),
        _text(codes.MATCH, f"{result.match}: {wording.match(result.match)}"),
    ]


def _characteristics(radiograph: Radiograph, result: Scored, moment: dt.datetime) -> list[ContentItem]:
    """Extension of TID 1500: the clinical inputs, used and missing."""
    sex = _SEXES.get(_sex(radiograph, result))
    items = [
        *([_code(codes.SUBJECT_SEX, sex)] if sex else []),
        *(_clinical_item(i, result, moment) for i in result.inputs if i.variable not in wording.SEX_VARIABLES),
    ]
    return [_container(codes.PATIENT_CHARACTERISTICS, items)] if items else []


def _sex(radiograph: Radiograph, result: Scored) -> Sex:
    """The sex the model used (1 = female, 0 = male), else the image header's."""
    used = next((i.value for i in result.inputs if i.variable in wording.SEX_VARIABLES), None)
    if used is None:
        return radiograph.sex
    return Sex.FEMALE if used else Sex.MALE


def _clinical_item(item: ClinicalInput, result: Scored, moment: dt.datetime) -> ContentItem:
    name = _variable_code(item)
    if item.value is None:
        return _code(name, codes.INPUT_MISSING)
    number = _number(name, item.value, codes.unit(item.unit))
    if item.observed_at is not None:
        number.add_new("ObservationDateTime", "DT", datetime_text(item.observed_at.astimezone(moment.tzinfo)))
    source = item.source or wording.UNNAMED_SOURCE
    if result.mode is Mode.IMAGE_ONLY:
        source = f"{source} ({wording.NOT_USED})"
    number.ContentSequence = ContentSequence([_text(codes.DATA_SOURCE, source, _PROPERTY)])
    return number


def _variable_code(item: ClinicalInput) -> Code:
    meaning = wording.variable(item.variable)
    if item.code:
        return codes.loinc(item.code, meaning)
    return codes.SUBJECT_AGE if item.variable == "age" else codes.local_variable(item.variable, meaning)


def _separate(item: Dataset) -> None:
    for container in _containers(item):
        container.ContinuityOfContent = "SEPARATE"


def _containers(item: Dataset) -> Iterator[Dataset]:
    if item.ValueType == "CONTAINER":
        yield item
    for child in item.get("ContentSequence", []):
        yield from _containers(child)


def _container(
    name: Code, items: Sequence[ContentItem], *, template: str | None = None, relationship: str | None = _CONTAINS
) -> ContainerContentItem:
    container = ContainerContentItem(
        name, is_content_continuous=False, template_id=template, relationship_type=relationship
    )
    container.ContentSequence = ContentSequence(items)
    return container


def _code(name: Code, value: Code, relationship: str = _CONTAINS) -> CodeContentItem:
    return CodeContentItem(name, value, relationship)


def _text(name: Code, value: str, relationship: str = _CONTAINS) -> TextContentItem:
    return TextContentItem(name, value, relationship)


def _number(name: Code, value: Any, unit: Code) -> NumContentItem:
    """NUM of a finite number; highdicom would write True as 1.0 and refuses numpy scalars (trap H4)."""
    if isinstance(value, bool | np.bool_) or not math.isfinite(value):
        msg = f"{name.value}: {value!r} is not a finite number"
        raise ValueError(msg)
    return NumContentItem(name, float(value), unit, relationship_type=_CONTAINS)
