"""DICOM header -> domain values.

Robust against every defect: a function here gives None, an empty value or UNKNOWN for what it cannot read, and only
`read_header` and `instance_reference` raise. Nothing is repaired or guessed beyond the rules written at each function;
no pixel is touched.
"""

from __future__ import annotations

import datetime as dt
import re
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final
from zoneinfo import ZoneInfo

from pydicom import dcmread
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_io.dicom_time import parse_date, parse_datetime, parse_offset, parse_time
from dicom_io.element import expect_defects, items, text, value
from dicom_io.errors import HeaderInvalid
from dicom_io.file_meta import file_meta
from model.domain import AssigningAuthority, Identifier, InstanceReference, NameGroup, PatientIdentity, PersonName, Sex

Header = Dataset
"""What `read_header` gives; for those who only carry it."""
_OWNED_BY: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")
_REFERENCE: Final = (*_OWNED_BY, "SeriesInstanceUID")
_LONGEST_UID: Final = 64
_EXPLICIT, _LITTLE_ENDIAN = False, True
_PIXEL_DATA: Final = BaseTag(0x7FE00008)
"""The first of the three elements that may hold pixels."""
_LARGEST_HEADER: Final = 4 << 20
"""Bytes of a deflated object inflated for its header; radiographs keep a few kilobytes before their pixels."""
_AGE: Final = re.compile(r"(\d{1,3})\s*([DWMY]?)", re.ASCII)
_YEARS: Final = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0, "": 1.0}
_OLDEST: Final = 130.0
_SEXES: Final = {
    "F": Sex.FEMALE,
    "FEMALE": Sex.FEMALE,
    "M": Sex.MALE,
    "MALE": Sex.MALE,
    "O": Sex.OTHER,
    "OTHER": Sex.OTHER,
}
_DAYS: Final = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
_MOMENTS: Final = ("Acquisition", "Content", "Series", "Study")


def read_header(path: Path) -> Dataset:
    """Read everything before the pixels. A file without preamble or file meta information is read too.

    Raises:
        HeaderInvalid: this is no DICOM object, or it has no SOP Instance UID.
        OSError: the file cannot be read.

    """
    return parse(path, pixels=False)


def parse(path: Path, *, pixels: bool) -> Dataset:
    """`read_header`, with the pixel data when `pixels`."""
    expect_defects()
    with path.open("rb") as stream:
        return _parse(stream, pixels=pixels)


def redeclare(header: Dataset, charset: Sequence[str]) -> None:
    """Read the texts of a freshly read header as `charset` (defined terms) whatever it declares; empty: as it declares.

    Some senders write GBK bytes and declare ISO_IR 100, and every name comes out as gibberish.
    """
    if charset:
        header.SpecificCharacterSet = list(charset) if len(charset) > 1 else charset[0]
        implicit, little_endian = header.original_encoding
        header.set_original_encoding(implicit, little_endian, convert_encodings(list(charset)))


def instance_reference(dataset: Dataset) -> InstanceReference:
    """The four UIDs. The series may be empty: the object can be owned without it.

    Raises:
        HeaderInvalid: no SOP Class, SOP Instance or Study Instance UID, or one that no ledger could hold: longer than
            PS3.5 9.1 allows, or with a control character. Other breaches of 9.1 are let pass.

    """
    found = {keyword: text(dataset, keyword) for keyword in _REFERENCE}
    for keyword, one in found.items():
        if len(one) > _LONGEST_UID or not one.isprintable():
            msg = f"{keyword} is longer than {_LONGEST_UID} characters or holds one that cannot be printed"
            raise HeaderInvalid(msg)
    for keyword in _OWNED_BY:
        if not found[keyword]:
            msg = f"the object has no {keyword}"
            raise HeaderInvalid(msg)
    return InstanceReference(
        study_uid=found["StudyInstanceUID"],
        series_uid=found["SeriesInstanceUID"],
        sop_instance_uid=found["SOPInstanceUID"],
        sop_class_uid=found["SOPClassUID"],
    )


