"""The SR document: exact tree, flags and header, seen by Osteon, highdicom, dcmtk and dicom3tools."""

import copy
import datetime as dt
import itertools
import os
import re
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sr.coding import Code
from pydicom.uid import ComputedRadiographyImageStorage
from support.report_cases import (
    COLUMNS,
    INPUTS,
    MODEL,
    ROWS,
    SIMULATED_MODEL,
    SOURCE_UID,
    context,
    header,
    limited,
    radiograph,
    scored,
)
from support.tools import require_tool

from dicom_io import codes, wording
from dicom_io.content_items import number as numeric
from dicom_io.content_items import separate
from dicom_io.dicom_time import parse_datetime
from dicom_io.envelope import part10
from dicom_io.reference_header import reference_header
from dicom_io.report import build_report
from dicom_io.report_tree import analysed_frame
from dicom_io.results import build_results
from dicom_io.tree_parts import image_library
from model.domain import Category, ClinicalInput, MatchClass, Mode, Reason, Scored, Sex

OUTCOMES = list(itertools.product(Category, Mode))


def report(result: Scored | None = None, source: Dataset | None = None, **changes: object) -> Dataset:
    clean = reference_header(source or header()).dataset
    document = build_report(clean, radiograph(), result or scored(), context(**changes), digest="d")
    return dcmread(BytesIO(part10(document)))


def walk(item: Dataset) -> list[Dataset]:
    return [x for child in item.get("ContentSequence", []) for x in (child, *walk(child))]


def named(document: Dataset, code: Code) -> list[Dataset]:
    return [i for i in walk(document) if i.ConceptNameCodeSequence[0].CodeValue == code.value]


def number(document: Dataset, code: Code) -> float:
    return float(named(document, code)[0].MeasuredValueSequence[0].NumericValue)


def group(document: Dataset) -> list[str]:
    items = named(document, codes.MEASUREMENT_GROUP)[0].ContentSequence
    return [i.ConceptNameCodeSequence[0].CodeValue for i in items]


def test_root_and_order_of_the_tree() -> None:
    document = report(limited())
    assert document.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert document.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    top = [(i.RelationshipType, i.ConceptNameCodeSequence[0].CodeValue) for i in document.ContentSequence]
    assert top == [
        ("HAS CONCEPT MOD", "121049"),
        *[("HAS OBS CONTEXT", f"1210{n}") for n in ("05", "12", "13", "14", "15", "16")],
        ("HAS CONCEPT MOD", "121058"),
        ("CONTAINS", "111028"),
        ("CONTAINS", "126010"),
        ("CONTAINS", "C0034375"),
        ("CONTAINS", "121118"),
    ]


def test_result_group_has_the_exact_order() -> None:
    parameters = ["111002"] * 8
    assert group(report()) == [
        "112039",
        "112040",
        "121106",
        "OS-CATEGORY",
        "OS-INPUT",
        "121071",
        "111001",
        "111003",
        "122405",
        *parameters,
        "111000",
        "OS-P-FUSED",
        "122411",
        "OS-P-IMAGE",
        "OS-P-CLIN",
        "64859006",
        "OS-QUAL",
        "111030",
    ]


@pytest.mark.parametrize(("category", "mode"), OUTCOMES)
def test_each_outcome_says_what_it_must(category: Category, mode: Mode) -> None:
    document = report(scored(category, mode))
    flagged = category is Category.ABOVE
    expected = {
        Category.ABOVE: ("OS-ABOVE", "15508007"),
        Category.BETWEEN: ("OS-BETWEEN", "25594002"),
        Category.BELOW: ("OS-BELOW", "75976002"),
    }[category]
    assert named(document, codes.CATEGORY)[0].ConceptCodeSequence[0].CodeValue == expected[0]
    assert named(document, codes.OSTEOPOROSIS)[0].ConceptCodeSequence[0].CodeValue == expected[1]
    assert bool(named(document, codes.FINDING)) == flagged
    fused = mode is Mode.IMAGE_AND_CLINICAL
    assert bool(named(document, codes.P_FUSED)) == bool(named(document, codes.P_CLINICAL)) == fused
    used = "OS-IMG-CLIN" if fused else "OS-IMG-ONLY"
    assert named(document, codes.INPUTS_USED)[0].ConceptCodeSequence[0].CodeValue == used


