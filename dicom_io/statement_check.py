"""The walker over a report without a score: it may hold no probability, no finding and no certainty (invariant I9)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from pydicom.sr.coding import Code

from dicom_io import codes
from dicom_io.document_check import Finished, ReportInvalid, common, read_back, texts
from dicom_io.envelope import ReportContext
from dicom_io.outcomes import NotAnalysed, Statement, Withdrawn
from dicom_io.reference_header import ReferenceHeader

_CATEGORIES: Final = {NotAnalysed: codes.NO_SCORE, Withdrawn: codes.WITHDRAWN}
_QUALITIES: Final = {NotAnalysed: [codes.QUALITY_FAIL.value], Withdrawn: []}
_MEASURES: Final = (codes.P_FUSED, codes.P_IMAGE, codes.P_CLINICAL, codes.THRESHOLD, codes.ATTENTION_SHARE)


def check_statement(
    sr: bytes,
    companions: Mapping[str, bytes],
    *,
    reference: ReferenceHeader,
    statement: Statement,
    context: ReportContext,
) -> None:
    """Check the Part 10 bytes of a report that says why there is no score.

    Raises:
        ReportInvalid: at least one invariant does not hold, or an object cannot be read back.

    """
    finished = read_back(sr, companions)
    broken = [
        *common(finished, reference=reference, context=context, simulated=statement.model.simulated_training),
        *_says_nothing_else(finished),
        *_says_what_it_is(finished, statement),
    ]
    if broken:
        raise ReportInvalid(broken)


def _says_nothing_else(finished: Finished) -> Iterator[str]:
    """I1 and I9: neither a finding nor a number that could be read as a score."""
    if finished.named(codes.FINDING):
        yield "I1 Finding without a score"
    if any(finished.named(name) for name in _MEASURES):
        yield "I9 probability in a report without a score"
    groups = finished.named(codes.MEASUREMENT_GROUP)
    if any(item.ValueType == "NUM" for group in groups for item in group.ContentSequence):
        yield "I9 number in a report without a score"


def _says_what_it_is(finished: Finished, statement: Statement) -> Iterator[str]:
    """I9: category, risk, quality and flags of exactly this outcome; the reason in the first visible line."""
    kind = type(statement)
    if _coded(finished, codes.CATEGORY) != [_CATEGORIES[kind].value]:
        yield "I9 category is not that of the statement"
    if _coded(finished, codes.OSTEOPOROSIS) != [codes.UNCERTAIN_RISK.value]:
        yield "I9 risk is not uncertain"
    if _coded(finished, codes.INPUT_QUALITY) != _QUALITIES[kind]:
        yield "I9 input quality does not fit the statement"
    document = finished.document
    if document.CompletionFlag != "PARTIAL" or not document.get("CompletionFlagDescription"):
        yield "I9 a report without a score is PARTIAL and says why"
    if isinstance(statement, Withdrawn) and statement.reason not in texts(finished.named(codes.COMMENT)):
        yield "I9 the reason is missing in the comment"
    if not finished.named(codes.ALGORITHM_NAME) or not finished.named(codes.ALGORITHM_VERSION):
        yield "I8 model name or version missing"


def _coded(finished: Finished, name: Code) -> list[str]:
    return [str(item.ConceptCodeSequence[0].CodeValue) for item in finished.named(name)]
