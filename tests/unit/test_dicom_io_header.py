"""Header -> domain values, with every defect the field has shown."""

import dataclasses
import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from support.dicom_objects import ROOT, encode, radiograph_dataset, write
from support.shared_data import DICOM, needs_dicom

from dicom_io.dicom_time import parse_date, parse_datetime, parse_offset, parse_time
from dicom_io.errors import HeaderInvalid
from dicom_io.header import (
    accession_number,
    acquired_at,
    age_years,
    instance_reference,
    patient_identity,
    read_header,
    remarks,
)
from model.domain import AssigningAuthority, Identifier, NameGroup, Sex

BERLIN = ZoneInfo("Europe/Berlin")


def raw(**values: bytes) -> Dataset:
    """A dataset whose elements are bytes as received, so that nothing was validated."""
    dataset = Dataset()
    for keyword, value in values.items():
        tag = Tag(keyword)
        dataset[tag] = RawDataElement(tag, None, len(value), value, 0, is_implicit_VR=True, is_little_endian=True)
    dataset.set_original_encoding(is_implicit_vr=True, is_little_endian=True)
    return dataset


def test_a_regular_header(tmp_path: Path) -> None:
    header = read_header(write(tmp_path / "a", radiograph_dataset()))
    assert "PixelData" not in header
    reference = instance_reference(header)
    assert reference.sop_instance_uid == f"{ROOT}.3.1"
    assert reference.sop_class_uid == uid.DigitalXRayImageStorageForPresentation
    identity = patient_identity(header)
    assert identity.identifiers == (Identifier(value="0012345", authority=AssigningAuthority(namespace="HOSP")),)
    assert identity.name.alphabetic == NameGroup(family="Doe", given="Jane")
    assert (identity.birth_date, identity.sex) == (dt.date(1955, 6, 20), Sex.FEMALE)
    assert accession_number(header) == "A0001"
    assert age_years(header) == 68.0
    assert acquired_at(header, BERLIN) == dt.datetime(2024, 3, 10, 10, 15, 30, 250_000, tzinfo=BERLIN)
    assert remarks(header) == ()


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_neither_preamble_nor_file_meta_information_is_needed(tmp_path: Path, syntax: str) -> None:
    part10 = encode(radiograph_dataset(), syntax)
    path = tmp_path / "bare"
    path.write_bytes(part10[part10.index(b"\x08\x00\x05\x00") :])
    assert instance_reference(read_header(path)).sop_instance_uid == f"{ROOT}.3.1"


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 500, b"<html>not found</html>" * 20, b"\0" * 128 + b"DICM", b"\x89PNG" * 99]
)
def test_what_is_no_dicom_object_is_header_invalid(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(HeaderInvalid):
        read_header(path)


def test_a_missing_uid_cannot_be_owned() -> None:
    with pytest.raises(HeaderInvalid, match="StudyInstanceUID"):
        instance_reference(raw(SOPClassUID=b"1.2", SOPInstanceUID=b"1.3\0"))


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [b"1.2." + b"3" * 61, b"1.2\x003", b"1.2\x1b.3"])
def test_a_uid_that_no_ledger_could_hold_cannot_be_owned(keyword: str, value: bytes) -> None:
    uids = dict.fromkeys(("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"), b"1.2")
    longest = b"1.2." + b"3" * 60
    assert longest.decode() in dataclasses.astuple(instance_reference(raw(**{**uids, keyword: longest + b"\0"})))
    with pytest.raises(HeaderInvalid, match=keyword):
        instance_reference(raw(**{**uids, keyword: value}))


@pytest.mark.parametrize(
    ("stated", "born", "expected"),
    [
        (b"062Y", b"", 62.0),
        (b"62", b"", 62.0),
        (b"062y ", b"", 62.0),
        (b"6M", b"", 0.5),
        (b"010D", b"", pytest.approx(0.0274, abs=1e-4)),
        (b"", b"19620311", pytest.approx(61.997, abs=0.003)),
        (b"", b"19620310", 62.0),
        (b"000Y", b"19620310", 62.0),
        (b"000Y", b"", 0.0),
        (b"999Y", b"19620310", 62.0),
        (b"old", b"1962-03-10", 62.0),
        (b"", b"1962.03.10", 62.0),
        (b"", b"18000101", None),
        (b"", b"20250101", None),
        (b"", b"00000000", None),
        (b"", b"19620000", None),
        (b"\xff\xfe", b"\x1b$B!!", None),
    ],
)
def test_age(stated: bytes, born: bytes, expected: float | None) -> None:
    assert age_years(raw(PatientAge=stated, PatientBirthDate=born, StudyDate=b"20240310")) == expected