def patient_ids(dataset: Dataset) -> tuple[str, ...]:
    """Identifier values of the patient without their issuers, as in `patient_identity`."""
    found = (text(source, "PatientID") for source in _identified(dataset))
    return tuple(dict.fromkeys(one for one in found if one))


def patient_identity(dataset: Dataset) -> PatientIdentity:
    """Who the object says it is about: (0010,0020) with its issuer, then Other Patient IDs Sequence (0010,1002)."""
    found = (_identifier(source) for source in _identified(dataset))
    return PatientIdentity(
        identifiers=tuple(dict.fromkeys(identifier for identifier in found if identifier.value)),
        name=_person_name(dataset),
        birth_date=parse_date(text(dataset, "PatientBirthDate")),
        sex=sex(dataset),
    )


def sex(dataset: Dataset) -> Sex:
    """Patient's Sex (0010,0040); words and lower case are understood, all else is UNKNOWN."""
    return _SEXES.get(text(dataset, "PatientSex").upper(), Sex.UNKNOWN)


def accession_number(dataset: Dataset) -> str:
    """Accession Number (0008,0050), or empty."""
    return text(dataset, "AccessionNumber")


def acquired_at(dataset: Dataset, zone: ZoneInfo) -> dt.datetime | None:
    """t0 of clinical-data.md section 11, aware.

    The first that has a date: Acquisition DateTime (with its own offset, if it states one), then date and time of
    acquisition, content, series, study. Times without offset are in Timezone Offset From UTC (0008,0201), else in
    `zone`; a date without a usable time counts as that day's start.
    """
    local = parse_offset(text(dataset, "TimezoneOffsetFromUTC")) or zone
    moment = parse_datetime(text(dataset, "AcquisitionDateTime"))
    if moment is not None:
        return moment if moment.tzinfo else moment.replace(tzinfo=local)
    for name in _MOMENTS:
        day = parse_date(text(dataset, f"{name}Date"))
        if day is not None:
            time = parse_time(text(dataset, f"{name}Time"))
            return dt.datetime.combine(day, time or dt.time(), tzinfo=local)
    return None


def age_years(dataset: Dataset) -> float | None:
    """Age on the study date in years, 0 to 130: Patient's Age (0010,1010), else from the birth date; None if neither.

    `062Y` is the rule (PS3.5 6.2, VR AS); a bare `62` means years. `000Y` is what some modalities write for "unknown",
    so a stated zero yields to a birth date.
    """
    stated, computed = _stated_age(dataset), _computed_age(dataset)
    if stated is None or (stated == 0 and computed is not None):
        return computed
    return stated


def remarks(dataset: Dataset) -> tuple[str, ...]:
    """Coded remarks about values that are present and unusable; without the values."""
    return tuple(_remarks(dataset))


def _parse(stream: BinaryIO, *, pixels: bool) -> Dataset:
    try:
        dataset = None if pixels else _inflated(stream)
        if dataset is None:
            stream.seek(0)
            dataset = dcmread(stream, stop_before_pixels=not pixels, force=True)
        owned = bool(text(dataset, "SOPInstanceUID"))
    except HeaderInvalid:
        raise
    except Exception as error:  # pydicom raises whatever a damaged stream provokes; here it gets one name
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file system's; pydicom's own, for a sequence that ends early, has no number
        msg = f"the header cannot be parsed ({type(error).__name__})"
        raise HeaderInvalid(msg) from error
    if not owned:
        msg = "no DICOM object: there is no SOP Instance UID"
        raise HeaderInvalid(msg)
    return dataset


def _inflated(stream: BinaryIO) -> Dataset | None:
    """The header of a deflated object (PS3.5 A.5), read from its first megabytes alone; None: it is not deflated.

    pydicom would inflate all of it, in the listener too: 30 kB may hold 30 MB, and 500 MB the machine.
    """
    meta = file_meta(stream)
    if meta is None or meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return None
    content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(_LARGEST_HEADER), _LARGEST_HEADER)
    dataset = read_dataset(
        BytesIO(content), _EXPLICIT, _LITTLE_ENDIAN, stop_when=lambda tag, _vr, _length: tag >= _PIXEL_DATA
    )
    return FileDataset("", dataset, file_meta=FileMetaDataset(meta), is_implicit_VR=False, is_little_endian=True)


