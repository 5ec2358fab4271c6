"""The content tree of a report without a score: the same template and order, with a reason where the numbers stood.

The group keeps its frame, since a group without coordinates ends OHIF's viewer route, and its tracking UID, since it is
about the same thing. What the tree shows of image and model is given (`StatementEvidence`): for a withdrawal it comes
from the frozen document, long after image and model are gone.
"""

from __future__ import annotations

from dataclasses import dataclass

from highdicom.sr import ContainerContentItem, ContentItem
from pydicom.dataset import Dataset

from dicom_io import codes, wording
from dicom_io import content_items as items
from dicom_io.envelope import ReportContext
from dicom_io.outcomes import NotAnalysed, Statement
from dicom_io.tree_parts import (
    algorithm,
    document_root,
    frame_corners,
    image_library,
    model_parameters,
    tracking,
    whole_frame,
)
from model.domain import ModelFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementEvidence:
    """What a statement shows of the image and the model it speaks of."""

    region: tuple[items.Point, ...]
    """Closed polygon in the source image."""
    parameters: tuple[str, ...]
    """Algorithm Parameters of the model."""
    library: tuple[ContentItem, ...]
    """Image Library container, or nothing."""


def evidence_of_image(header: Dataset, model: ModelFacts) -> StatementEvidence:
    """The evidence for an image that is there and was not analysed: framed as a whole.

    Raises:
        ValueError: the header does not say how large the image is.

    """
    rows, columns = header.get("Rows"), header.get("Columns")
    if not rows or not columns:
        msg = "the image has no size"
        raise ValueError(msg)
    return StatementEvidence(
        region=tuple(frame_corners(whole_frame(int(rows), int(columns)))),
        parameters=model_parameters(model),
        library=tuple(image_library(header)),
    )


def statement_tree(
    header: Dataset, statement: Statement, evidence: StatementEvidence, context: ReportContext
) -> ContainerContentItem:
    """The root container, every container below it SEPARATE."""
    language = context.language
    intended = wording.intended_use(simulated=statement.model.simulated_training, language=language)
    because = wording.because(statement, language=language) if isinstance(statement, NotAnalysed) else ()
    evaluations = [
        items.text(codes.DISCLAIMER, intended),
        *(items.text(codes.QUALITY_FINDING, reason) for reason in because),
    ]
    return document_root(
        context,
        library=evidence.library,
        groups=[_group(header, statement, evidence, context)],
        evaluations=evaluations,
    )


def _group(
    header: Dataset, statement: Statement, evidence: StatementEvidence, context: ReportContext
) -> list[ContentItem]:
    refused = isinstance(statement, NotAnalysed)
    return [
        *tracking(header, context),
        items.text(codes.COMMENT, wording.statement_comment(statement, language=context.language)),
        items.code(codes.CATEGORY, codes.NO_SCORE if refused else codes.WITHDRAWN),
        *algorithm(statement.model, evidence.parameters),
        items.code(codes.OSTEOPOROSIS, codes.UNCERTAIN_RISK),
        *([items.code(codes.INPUT_QUALITY, codes.QUALITY_FAIL)] if refused else []),
        items.region(evidence.region, str(header.SOPClassUID), str(header.SOPInstanceUID)),
    ]
