"""Design sections 8 and 9: every defective header, every character set, and the settings for old archives."""

import copy
import functools
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.report_cases import context, radiograph, scored
from support.report_matrix import CHARSETS, COPIED, DEFECTS, received

from dicom_io.header import redeclare
from dicom_io.reference_header import reference_header
from dicom_io.results import BuiltObject, build_results

pytestmark = pytest.mark.filterwarnings("ignore:The value length", "ignore:Invalid value for VR")
BROKEN_AT_THE_SOURCE = "ir6-58"


@functools.cache
def film():
    return radiograph()


def report(source: Dataset, **changes: object) -> tuple[BuiltObject, ...]:
    return build_results(source, film(), scored(), context(**({"with_page": False} | changes)))


def read(built: BuiltObject) -> Dataset:
    return dcmread(BytesIO(built.part10))


@pytest.mark.parametrize("name", DEFECTS)
def test_every_case_of_section_8_builds_and_the_source_is_unchanged(name: str) -> None:
    source = received(**DEFECTS[name])
    before = copy.deepcopy(source)
    document = read(report(source)[-1])
    assert source == before
    clean = reference_header(source).dataset
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"):
        assert str(document[keyword].value or "") == str(clean[keyword].value or "")


@pytest.mark.parametrize("name", [name for name in CHARSETS if name != BROKEN_AT_THE_SOURCE])
def test_12_character_sets_names_identical_after_re_reading(name: str) -> None:
    source = received(**CHARSETS[name])
    for built in report(source, with_page=name in ("thai", "ir149")):
        document = read(built)
        assert document.SpecificCharacterSet == "ISO_IR 192"
        assert str(document.PatientName) == CHARSETS[name]["PatientName"]


def test_the_twelfth_set_is_broken_in_the_source_and_the_result_is_still_built() -> None:
    source = received(**CHARSETS[BROKEN_AT_THE_SOURCE])
    assert report(source)[-1].kind == "sr"


@pytest.mark.parametrize("name", [name for name in CHARSETS if name != BROKEN_AT_THE_SOURCE])
def test_inherit_writes_the_images_own_set_and_loses_no_name(name: str) -> None:
    source = received(**CHARSETS[name])
    document = read(report(source, inherit_charset=True)[-1])
    stated = CHARSETS[name]["SpecificCharacterSet"]
    wanted = stated or "ISO_IR 192"
    assert document.SpecificCharacterSet == wanted
    assert str(document.PatientName) == CHARSETS[name]["PatientName"]


def test_inherit_falls_back_to_utf8_where_the_set_does_not_hold_a_text() -> None:
    source = received(**CHARSETS["ir87"])
    document = read(report(source, inherit_charset=True, site_name="Krankenhaus Köln ≥ 1")[-1])
    assert document.SpecificCharacterSet == "ISO_IR 192"
    assert document.InstitutionName == "Krankenhaus Köln ≥ 1"


def test_gbk_under_iso_ir_100_with_override() -> None:
    truth = received(**CHARSETS["gbk"])
    truth.decode()
    wrong = received(**CHARSETS["gbk"], ReferringPhysicianName="")
    wrong["SpecificCharacterSet"].value = "ISO_IR 100"
    wrong.set_original_encoding(*wrong.original_encoding, "latin_1")
    assert str(copy.deepcopy(wrong).PatientName) != str(truth.PatientName)
    redeclare(wrong, ("GBK",))
    assert str(read(report(wrong)[-1]).PatientName) == "Wang^XiaoDong=王^小东"


@pytest.mark.parametrize(
    ("keyword", "raw"),
    [("PatientSex", "FEMALE"), ("PatientBirthDate", "1951-02-03"), ("StudyTime", "10:11:12"), ("PatientID", "12\\34")],
)
def test_restore_raw_header_copies_the_raw_string_back(keyword: str, raw: str) -> None:
    source = received(**{keyword: raw})
    plain, restored = (read(report(source, restore_raw_header=on)[-1]) for on in (False, True))
    assert not plain[keyword].value
    written = restored[keyword].value
    assert (written if isinstance(written, str) else "\\".join(written)) == raw


def test_raw_strings_are_part_of_the_content_digest() -> None:
    uids = {report(received(PatientSex=raw))[-1].sop_instance_uid for raw in ("U", "FEMALE")}
    assert len(uids) == 2


@pytest.mark.parametrize("name", COPIED)
def test_odd_values_are_accepted_as_they_are(name: str) -> None:
    document = read(report(received(**DEFECTS[name]))[-1])
    assert str(document[COPIED[name]].value) == DEFECTS[name][COPIED[name]]