def _identified(dataset: Dataset) -> tuple[Dataset, ...]:
    """Where identifiers of the patient stand."""
    return (dataset, *items(dataset, "OtherPatientIDsSequence"))


def _identifier(source: Dataset) -> Identifier:
    qualifier = next(items(source, "IssuerOfPatientIDQualifiersSequence"), Dataset())
    authority = AssigningAuthority(
        namespace=text(source, "IssuerOfPatientID"),
        universal_id=text(qualifier, "UniversalEntityID"),
        universal_id_type=text(qualifier, "UniversalEntityIDType"),
    )
    return Identifier(value=text(source, "PatientID"), authority=authority)


def _person_name(dataset: Dataset) -> PersonName:
    name = value(dataset, "PatientName")
    if not hasattr(name, "ideographic"):
        return PersonName(alphabetic=_group(text(dataset, "PatientName")))
    return PersonName(
        alphabetic=_group(_component(name, "alphabetic")),
        ideographic=_group(_component(name, "ideographic")),
        phonetic=_group(_component(name, "phonetic")),
    )


def _component(name: object, group: str) -> str:
    try:
        return str(getattr(name, group))
    except (UnicodeError, LookupError, ValueError, TypeError):  # a character set pydicom cannot decode
        return ""


def _group(components: str) -> NameGroup:
    family, _, rest = components.partition("^")
    return NameGroup(family=family.strip(" \0"), given=rest.partition("^")[0].strip(" \0"))


def _stated_age(dataset: Dataset) -> float | None:
    match = _AGE.fullmatch(text(dataset, "PatientAge").upper())
    if match is None:
        return None
    age = int(match[1]) * _YEARS[match[2]]
    return age if age <= _OLDEST else None


def _computed_age(dataset: Dataset) -> float | None:
    born = parse_date(text(dataset, "PatientBirthDate"))
    days = (parse_date(text(dataset, keyword)) for keyword in _DAYS)
    day = next((found for found in days if found is not None), None)
    if born is None or day is None:
        return None
    whole = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
    birthday = _anniversary(born, born.year + whole)
    age = whole + (day - birthday).days / 366
    return age if 0 <= age <= _OLDEST else None


def _anniversary(born: dt.date, year: int) -> dt.date:
    if year < dt.MINYEAR:
        return born
    try:
        return born.replace(year=year)
    except ValueError:  # born on 29 February
        return dt.date(year, 3, 1)


def _remarks(dataset: Dataset) -> Iterator[str]:
    if text(dataset, "PatientBirthDate") and parse_date(text(dataset, "PatientBirthDate")) is None:
        yield "BIRTH_DATE_INVALID"
    if text(dataset, "PatientAge") and _stated_age(dataset) is None:
        yield "AGE_INVALID"
    stated, computed = _stated_age(dataset), _computed_age(dataset)
    if stated is not None and computed is not None and abs(stated - computed) > 2:  # noqa: PLR2004 - years
        yield "AGE_CONTRADICTS_BIRTH_DATE"
    if text(dataset, "PatientSex") and sex(dataset) is Sex.UNKNOWN:
        yield "SEX_INVALID"
    name = _person_name(dataset)
    if "\ufffd" in f"{name.alphabetic}{name.ideographic}{name.phonetic}" or (
        "PatientName" in dataset and not _decodes(dataset)
    ):
        yield "NAME_UNDECODABLE"


def _decodes(dataset: Dataset) -> bool:
    """Whether the name gave any text, or had none to give."""
    raw = dataset.get_item("PatientName")
    content = getattr(raw, "value", None)
    return not content or bool(text(dataset, "PatientName"))