def test_born_on_a_leap_day() -> None:
    assert age_years(raw(PatientBirthDate=b"19600229", StudyDate=b"20230301")) == 63.0
    assert age_years(raw(PatientBirthDate=b"19600229", StudyDate=b"20230228")) == pytest.approx(63, abs=0.01)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (b"F", Sex.FEMALE),
        (b"m ", Sex.MALE),
        (b"FEMALE", Sex.FEMALE),
        (b"O", Sex.OTHER),
        (b"U", Sex.UNKNOWN),
        (b"", Sex.UNKNOWN),
        (b"2", Sex.UNKNOWN),
    ],
)
def test_sex(stated: bytes, expected: Sex) -> None:
    assert patient_identity(raw(PatientSex=stated)).sex is expected


def test_issuers_and_other_identifiers() -> None:
    dataset = radiograph_dataset(PatientID=" 0012345 ")
    qualifier = Dataset()
    qualifier.UniversalEntityID, qualifier.UniversalEntityIDType = "1.2.276.0.99", "ISO"
    dataset.IssuerOfPatientIDQualifiersSequence = [qualifier]
    other, empty = Dataset(), Dataset()
    other.PatientID, other.IssuerOfPatientID = "77", "REGION"
    empty.IssuerOfPatientID = "NOWHERE"
    dataset.OtherPatientIDsSequence = [other, empty]
    hospital = AssigningAuthority(namespace="HOSP", universal_id="1.2.276.0.99", universal_id_type="ISO")
    assert patient_identity(dataset).identifiers == (
        Identifier(value="0012345", authority=hospital),
        Identifier(value="77", authority=AssigningAuthority(namespace="REGION")),
    )


@pytest.mark.parametrize(
    ("charset", "name", "alphabetic", "ideographic"),
    [
        (b"ISO_IR 100", "Müller^Jörg^^Dr.".encode("latin-1"), NameGroup(family="Müller", given="Jörg"), NameGroup()),
        (b"ISO_IR 192", "Łoś^Żaneta".encode(), NameGroup(family="Łoś", given="Żaneta"), NameGroup()),
        (
            b"\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
            NameGroup(family="Yamada", given="Tarou"),
            NameGroup(family="山田", given="太郎"),
        ),
        (
            b"GB18030",
            "Wang^XiaoDong=王^小东".encode("gb18030"),
            NameGroup(family="Wang", given="XiaoDong"),
            NameGroup(family="王", given="小东"),
        ),
        (b"", b"DOE", NameGroup(family="DOE"), NameGroup()),
    ],
)
def test_names(charset: bytes, name: bytes, alphabetic: NameGroup, ideographic: NameGroup) -> None:
    found = patient_identity(raw(SpecificCharacterSet=charset, PatientName=name)).name
    assert (found.alphabetic, found.ideographic) == (alphabetic, ideographic)


@pytest.mark.parametrize("charset", [b"ISO_IR 192", b"NONSENSE", b"ISO 2022 IR 87\\UTF-9", b"\xff"])
def test_an_undecodable_name_is_a_remark_not_an_error(charset: bytes) -> None:
    dataset = raw(SpecificCharacterSet=charset, PatientName=b"M\xfcller\x1b$B\xff^\x9d")
    patient_identity(dataset)
    assert set(remarks(dataset)) <= {"NAME_UNDECODABLE"}


