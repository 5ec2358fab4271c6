"""What a finished report says, read back from its frozen bytes: for whoever repeats it in another language of machines.

The document is the only source: a message that is built from it can say nothing that the report does not, and says the
same whenever it is built. Nothing is interpreted here; a code that the document lacks is None.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from zoneinfo import ZoneInfo

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_io import codes
from dicom_io.dicom_time import parse_date, parse_offset, parse_time
from dicom_io.element import expect_defects, items, text
from dicom_io.errors import HeaderInvalid
from dicom_io.header import accession_number, patient_identity
from model.domain import PatientIdentity

_NUMBERS = (codes.P_FUSED, codes.P_IMAGE, codes.P_CLINICAL, codes.THRESHOLD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """A code as (value, scheme, meaning)."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A number of the report, as printed in it."""

    name: Coded
    value: str
    unit: Coded


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary:
    """One version of a report. Holds patient data: not for logs."""

    sr_uid: str
    """Of these bytes; a destination may have the report in another class, under another UID (`dicom_io.sr_class`)."""
    study_uid: str
    patient: PatientIdentity
    names: tuple[str, ...]
    """Patient's Name by component group (alphabetic, ideographic, phonetic), components joined by `^`."""
    accession: str
    procedure_id: str
    """Requested Procedure ID (0040,1001)."""
    study_at: dt.datetime | None
    """Aware; None where the study has no date."""
    at: dt.datetime
    """When the result was made, aware."""
    model_name: str
    model_version: str
    comment: str
    """The summary in one line, with the disclaimer and, where it applies, that the training was simulated."""
    disclaimer: str
    category: Coded | None
    inputs: Coded | None
    numbers: tuple[Measured, ...]


def summarise(sr: bytes, zone: ZoneInfo) -> ReportSummary:
    """Read the Part 10 bytes of a report of ours; `zone` holds for times without an offset.

    Raises:
        HeaderInvalid: these are not the bytes of a report.

    """
    expect_defects()
    try:
        document = dcmread(BytesIO(sr))
    except Exception as error:  # noqa: BLE001 - pydicom raises whatever damaged bytes provoke
        msg = f"the report cannot be read back ({type(error).__name__})"
        raise HeaderInvalid(msg) from None
    local = parse_offset(text(document, "TimezoneOffsetFromUTC")) or zone
    made = _moment(document, "Content", local)
    found = list(_walk(items(document, "ContentSequence")))
    if made is None or not found:
        msg = "the report has no content or no time"
        raise HeaderInvalid(msg)
    return ReportSummary(
        sr_uid=text(document, "SOPInstanceUID"),
        study_uid=text(document, "StudyInstanceUID"),
        patient=patient_identity(document),
        names=tuple(text(document, "PatientName").split("=")),
        accession=accession_number(document),
        procedure_id=next(
            (text(request, "RequestedProcedureID") for request in items(document, "ReferencedRequestSequence")), ""
        ),
        study_at=_moment(document, "Study", local),
        at=made,
        model_name=_text(found, codes.ALGORITHM_NAME),
        model_version=_text(found, codes.ALGORITHM_VERSION),
        comment=_text(found, codes.COMMENT),
        disclaimer=_text(found, codes.DISCLAIMER),
        category=_code(found, codes.CATEGORY),
        inputs=_code(found, codes.INPUTS_USED),
        numbers=tuple(number for name in _NUMBERS if (number := _number(found, name)) is not None),
    )


def _walk(found: Iterable[Dataset]) -> Iterator[Dataset]:
    for item in found:
        yield item
        yield from _walk(items(item, "ContentSequence"))


def _named(found: list[Dataset], name: Code) -> Dataset | None:
    """The first item of that name."""
    for item in found:
        concept = next(iter(items(item, "ConceptNameCodeSequence")), None)
        if concept is not None and _coded(concept) == (name.value, name.scheme_designator):
            return item
    return None


def _coded(item: Dataset) -> tuple[str, str]:
    return text(item, "CodeValue"), text(item, "CodingSchemeDesignator")


def _text(found: list[Dataset], name: Code) -> str:
    item = _named(found, name)
    return "" if item is None else text(item, "TextValue")


def _code(found: list[Dataset], name: Code) -> Coded | None:
    item = _named(found, name)
    concept = None if item is None else next(iter(items(item, "ConceptCodeSequence")), None)
    return None if concept is None else _as_coded(concept)


def _number(found: list[Dataset], name: Code) -> Measured | None:
    item = _named(found, name)
    measured = None if item is None else next(iter(items(item, "MeasuredValueSequence")), None)
    unit = None if measured is None else next(iter(items(measured, "MeasurementUnitsCodeSequence")), None)
    if measured is None or unit is None:
        return None
    named = Coded(value=name.value, scheme=name.scheme_designator, meaning=name.meaning)
    return Measured(name=named, value=text(measured, "NumericValue"), unit=_as_coded(unit))


def _as_coded(item: Dataset) -> Coded:
    code, scheme = _coded(item)
    return Coded(value=code, scheme=scheme, meaning=text(item, "CodeMeaning"))


def _moment(document: Dataset, name: str, zone: dt.tzinfo) -> dt.datetime | None:
    day = parse_date(text(document, f"{name}Date"))
    if day is None:
        return None
    return dt.datetime.combine(day, parse_time(text(document, f"{name}Time")) or dt.time(), tzinfo=zone)
