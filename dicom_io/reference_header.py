"""A received radiograph's header, made fit to build results from: a deep copy, without pixels and private elements.

Every result object copies patient and study from here and from nowhere else. Patient data come from the image, never
from the clinical feeds: archives refuse objects with conflicting identity (dcm4chee-arc A778, A779). What a builder
would choke on is blanked, never guessed, and remembered as a coded warning `<KEYWORD>_<WHAT>` without patient data. The
received dataset is never changed: highdicom puts the same DataElement objects into the result (trap H1).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue
from pydicom.valuerep import DA, TM, PersonName

UTF8: Final = "ISO_IR 192"
_BULK: Final = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_TYPE_2: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_SEXES: Final = {"M", "F", "O", ""}
_AGE: Final = re.compile(r"\d{3}[DWMY]")
_OFFSET: Final = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceHeader:
    """The clean header and what had to be blanked to get it."""

    dataset: Dataset
    """ISO_IR 192, all type 2 patient and study elements present, no pixel data, no private element."""
    warnings: tuple[str, ...] = ()
    """`PATIENTSEX_INVALID`, `STUDYTIME_INVALID`, ...: which element was blanked or added, in tag order of checking."""
    raw: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Keyword and text as received of each patient and study element that had to be blanked."""
    charset: tuple[str, ...] = ()
    """Specific Character Set (0008,0005) as received; empty when none was stated."""


def reference_header(received: Dataset) -> ReferenceHeader:
    """Copy and clean the header of a received image; `received` stays as it is.

    Raises:
        ValueError: the image has no Study, Series or SOP Instance UID or no SOP Class UID.

    """
    warnings: list[str] = []
    header = _public_copy(received, warnings)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        if not header.get(keyword):
            msg = f"the image has no {keyword}"
            raise ValueError(msg)
    blanked = [(keyword, _blank_unless(header, keyword, valid, warnings)) for keyword, valid in _RULES.items()]
    for keyword in _TYPE_2:
        if keyword not in header:
            warnings.append(f"{keyword.upper()}_MISSING")
            setattr(header, keyword, "")
        elif header[keyword].value is None:
            setattr(header, keyword, "")
    if not _is_offset(str(header.get("TimezoneOffsetFromUTC", "+0000"))):
        warnings.append("TIMEZONEOFFSETFROMUTC_INVALID")
        del header.TimezoneOffsetFromUTC
    header.SpecificCharacterSet = UTF8
    return ReferenceHeader(
        dataset=header,
        warnings=tuple(warnings),
        raw=tuple((keyword, text) for keyword, text in blanked if text is not None and keyword not in _OF_THE_IMAGE),
        charset=_charset(received),
    )


def _public_copy(received: Dataset, warnings: list[str]) -> Dataset:
    """Decode text with the received character set, then leave out what has no business in a result.

    An element that cannot be decoded at all is left out: a result without a study description beats no result.
    """
    header = Dataset()
    for tag in list(received.keys()):
        if tag.is_private or tag in _BULK or tag.group in (0x5000, 0x6000) or tag.group == 0x0002:  # noqa: PLR2004
            continue
        try:
            element = copy.deepcopy(received[tag])
            _decode(element.value)
        except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, BytesLengthException):
            warnings.append(f"{tag.json_key}_UNREADABLE")
            continue
        header.add(element)
    header.remove_private_tags()
    return header


def _decode(value: object) -> None:
    """Force pydicom's lazy decoding of names and nested items, while the received character set still holds."""
    if isinstance(value, PersonName):
        _ = value.components
    elif isinstance(value, Dataset):
        value.decode()
    elif isinstance(value, list | MultiValue) or (hasattr(value, "__iter__") and not isinstance(value, str | bytes)):
        for item in value:
            _decode(item)


def _blank_unless(header: Dataset, keyword: str, valid: Callable[[str], bool], warnings: list[str]) -> str | None:
    """Blank an element that does not satisfy `valid`; its text if so."""
    if keyword not in header:
        return None
    element = header[keyword]
    several = isinstance(element.value, MultiValue)
    text = "" if element.value is None else "\\".join(map(str, element.value)) if several else str(element.value)
    if not several and valid(text):
        return None
    warnings.append(f"{keyword.upper()}_INVALID")
    header[keyword] = type(element)(element.tag, element.VR, "")
    return text


def _charset(received: Dataset) -> tuple[str, ...]:
    stated = received.get("SpecificCharacterSet")
    if not stated:
        return ()
    return (stated,) if isinstance(stated, str) else tuple(str(one or "") for one in stated)


def _is_date(text: str) -> bool:
    return not text or _accepts(DA, text)


def _is_time(text: str) -> bool:
    return not text or _accepts(TM, text)


def _accepts(convert: Callable[[str], object], text: str) -> bool:
    try:
        convert(text)
    except (ValueError, TypeError):
        return False
    return True


def _is_sex(text: str) -> bool:
    return text in _SEXES


def _is_age(text: str) -> bool:
    """VR AS (PS3.5 6.2); an empty one is no error."""
    return not text or _AGE.fullmatch(text) is not None


def _is_offset(text: str) -> bool:
    return _OFFSET.fullmatch(text) is not None


def _one_line(text: str) -> bool:
    return "\\" not in text


_RULES: Final[dict[str, Callable[[str], bool]]] = {
    "PatientSex": _is_sex,
    "PatientBirthDate": _is_date,
    "StudyDate": _is_date,
    "StudyTime": _is_time,
    "SeriesDate": _is_date,
    "SeriesTime": _is_time,
    "AcquisitionDate": _is_date,
    "AcquisitionTime": _is_time,
    "ContentDate": _is_date,
    "ContentTime": _is_time,
    "PatientBirthTime": _is_time,
    "PatientName": _one_line,
    "ReferringPhysicianName": _one_line,
    "PatientAge": _is_age,
    "PatientID": _one_line,
    "AccessionNumber": _one_line,
    "StudyID": _one_line,
}
_OF_THE_IMAGE: Final = (
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "ContentDate",
    "ContentTime",
)
"""Checked because builders read them; a result has its own."""