def test_numbers_parameters_and_quality() -> None:
    document = report(limited())
    assert number(document, codes.P_FUSED) == 73.4
    assert number(document, codes.THRESHOLD) == 32.0
    assert number(document, codes.P_IMAGE) == 68.1
    assert number(document, codes.P_CLINICAL) == 40.2
    parameters = [i.TextValue for i in named(document, codes.ALGORITHM_PARAMETERS)]
    assert parameters[:4] == [
        "threshold=0.32",
        "threshold_low=0.25",
        "calibration=cal-2026-03",
        f"image_model_sha256={'3f' * 32}",
    ]
    findings = [i.TextValue for i in named(document, codes.QUALITY_FINDING)]
    assert findings == [wording.reason(Reason.AP_VIEW), wording.reason(Reason.LOSSY)]
    assert named(document, codes.INPUT_QUALITY)[0].ConceptCodeSequence[0].CodeValue == "OS-Q-LIM"


def test_without_a_zone_no_lower_threshold_is_printed() -> None:
    document = report(scored(t_low=0.32))
    assert not any("threshold_low" in i.TextValue for i in named(document, codes.ALGORITHM_PARAMETERS))


def test_patient_characteristics_tell_used_from_missing() -> None:
    document = report()
    items = named(document, codes.PATIENT_CHARACTERISTICS)[0].ContentSequence
    assert [i.ConceptNameCodeSequence[0].CodeValue for i in items] == ["121032", "121033", "29463-7", "6768-6"]
    weight, alp = items[2], items[3]
    assert weight.ConceptNameCodeSequence[0].CodingSchemeDesignator == "LN"
    assert weight.MeasuredValueSequence[0].NumericValue == 54.5
    assert weight.ObservationDateTime == "20260301103000+0200"
    assert weight.ContentSequence[0].TextValue == "HL7 ORU^R01 MSG00017"
    assert alp.ConceptCodeSequence[0].CodeValue == "OS-IN-MISSING"


def test_local_variable_gets_a_private_code_and_unused_value_says_so() -> None:
    local = ClinicalInput(variable="grip", value=21.0, unit="kg", source="CSV 4:17")
    document = report(scored(mode=Mode.IMAGE_ONLY, match=MatchClass.MATCH_DEMOG, inputs=(local,)))
    item = named(document, codes.PATIENT_CHARACTERISTICS)[0].ContentSequence[1]
    assert item.ConceptNameCodeSequence[0].CodingSchemeDesignator == "99OSTEON"
    assert item.ContentSequence[0].TextValue == "CSV 4:17 (not used: image-only result)"


def test_unknown_sex_and_no_inputs_leave_the_container_out() -> None:
    clean = reference_header(header()).dataset
    document = build_report(clean, radiograph(sex=Sex.UNKNOWN), scored(inputs=()), context(), digest="d")
    assert not named(document, codes.PATIENT_CHARACTERISTICS)


def test_subject_sex_is_the_one_the_model_used() -> None:
    used = ClinicalInput(variable="sex", value=0.0, unit="1", source="HL7 ADT 17")
    sex = named(report(scored(inputs=(used,))), codes.SUBJECT_SEX)[0]
    assert sex.ConceptCodeSequence[0].CodeValue == "M"
    assert named(report(scored(inputs=())), codes.SUBJECT_SEX)[0].ConceptCodeSequence[0].CodeValue == "F"


