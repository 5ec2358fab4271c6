"""The report's own walker: reads the finished bytes back and checks the safety invariants before anything may be sent.

It trusts neither the builder nor highdicom: everything is looked up in the re-read objects and compared with the source
header and the result. The invariants I1 to I8 are those of design/structured-report.md section 13.

    DicomIoError
    `-- ReportInvalid   a bug, ours or the model's: the case is parked, nothing is sent
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from io import BytesIO
from typing import Final

import highdicom as hd
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sr.coding import Code

from dicom_io import codes, wording
from dicom_io.errors import DicomIoError
from dicom_io.implementation import MODEL_NAME
from dicom_io.versions import Amends
from model.domain import Category, Scored

_IDENTITY: Final = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
_RISKS: Final = {
    Category.ABOVE: codes.HIGH_RISK,
    Category.BETWEEN: codes.MODERATE_RISK,
    Category.BELOW: codes.LOW_RISK,
}
_NAMES: Final = {c.value for c in (codes.DEVICE_NAME, codes.DEVICE_SERIAL, codes.DATA_SOURCE)}
"""Identifiers the site chose, not sentences of ours."""
_FULL: Final = 100.0


class ReportInvalid(DicomIoError):
    """A finished report breaks its own rules. `broken` lists the invariants; nothing of the report may be sent."""

    def __init__(self, broken: list[str]) -> None:
        super().__init__("; ".join(broken))
        self.broken = tuple(broken)


def check_report(
    sr: bytes, page: bytes | None, *, header: Dataset, result: Scored, amends: Amends | None = None
) -> None:
    """Check the Part 10 bytes of a report against the reference header, the result and the versions before it.

    Raises:
        ReportInvalid: at least one invariant does not hold, or the SR cannot be read back.

    """
    try:
        document = hd.sr.srread(BytesIO(sr))
        captured = None if page is None else dcmread(BytesIO(page))
    except Exception as error:  # any failure to read back what was written makes the report unusable
        raise ReportInvalid([f"I0 cannot be read back ({type(error).__name__})"]) from error
    items = list(_walk(document))
    broken = [
        *_outcome(items, result),
        *_numbers(items, result),
        *_disclaimers(document, items, captured, result, amends),
        *_flags(document, captured),
        *_regions(document, header),
        *_identity(document, captured, header),
        *_references(document, items, captured),
        *_model(items, document, result),
        *_version(document, amends),
    ]
    if broken:
        raise ReportInvalid(broken)


def _outcome(items: list[Dataset], result: Scored) -> Iterator[str]:
    """I1: no Finding below the threshold, a risk that fits, no text that reads as a clean bill of health."""
    reached = result.probability >= result.t_high
    if reached != (result.category is Category.ABOVE):
        yield "I1 category contradicts probability and threshold"
    in_zone = result.t_low <= result.probability < result.t_high
    if in_zone != (result.category is Category.BETWEEN):
        yield "I1 category contradicts the indeterminate zone"
    if bool(_named(items, codes.FINDING)) != reached:
        yield "I1 Finding must stand exactly at or above the threshold"
    risks = [i.ConceptCodeSequence[0].CodeValue for i in _named(items, codes.OSTEOPOROSIS)]
    if risks != [_RISKS[result.category].value]:
        yield "I1 risk code does not fit the category"
    for item in items:
        name = item.ConceptNameCodeSequence[0].get("CodeValue") if "ConceptNameCodeSequence" in item else None
        if "TextValue" in item and name not in _NAMES and wording.forbidden(item.TextValue):
            yield f"I1 forbidden wording in {name}"


def _numbers(items: list[Dataset], result: Scored) -> Iterator[str]:
    """I2 and I3: one unit, printed order equal to true order, everything finite."""
    decisive = codes.P_IMAGE if result.p_fused is None else codes.P_FUSED
    value, threshold = _percentage(items, decisive), _percentage(items, codes.THRESHOLD)
    if value is None or threshold is None:
        yield "I2 decisive value or threshold is missing or not in percent"
    elif (value >= threshold) != (result.probability >= result.t_high):
        yield "I2 printed order differs from the true order"
    elif max(abs(value - _FULL * result.probability), abs(threshold - _FULL * result.t_high)) > _ROUNDING:
        yield "I2 printed value is not the result's"
    if (result.p_fused is None) == bool(_named(items, codes.P_FUSED) or _named(items, codes.P_CLINICAL)):
        yield "I2 probabilities do not fit the mode"
    for item in items:
        if item.ValueType != "NUM":
            continue
        measured = item.MeasuredValueSequence[0]
        number = float(measured.NumericValue)
        percent = measured.MeasurementUnitsCodeSequence[0].CodeValue == "%"
        if not math.isfinite(number) or (percent and not 0 <= number <= _FULL):
            yield f"I3 {item.ConceptNameCodeSequence[0].CodeValue} is out of range"


def _disclaimers(
    document: Dataset, items: list[Dataset], page: Dataset | None, result: Scored, amends: Amends | None
) -> Iterator[str]:
    """I4: the disclaimer, and the simulated-training statement, wherever a reader may look."""
    simulated = result.model.simulated_training
    for name in (codes.COMMENT, codes.DISCLAIMER):
        text = " ".join(str(i.TextValue) for i in _named(items, name))
        if wording.DISCLAIMER not in text or (simulated and wording.SIMULATED not in text):
            yield f"I4 disclaimer missing in {name.value}"
    own = wording.series_description(page=False, simulated=simulated)
    of_series = own if amends is None else amends.series_description or own
    of_page = wording.page_description(1 if amends is None else amends.version, simulated=simulated)
    for ds, description in ((document, of_series), (page, of_page)):
        if ds is not None and ds.get("SeriesDescription") != description:
            yield "I4 disclaimer missing in Series Description"
    if simulated and wording.SIMULATED not in of_series:
        yield "I4 the series of the earlier versions does not say that the training was simulated"


def _flags(document: Dataset, page: Dataset | None) -> Iterator[str]:
    """I5: a device's result nobody verified, for research."""
    if (document.VerificationFlag, document.PreliminaryFlag) != ("UNVERIFIED", "PRELIMINARY"):
        yield "I5 must be UNVERIFIED and PRELIMINARY"
    if any(ds.get("ContentQualification") != "RESEARCH" for ds in (document, page) if ds is not None):
        yield "I5 Content Qualification must be RESEARCH"