def test_remarks_name_defects_without_values() -> None:
    dataset = raw(
        PatientBirthDate=b"19510000",
        PatientAge=b"old",
        PatientSex=b"X",
        SpecificCharacterSet=b"ISO_IR 192",
        PatientName=b"\xff\xfe",
    )
    assert remarks(dataset) == ("BIRTH_DATE_INVALID", "AGE_INVALID", "SEX_INVALID", "NAME_UNDECODABLE")
    contradiction = raw(PatientBirthDate=b"19510101", PatientAge=b"040Y", StudyDate=b"20240101")
    assert remarks(contradiction) == ("AGE_CONTRADICTS_BIRTH_DATE",)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"AcquisitionDateTime": b"20240701120000.5+0530", "StudyDate": b"20240101"},
            "2024-07-01T12:00:00.500000+05:30",
        ),
        ({"AcquisitionDateTime": b"20240701120000"}, "2024-07-01T12:00:00+02:00"),
        ({"AcquisitionDateTime": b"202407", "ContentDate": b"20240702"}, "2024-07-02T00:00:00+02:00"),
        (
            {"AcquisitionDate": b"20240701", "AcquisitionTime": b"0915", "StudyDate": b"20240101"},
            "2024-07-01T09:15:00+02:00",
        ),
        (
            {"AcquisitionDate": b"garbage", "SeriesDate": b"20240701", "SeriesTime": b"10:11:12"},
            "2024-07-01T10:11:12+02:00",
        ),
        ({"StudyDate": b"20240101", "StudyTime": b"250000"}, "2024-01-01T00:00:00+01:00"),
        (
            {"StudyDate": b"20240101", "StudyTime": b"235960", "TimezoneOffsetFromUTC": b"-0500"},
            "2024-01-01T23:59:59-05:00",
        ),
        ({"StudyDate": b"20240101", "TimezoneOffsetFromUTC": b"+9900"}, "2024-01-01T00:00:00+01:00"),
        ({"StudyTime": b"101010"}, None),
    ],
)
def test_the_time_of_the_image(values: dict[str, bytes], expected: str | None) -> None:
    found = acquired_at(raw(**values), BERLIN)
    assert (found.isoformat() if found else None) == expected


@given(st.dates(), st.times(), st.timedeltas(min_value=dt.timedelta(hours=-12), max_value=dt.timedelta(hours=14)))
def test_date_times_survive_the_round_trip(day: dt.date, time: dt.time, offset: dt.timedelta) -> None:
    zone = dt.timezone(dt.timedelta(minutes=offset // dt.timedelta(minutes=1)))
    text = f"{day.year:04}{day:%m%d}{time:%H%M%S.%f}"
    sign = dt.datetime.combine(day, time, tzinfo=zone).strftime("%z")
    assert parse_datetime(text + sign) == dt.datetime.combine(day, time, tzinfo=zone)
    assert (parse_date(text[:8]), parse_time(text[8:])) == (day, time)
    assert parse_offset(sign) == zone


@given(st.text())
def test_no_text_breaks_a_parser(text: str) -> None:
    for parser in (parse_date, parse_time, parse_datetime, parse_offset):
        parser(text)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "SpecificCharacterSet",
                "PatientName",
                "PatientID",
                "IssuerOfPatientID",
                "PatientBirthDate",
                "PatientSex",
                "PatientAge",
                "StudyDate",
                "StudyTime",
                "AcquisitionDateTime",
                "TimezoneOffsetFromUTC",
                "AccessionNumber",
                "SOPInstanceUID",
                "OtherPatientIDsSequence",
                "IssuerOfPatientIDQualifiersSequence",
            ]
        ),
        st.binary(max_size=24),
    )
)
def test_no_value_breaks_a_reader(values: dict[str, bytes]) -> None:
    dataset = raw(**values)
    patient_identity(dataset)
    accession_number(dataset)
    age_years(dataset)
    acquired_at(dataset, BERLIN)
    remarks(dataset)


@needs_dicom
def test_real_names_in_iso_2022() -> None:
    japanese = patient_identity(read_header(DICOM / "header_japanese_iso2022__pydicom.dcm"))
    korean = patient_identity(read_header(DICOM / "header_korean_iso2022__pydicom.dcm"))
    assert japanese.name.alphabetic == NameGroup(family="やまだ", given="たろう")
    assert korean.name.alphabetic == NameGroup(family="김희중")
