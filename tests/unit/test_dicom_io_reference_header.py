import copy
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import config, dcmread, dcmwrite
from pydicom.dataset import Dataset
from support.report_cases import header
from support.shared_data import DICOM, needs_dicom

from dicom_io.reference_header import reference_header

REAL = sorted(DICOM.glob("*.dcm"))


def raw(keyword_values: dict[str, str], **changes: object) -> Dataset:
    """A header read back from bytes, with values pydicom would refuse to set."""
    with config.disable_value_validation():
        ds = header(**changes)
        for keyword, value in keyword_values.items():
            setattr(ds, keyword, value)
        buffer = BytesIO()
        dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
    buffer.seek(0)
    return dcmread(buffer, force=True)


@pytest.mark.parametrize(
    "keyword",
    [
        "StudyID",
        "AccessionNumber",
        "PatientBirthDate",
        "PatientSex",
        "PatientName",
        "PatientID",
        "StudyDate",
        "StudyTime",
        "ReferringPhysicianName",
    ],
)
def test_missing_type_2_element_becomes_empty(keyword: str) -> None:
    clean = reference_header(header(**{keyword: None}))
    assert str(clean.dataset[keyword].value) == ""
    assert clean.warnings == (f"{keyword.upper()}_MISSING",)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientSex", "U"),
        ("PatientSex", "f"),
        ("PatientSex", "FEMALE"),
        ("PatientBirthDate", "1951"),
        ("PatientBirthDate", "1951-02-03"),
        ("PatientBirthDate", "19510000"),
        ("StudyTime", "10:11:12"),
        ("StudyTime", "250000"),
        ("StudyDate", "20261399"),
        ("PatientID", "12\\34"),
        ("PatientAge", "62"),
    ],
)
def test_malformed_value_is_blanked_and_remembered(keyword: str, value: str) -> None:
    received = raw({keyword: value})
    clean = reference_header(received)
    assert not clean.dataset[keyword].value
    assert clean.warnings == (f"{keyword.upper()}_INVALID",)


@pytest.mark.parametrize(
    ("keyword", "value"), [("StudyDate", "2025.03.01"), ("PatientName", "OnePart"), ("PatientName", "A^B^C^D^E^F")]
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_odd_but_usable_values_stay(keyword: str, value: str) -> None:
    clean = reference_header(raw({keyword: value}))
    assert str(clean.dataset[keyword].value) == value
    assert clean.warnings == ()


def test_private_elements_pixels_and_overlays_are_left_out() -> None:
    received = header()
    received.add_new(0x00091001, "LO", "secret")
    received.add_new(0x60000010, "US", 10)
    received.PixelData = b"\x00\x00"
    received["PixelData"].VR = "OW"
    inner = Dataset()
    inner.add_new(0x00111001, "LO", "secret")
    inner.RequestedProcedureID = "P1"
    received.RequestAttributesSequence = [inner]
    clean = reference_header(received).dataset
    assert "PixelData" not in clean
    assert 0x60000010 not in clean
    assert "secret" not in str(clean)
    assert clean.RequestAttributesSequence[0].RequestedProcedureID == "P1"


def test_received_dataset_is_unchanged_and_shares_nothing() -> None:
    received = header(PatientSex="M")
    before = copy.deepcopy(received)
    clean = reference_header(received).dataset
    clean.PatientName = "Other^Name"
    clean["StudyID"].value = "X"
    assert received == before


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_without_a_uid_there_is_no_reference(keyword: str) -> None:
    with pytest.raises(ValueError, match=keyword):
        reference_header(header(**{keyword: None}))


def test_bad_time_zone_is_dropped_and_a_good_one_kept() -> None:
    assert "TimezoneOffsetFromUTC" not in reference_header(header(TimezoneOffsetFromUTC="CET")).dataset
    assert reference_header(header(TimezoneOffsetFromUTC="-0330")).dataset.TimezoneOffsetFromUTC == "-0330"


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (None, "Smith^Anne"),
        ("ISO_IR 192", "Müller^Änne"),
        ("ISO_IR 100", "Müller^Änne"),
        ("ISO_IR 144", "Иванова^Анна"),
        ("ISO_IR 126", "Παππά^Άννα"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("ISO_IR 166", "สมชาย^ใจดี"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("GBK", "Wang^XiaoDong=王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
)
def test_names_survive_the_change_to_utf8(charset: str | list[str] | None, name: str) -> None:
    received = raw({"PatientName": name, "ReferringPhysicianName": "Weiss"}, SpecificCharacterSet=charset)
    clean = reference_header(received).dataset
    buffer = BytesIO()
    dcmwrite(buffer, clean, implicit_vr=False, little_endian=True)
    again = dcmread(BytesIO(buffer.getvalue()), force=True)
    assert again.SpecificCharacterSet == "ISO_IR 192"
    assert str(again.PatientName) == name


@pytest.mark.filterwarnings("ignore::UserWarning")
@needs_dicom
@pytest.mark.parametrize("path", REAL, ids=lambda p: p.stem)
def test_real_headers_are_cleaned_and_stay_as_they_are(path: Path) -> None:
    received = dcmread(path, stop_before_pixels=True)
    before = dcmread(path, stop_before_pixels=True)
    clean = reference_header(received).dataset
    assert str(clean.PatientName) == str(received.get("PatientName", ""))
    assert received == before
