"""The report's own walker: reads the finished bytes back and checks the safety invariants before anything may be sent.

It trusts neither the builder nor highdicom: everything is looked up in the re-read objects and compared with the source
header and the result. What is common to all reports is in `dicom_io.document_check`; here is what belongs to a score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from pydicom.multival import MultiValue
from pydicom.sr.coding import Code

from dicom_io import codes
from dicom_io.document_check import FULL, Finished, ReportInvalid, common, read_back
from dicom_io.envelope import ReportContext
from dicom_io.reference_header import ReferenceHeader
from model.domain import Category, Scored

_RISKS: Final = {
    Category.ABOVE: codes.HIGH_RISK,
    Category.BETWEEN: codes.MODERATE_RISK,
    Category.BELOW: codes.LOW_RISK,
}
_TRUTH_VALUES: Final = (bool, np.bool_)
_MEANINGS: Final = {
    Category.ABOVE: codes.ABOVE,
    Category.BETWEEN: codes.BETWEEN,
    Category.BELOW: codes.BELOW,
}


def check_report(
    sr: bytes,
    companions: Mapping[str, bytes],
    *,
    reference: ReferenceHeader,
    result: Scored,
    context: ReportContext,
) -> None:
    """Check the Part 10 bytes of a report against the reference header, the result and the versions before it.

    `companions` are the other objects by kind, the page under `page`.

    Raises:
        ReportInvalid: at least one invariant does not hold, or an object cannot be read back.

    """
    finished = read_back(sr, companions)
    broken = [
        *common(finished, reference=reference, context=context, simulated=result.model.simulated_training),
        *_outcome(finished, result),
        *_numbers(finished, result),
        *_model(finished, result),
    ]
    if finished.document.get("CompletionFlag") != "COMPLETE":
        broken.append("I5 a score must be COMPLETE")
    if broken:
        raise ReportInvalid(broken)


def _outcome(finished: Finished, result: Scored) -> Iterator[str]:
    """I1: no Finding below the threshold; category and risk fit the numbers."""
    reached = result.probability >= result.t_high
    if reached != (result.category is Category.ABOVE):
        yield "I1 category contradicts probability and threshold"
    in_zone = result.t_low <= result.probability < result.t_high
    if in_zone != (result.category is Category.BETWEEN):
        yield "I1 category contradicts the indeterminate zone"
    findings = [i.ConceptCodeSequence[0].CodeValue for i in finished.named(codes.FINDING)]
    if (codes.OSTEOPOROSIS.value in findings) != reached:
        yield "I1 Finding must stand exactly at or above the threshold"
    if not set(findings) <= {codes.OSTEOPOROSIS.value, codes.HIGH_ATTENTION.value}:
        yield "I1 a Finding nobody made"
    risks = [i.ConceptCodeSequence[0].CodeValue for i in finished.named(codes.OSTEOPOROSIS)]
    if risks != [_RISKS[result.category].value]:
        yield "I1 risk code does not fit the category"
    categories = [i.ConceptCodeSequence[0].CodeValue for i in finished.named(codes.CATEGORY)]
    if categories != [_MEANINGS[result.category].value]:
        yield "I1 category code does not fit the category"


def _numbers(finished: Finished, result: Scored) -> Iterator[str]:
    """I2 and I3: one unit, printed order equal to true order, everything finite."""
    decisive = codes.P_IMAGE if result.p_fused is None else codes.P_FUSED
    value, threshold = _percentage(finished, decisive), _percentage(finished, codes.THRESHOLD)
    if value is None or threshold is None:
        yield "I2 decisive value or threshold is missing or not in percent"
    elif (value >= threshold) != (result.probability >= result.t_high):
        yield "I2 printed order differs from the true order"
    for name, probability in (
        (codes.P_FUSED, result.p_fused),
        (codes.P_IMAGE, result.p_image),
        (codes.P_CLINICAL, result.p_clinical),
        (codes.THRESHOLD, result.t_high),
    ):
        if type(probability) in _TRUTH_VALUES:
            yield "I3 a truth value is no probability"
        printed = _percentage(finished, name)
        if probability is None and finished.named(name):
            yield "I2 probabilities do not fit the mode"
        elif probability is not None and (printed is None or abs(printed - FULL * probability) > _ROUNDING):
            yield "I2 printed value is not the result's"
    for item in finished.items:
        if item.ValueType != "NUM":
            continue
        measured = item.MeasuredValueSequence[0]
        number = float(measured.NumericValue)
        percent = measured.MeasurementUnitsCodeSequence[0].CodeValue == "%"
        if not math.isfinite(number) or (percent and not 0 <= number <= FULL):
            yield f"I3 {item.ConceptNameCodeSequence[0].CodeValue} is out of range"


def _model(finished: Finished, result: Scored) -> Iterator[str]:
    """I8: hashes, versions and threshold let anybody repeat the decision."""
    parameters = {str(i.TextValue).partition("=")[0] for i in finished.named(codes.ALGORITHM_PARAMETERS)}
    needed = {"threshold", "image_model_sha256", "clinical_model_sha256", "calibration", "fusion"}
    if not needed <= parameters or not result.model.image_sha256:
        yield "I8 model hash, threshold or calibration missing"
    stated = all(finished.named(name) for name in (codes.ALGORITHM_NAME, codes.ALGORITHM_VERSION))
    versions = finished.document.get("SoftwareVersions")
    if not stated or not isinstance(versions, MultiValue) or result.model.version not in str(versions[-1]):
        yield "I8 model name or version missing"


def _percentage(finished: Finished, name: Code) -> float | None:
    found = finished.named(name)
    if len(found) != 1:
        return None
    measured = found[0].MeasuredValueSequence[0]
    unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
    return float(measured.NumericValue) if unit == codes.PERCENT.value else None


_ROUNDING: Final = 0.05 + 1e-9
"""Half of the last digit at one decimal, in percentage points."""