def test_flags_device_and_header_table() -> None:
    request, title = Dataset(), "Chest PA"
    request.RequestedProcedureID, request.RequestedProcedureDescription = "RP1", title
    document = report(source=header(RequestAttributesSequence=[request]))
    assert (document.CompletionFlag, document.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert (document.PreliminaryFlag, document.ContentQualification) == ("PRELIMINARY", "RESEARCH")
    assert (document.Modality, document.SeriesNumber, document.InstanceNumber) == ("SR", 9901, 1)
    assert document.ManufacturerModelName == "Osteon"
    assert list(document.SoftwareVersions) == ["node 0.1.0", f"model 1.4.0 sha256:{'3f' * 6}"]
    assert document.SpecificCharacterSet == "ISO_IR 192"
    assert document.AuthorObserverSequence[0].ObserverType == "DEV"
    item = document.ReferencedRequestSequence[0]
    assert (item.AccessionNumber, item.RequestedProcedureID) == ("A2026-0815", "RP1")
    assert item.RequestedProcedureDescription == title
    assert document.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99OSTEON"


@pytest.mark.parametrize(
    ("changes", "offset", "time"),
    [
        ({}, "+0200", "102031"),
        ({"StudyDate": "20260110"}, "+0100", "092031"),
        ({"TimezoneOffsetFromUTC": "-0330"}, "-0330", "045031"),
        ({"StudyDate": None}, "+0200", "102031"),
        ({"StudyDate": "18580101"}, "+0200", "102031"),
    ],
)
def test_own_times_are_told_in_the_zone_of_the_source(changes: dict[str, str], offset: str, time: str) -> None:
    document = report(source=header(**changes))
    assert document.TimezoneOffsetFromUTC == offset
    assert document.ContentTime == document.SeriesTime == document.InstanceCreationTime == time
    written = [i.get("ContributionDateTime") for i in document.ContributingEquipmentSequence]
    assert f"20260404{time}{offset}" in written


@pytest.mark.parametrize(
    ("zone", "day", "offset"),
    [
        ("Europe/Paris", "19000101", "+0200"),  # local mean time, +00:09:21
        ("Asia/Seoul", "19000101", "+0900"),
        ("Asia/Manila", "18400101", "+0800"),  # beyond the twelve hours west that the attribute can say
        ("Asia/Kolkata", "19600101", "+0530"),
    ],
)
def test_an_offset_of_the_days_before_zones_is_not_written(zone: str, day: str, offset: str) -> None:
    document = report(source=header(StudyDate=day), zone=ZoneInfo(zone))
    assert document.TimezoneOffsetFromUTC == offset
    times = [i.get("ContributionDateTime") for i in document.ContributingEquipmentSequence]
    assert parse_datetime(next(str(text) for text in times if text)) == context().at.replace(microsecond=0)


def test_midnight_in_another_zone_changes_the_date() -> None:
    at = dt.datetime(2026, 4, 4, 23, 30, tzinfo=dt.UTC)
    document = report(at=at, zone=ZoneInfo("Asia/Tokyo"))
    assert (document.ContentDate, document.ContentTime) == ("20260405", "083000")


def test_region_is_closed_clipped_and_inset() -> None:
    assert analysed_frame(radiograph(), scored()) == (8, 6, ROWS - 9, COLUMNS - 7)
    assert analysed_frame(radiograph(), scored(analysed_region=(-50, -9, 9999, 9999))) == (8, 6, ROWS - 9, COLUMNS - 7)
    assert analysed_frame(radiograph(), scored(analysed_region=(0, 0, 0, 0))) == (8, 6, ROWS - 9, COLUMNS - 7)
    data = named(report(), codes.IMAGE_REGION)[0].GraphicData
    points = list(zip(data[0::2], data[1::2], strict=True))
    assert points[0] == points[-1]
    corners = {(x, y) for x in (6.0, COLUMNS - 7.0) for y in (8.0, ROWS - 9.0)}
    assert {(min(xs), min(ys), max(xs), max(ys)) for xs, ys in [zip(*points, strict=True)]} == {
        (6.0, 8.0, COLUMNS - 7.0, ROWS - 9.0)
    }
    assert corners < set(points)


def test_ohif_prints_the_numbers_inside_the_image_and_does_not_take_the_frame_for_its_own_rectangle() -> None:
    data = named(report(), codes.IMAGE_REGION)[0].GraphicData
    assert data[0] == data[2] == 6.0  # the numbers stand right of the first two points
    assert ROWS / 3 < (data[1] + data[3]) / 2 < 2 * ROWS / 3
    assert len(data) // 2 not in (4, 5)  # with which OHIF asks to track it


def test_simulated_training_stands_in_comment_disclaimer_and_series() -> None:
    document = report(scored(model=SIMULATED_MODEL))
    for text in (
        named(document, codes.COMMENT)[0].TextValue,
        named(document, codes.DISCLAIMER)[0].TextValue,
        document.SeriesDescription,
    ):
        assert wording.SIMULATED in text


@pytest.mark.parametrize(
    "changes", [{"PatientOrientation": None}, {"PatientOrientation": "L"}, {"ImagerPixelSpacing": None}, {"Rows": None}]
)
def test_image_library_is_left_out_when_the_source_lacks_its_inputs(changes: dict[str, object]) -> None:
    assert not [i for i in walk(report(source=header(**changes))) if i.ConceptNameCodeSequence[0].CodeValue == "111028"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"SOPClassUID": ComputedRadiographyImageStorage, "Modality": "CR"},
        {"Modality": "OT"},
        {"FrameOfReferenceUID": "1.2.826.0.1.3680043.10.99.7"},
        {"ImagerPixelSpacing": ["0.1430000000", "0.13900001"], "PatientOrientation": ["A", "FR"]},
        {"Rows": 1, "Columns": 65535},
    ],
)
def test_image_library_is_highdicoms_to_the_byte(changes: dict[str, object]) -> None:
    source = reference_header(header(**changes)).dataset
    (theirs,) = hd.sr.ImageLibrary([source])
    separate(theirs)
    (ours,) = image_library(source)
    assert encoded(ours) == encoded(theirs)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "SoftwareVersions": ["1.0", "b7"],
            "DeviceSerialNumber": "X1",
            "InstitutionName": "Klinik Süd",
            "InstitutionalDepartmentName": "Radiology",
            "InstitutionAddress": "Hauptstraße 1",
            "AcquisitionDateTime": "20260404101500.5",
            "AcquisitionDate": "20260404",
            "AcquisitionTime": "101500",
        },
        {"ManufacturerModelName": None, "StationName": None},
    ],
)
def test_the_device_that_took_the_image_is_described_as_by_highdicom(changes: dict[str, object]) -> None:
    source = reference_header(header(**changes)).dataset
    theirs = hd.ContributingEquipment.for_image_acquisition(source)
    assert encoded(report(source=header(**changes)).ContributingEquipmentSequence[0]) == encoded(theirs)