def _regions(document: Dataset, header: Dataset) -> Iterator[str]:
    """I6: every group has one closed region inside the image."""
    groups = _named(list(_walk(document)), codes.MEASUREMENT_GROUP)
    if not groups:
        yield "I6 no measurement group"
    for group in groups:
        regions = [i for i in group.ContentSequence if i.ValueType == "SCOORD"]
        if len(regions) != 1:
            yield "I6 a group must have one region"
            continue
        data = [float(v) for v in regions[0].GraphicData]
        xs, ys = data[0::2], data[1::2]
        if len(xs) < 4 or (xs[0], ys[0]) != (xs[-1], ys[-1]):  # noqa: PLR2004 - a triangle, closed
            yield "I6 region is not closed"
        columns, rows = header.get("Columns") or math.inf, header.get("Rows") or math.inf
        if min(data) < 0 or max(xs) > columns or max(ys) > rows:
            yield "I6 region leaves the image"


def _identity(document: Dataset, page: Dataset | None, header: Dataset) -> Iterator[str]:
    """I7: patient and study are the source image's."""
    for ds in (document, page):
        if ds is None:
            continue
        for keyword in _IDENTITY:
            if str(ds.get(keyword) or "") != str(header.get(keyword) or ""):
                yield f"I7 {keyword} differs from the source image"
        if ds.get("ManufacturerModelName") != MODEL_NAME:
            yield "I7 object cannot be recognised as our own"


def _references(document: Dataset, items: list[Dataset], page: Dataset | None) -> Iterator[str]:
    """I7: every reference, and the page, is in the evidence."""
    evidence = {str(entry[2]) for entry in document.get_evidence()}
    wanted = {str(r.ReferencedSOPInstanceUID) for i in items for r in i.get("ReferencedSOPSequence", [])}
    if page is not None:
        wanted.add(str(page.SOPInstanceUID))
    if not wanted or not wanted <= evidence:
        yield "I7 a referenced object is missing in the evidence"


def _model(items: list[Dataset], document: Dataset, result: Scored) -> Iterator[str]:
    """I8: hashes, versions and threshold let anybody repeat the decision."""
    parameters = {str(i.TextValue).partition("=")[0] for i in _named(items, codes.ALGORITHM_PARAMETERS)}
    needed = {"threshold", "image_model_sha256", "clinical_model_sha256", "calibration", "fusion"}
    if not needed <= parameters or not result.model.image_sha256:
        yield "I8 model hash, threshold or calibration missing"
    named = all(_named(items, name) for name in (codes.ALGORITHM_NAME, codes.ALGORITHM_VERSION))
    versions = document.get("SoftwareVersions")
    if not named or not isinstance(versions, MultiValue) or result.model.version not in str(versions[-1]):
        yield "I8 model name or version missing"


def _version(document: Dataset, amends: Amends | None) -> Iterator[str]:
    """I7: an amended document says which ones it takes the place of, and comes after them."""
    named = {
        str(r.ReferencedSOPInstanceUID)
        for study in document.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for r in series.ReferencedSOPSequence
    }
    if named != (set() if amends is None else {instance for _, instance, _, _ in amends.predecessors}):
        yield "I7 predecessor documents are not the released versions"
    if int(document.InstanceNumber) != (1 if amends is None else amends.version):
        yield "I7 Instance Number is not the version"


def _walk(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        yield child
        yield from _walk(child)


def _named(items: list[Dataset], name: Code) -> list[Dataset]:
    wanted = (name.value, name.scheme_designator)
    return [
        i
        for i in items
        if "ConceptNameCodeSequence" in i
        and (i.ConceptNameCodeSequence[0].get("CodeValue"), i.ConceptNameCodeSequence[0].CodingSchemeDesignator)
        == wanted
    ]


def _percentage(items: list[Dataset], name: Code) -> float | None:
    found = _named(items, name)
    if len(found) != 1:
        return None
    measured = found[0].MeasuredValueSequence[0]
    unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
    return float(measured.NumericValue) if unit == codes.PERCENT.value else None


_ROUNDING: Final = 0.05 + 1e-9
"""Half of the last digit at one decimal, in percentage points."""
