"""What headers radiographs come with, and what is to be said about them: the axes of the report matrix."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

from pydicom import config, dcmread, dcmwrite
from pydicom.dataset import Dataset
from support.report_cases import INPUTS, MODEL, SIMULATED_MODEL, header, limited, scored

from dicom_io.reference_header import reference_header
from model.domain import Category, MatchClass, Mode, Reason, Scored

CHARSETS: dict[str, dict[str, object]] = {
    "none": {"SpecificCharacterSet": None, "PatientName": "Weber^Anna"},
    "utf8": {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Иванова^Анна"},
    "latin1": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Änne"},
    "cyrillic": {"SpecificCharacterSet": "ISO_IR 144", "PatientName": "Иванова^Анна"},
    "thai": {"SpecificCharacterSet": "ISO_IR 166", "PatientName": "สมชาย^ใจดี"},
    "katakana": {"SpecificCharacterSet": "ISO_IR 13", "PatientName": "ﾔﾏﾀﾞ^ﾀﾛｳ"},
    "gb18030": {"SpecificCharacterSet": "GB18030", "PatientName": "Wang^XiaoDong=王^小东"},
    "gbk": {"SpecificCharacterSet": "GBK", "PatientName": "Wang^XiaoDong=王^小东"},
    "ir13-87": {
        "SpecificCharacterSet": ["ISO 2022 IR 13", "ISO 2022 IR 87"],
        "PatientName": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    },
    "ir87": {
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    },
    "ir149": {"SpecificCharacterSet": ["", "ISO 2022 IR 149"], "PatientName": "Hong^Gildong=洪^吉洞=홍^길동"},
    "ir6-58": {"SpecificCharacterSet": ["ISO 2022 IR 6", "ISO 2022 IR 58"], "PatientName": "Zhang^XiaoDong=张^小东"},
}
"""The twelve of design section 9."""

_IDENTITY = (
    "StudyID",
    "AccessionNumber",
    "PatientBirthDate",
    "PatientSex",
    "PatientName",
    "PatientID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
DEFECTS: dict[str, dict[str, object]] = {
    **{f"no-{keyword}": {keyword: None} for keyword in _IDENTITY},
    **{f"empty-{keyword}": {keyword: ""} for keyword in _IDENTITY},
    **{f"sex-{value}": {"PatientSex": value} for value in ("U", "f", "FEMALE")},
    **{f"born-{value}": {"PatientBirthDate": value} for value in ("1951", "1951-02-03", "19510000")},
    **{f"time-{value}": {"StudyTime": value} for value in ("10:11:12", "250000")},
    "charset-empty": {"SpecificCharacterSet": "", "PatientName": "Weber^Anna"},
    "two-ids": {"PatientID": "12\\34"},
    "age-without-unit": {"PatientAge": "62"},
    "nothing-stated": dict.fromkeys(_IDENTITY),
    "no-orientation": {"PatientOrientation": None},
    "empty-orientation": {"PatientOrientation": ""},
    "one-orientation": {"PatientOrientation": "L"},
    "low-orientation": {"PatientOrientation": ["l", "f"]},
    "no-spacing": {"ImagerPixelSpacing": None},
    "name-without-caret": {"PatientName": "Solo"},
    "name-of-six-parts": {"PatientName": "A^B^C^D^E^F"},
    "no-device": dict.fromkeys(("Manufacturer", "ManufacturerModelName", "ViewPosition", "BodyPartExamined")),
    "dotted-date": {"StudyDate": "2025.03.01"},
    "long-accession": {"AccessionNumber": "A" * 20},
    "long-id": {"PatientID": "9" * 70},
}
"""Every defect of design section 8."""

COPIED: dict[str, str] = {
    "dotted-date": "StudyDate",
    "long-accession": "AccessionNumber",
    "long-id": "PatientID",
    "name-of-six-parts": "PatientName",
}
"""Accepted as they are: what validators say about these elements is said about the image's own."""

UNREAD_SETS: dict[str, str] = {"katakana": "PatientName", "gbk": "PatientName"}
"""Character sets in which dciodvfy calls every name wrong that is not ASCII, that of a sound image too."""


def received(**changes: object) -> Dataset:
    """A header that came over the wire: written in its own character set with its own errors, and read back."""
    stated = {"ReferringPhysicianName": "Weiss^Dr"} | changes
    with config.disable_value_validation():
        made = header(**{keyword: value for keyword, value in stated.items() if value is not None})
        for keyword, value in stated.items():
            if value is None and keyword in made:
                delattr(made, keyword)
        buffer = BytesIO()
        dcmwrite(buffer, made, implicit_vr=False, little_endian=True)
    buffer.seek(0)
    return dcmread(buffer, force=True)


OUTCOMES: dict[str, Scored] = {
    **{f"{c}-{m}".lower(): scored(c, m) for c in Category for m in Mode},
    "limited-simulated": limited(model=SIMULATED_MODEL),
    "conflict": scored(mode=Mode.IMAGE_ONLY, match=MatchClass.CONFLICT),
    "close-call": scored(Category.BELOW, p_fused=0.32 - 1e-9, t_low=1.0),
    "long-texts": scored(model=replace(MODEL, fusion="x" * 900), inputs=INPUTS * 3),
}
REASONS = (Reason.SATURATED, Reason.PARTIAL_CHEST)
"""Why the image of the "not analysed" report was not."""
WITHDRAWN_BECAUSE = "Joined with the wrong patient's laboratory values"


def source_file(dataset: Dataset) -> bytes:
    """A header as a file for dcentvfy, which compares bytes: cleaned and in ISO_IR 192, as the report has it."""
    buffer = BytesIO()
    dcmwrite(buffer, reference_header(dataset).dataset, implicit_vr=False, little_endian=True)
    return buffer.getvalue()