@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize("maker", [None, "", "x" * 65])
def test_a_device_without_a_valid_maker_is_left_out(maker: str | None) -> None:
    document = report(source=header(Manufacturer=maker))
    assert [i.ManufacturerModelName for i in document.ContributingEquipmentSequence] == ["highdicom"]


def encoded(item: Dataset) -> bytes:
    """Explicit VR, UTF-8."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, item, "utf8")
    return buffer.getvalue()


def test_trap_h1_editing_the_report_leaves_the_source_alone() -> None:
    source = header()
    before = copy.deepcopy(source)
    built = build_results(source, radiograph(), scored(), context())
    document = build_report(reference_header(source).dataset, radiograph(), scored(), context(), digest="d")
    document.PatientName = "Someone^Else"
    assert built
    assert source == before


def test_trap_h2_every_container_is_separate() -> None:
    document = report()
    containers = [i for i in walk(document) if i.ValueType == "CONTAINER"]
    assert {i.ContinuityOfContent for i in (document, *containers)} == {"SEPARATE"}
    assert len(containers) == 6


@pytest.mark.parametrize("bad", [True, np.bool_(1), float("nan"), float("inf")])
def test_trap_h4_only_finite_numbers_become_num(bad: float) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        numeric(codes.P_IMAGE, bad, codes.PERCENT)


@pytest.mark.parametrize("good", [np.float32(0.5), np.int64(3), 2])
def test_trap_h4_numpy_numbers_are_written(good: float) -> None:
    assert numeric(codes.P_IMAGE, good, codes.PERCENT).value == float(good)


def test_trap_h9_region_outside_the_image_is_clipped() -> None:
    data = named(report(scored(analysed_region=(-100, -100, 5000, 5000))), codes.IMAGE_REGION)[0].GraphicData
    assert min(data) >= 0
    assert max(data[0::2]) < COLUMNS
    assert max(data[1::2]) < ROWS


def test_highdicom_reads_it_back() -> None:
    document = hd.sr.srread(BytesIO(part10(report())))
    groups = document.content.get_planar_roi_measurement_groups()
    assert len(groups) == 1
    assert groups[0].tracking_identifier == wording.TRACKING
    assert document.get_evidence()[0][2] == SOURCE_UID


CASES = {
    **{f"{c}-{m}": scored(c, m) for c, m in OUTCOMES},
    "limited-simulated": limited(model=SIMULATED_MODEL),
    "image-only-conflict": scored(mode=Mode.IMAGE_ONLY, match=MatchClass.CONFLICT),
    "six-decimals": scored(Category.BELOW, p_fused=0.3199999, t_low=1.0),
    "long-fusion": scored(model=replace(MODEL, fusion="x" * 900), inputs=INPUTS * 3),
}
CHARSETS = {
    "latin1": {},
    "utf8": {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Иванова^Анна"},
    "cyrillic": {"SpecificCharacterSet": "ISO_IR 144", "PatientName": "Иванова^Анна", "ReferringPhysicianName": ""},
    "gb18030": {"SpecificCharacterSet": "GB18030", "PatientName": "Wang^Xiao=王^小东", "ReferringPhysicianName": ""},
    "ir87": {
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
        "PatientName": "Yamada^Tarou=山田^太郎",
        "ReferringPhysicianName": "",
    },
}
DEFECTS = {
    "no-study-id": {"StudyID": None},
    "no-identity": {"PatientID": None, "PatientName": None, "PatientBirthDate": None, "PatientSex": None},
    "no-study-time": {"StudyDate": None, "StudyTime": None},
    "no-accession": {"AccessionNumber": None},
    "no-orientation": {"PatientOrientation": None},
    "no-spacing": {"ImagerPixelSpacing": None},
    "no-device": {"Manufacturer": None, "ManufacturerModelName": None, "ViewPosition": None, "BodyPartExamined": None},
    "no-referring": {"ReferringPhysicianName": None},
    "name-without-caret": {"PatientName": "Solo"},
}
VALIDATED = (
    [(name, result, {}) for name, result in CASES.items()]
    + [(name, scored(), changes) for name, changes in CHARSETS.items()]
    + [(name, scored(), changes) for name, changes in DEFECTS.items()]
)


PAGED = {"limited-simulated", "ir87", "no-identity"}


def save_all(folder: Path, result: Scored, changes: dict[str, object], *, page: bool = False) -> dict[str, Path]:
    files = {}
    for built in build_results(header(**changes), radiograph(), result, context(with_page=page)):
        files[built.kind] = folder / f"{built.kind}.dcm"
        files[built.kind].write_bytes(built.part10)
    return files


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    return (done.stdout + done.stderr).decode("utf-8", "replace")


@pytest.mark.parametrize(("name", "result", "changes"), VALIDATED, ids=[name for name, *_ in VALIDATED])
def test_validators_find_no_error(name: str, result: Scored, changes: dict[str, object], tmp_path: Path) -> None:
    validate, dump, entities = (require_tool(tool) for tool in ("dciodvfy", "dsrdump", "dcentvfy"))
    files = save_all(tmp_path, result, changes, page=name in PAGED)
    for path in files.values():
        errors = [line for line in output(validate, "-new", str(path)).splitlines() if "Error" in line]
        assert [line for line in errors if "99OSTEON" not in line] == []
    assert not re.search(r"^[EF]:", output(dump, str(files["sr"])), re.MULTILINE)
    # "IE Series vs Study" about AccessionNumber is dcentvfy's own noise (structured-report.md section 11).
    conflicts = [line for line in output(entities, *map(str, files.values())).splitlines() if "Error" in line]
    assert [line for line in conflicts if "AccessionNumber" not in line] == []


def test_plain_html_shows_every_label(tmp_path: Path) -> None:
    html = output(require_tool("dsr2html"), "+U8", str(save_all(tmp_path, limited(), {})["sr"]))
    for label in (
        "Osteoporosis prob. (fused)",
        "Osteoporosis prob. (image)",
        "Osteoporosis prob. (clinical)",
        "Threshold Value",
        "Screening category",
        "Inputs used",
        "Screening input quality",
        "Intended use statement",
        "Clinical data match",
        "Body weight",
        "Missing, not used",
        "High risk",
    ):
        assert label in html
    assert "Not for primary diagnosis" in html


@pytest.mark.slow
def test_pixelmed_accepts_the_template(tmp_path: Path) -> None:
    java = require_tool("java")
    jar = "/usr/share/java/pixelmed.jar"
    if not Path(jar).exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("libpixelmed-java is not installed")
    limits = [f"-Djdk.xml.xpath{name}=0" for name in ("TotalOpLimit", "ExprOpLimit", "ExprGrpLimit")]
    path = str(save_all(tmp_path, limited(), {})["sr"])
    text = output(java, "-Xss16m", *limits, "-cp", jar, "com.pixelmed.validate.DicomSRValidator", path)
    assert "IOD validation complete" in text
    assert [line for line in text.splitlines() if line.startswith("Error") or "illegal relationship" in line] == []
