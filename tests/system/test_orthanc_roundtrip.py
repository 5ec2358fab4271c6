"""The main job with real peers: modality (DCMTK) -> PACS (Orthanc) -> node -> SR and page back in the right study."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path

import pydicom
import pytest
from support.dcmtk import dcmsend, dsr2html, errors_of
from support.hospital import Hospital, await_true, ended
from support.shared_data import DICOM, needs_dicom
from support.tools import require_tool

from dicom_io.reading import report_text
from model.domain import Category, MatchClass, Mode, Reason
from node.case import Delivered, Failed, NotApplicable
from node.demo import messages
from node.demo.orthanc import AE_TITLE
from node.demo.phantoms import demo_patients, film

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
LABELS = ("Osteoporosis prob. (image)", "Threshold Value", "TRAINED ON SIMULATED IMAGES", "Not a bone density")
ROUTE_EVERYTHING = """
function OnStoredInstance(instanceId, tags, metadata, origin)
  SendToModality(instanceId, 'osteon')
end
"""


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """A PACS that routes everything it gets to the node, the node's own results too."""
    require_tool("Orthanc")
    folder = tmp_path_factory.mktemp("hospital")
    script = folder / "everything.lua"
    script.write_text(ROUTE_EVERYTHING, encoding="utf-8")
    with Hospital(folder, script=script) as running:
        yield running


@pytest.fixture(scope="module")
def films(hospital):
    """Three phantom patients: clinical data by HL7, by CSV, none; films sent by DCMTK to the PACS."""
    made = [
        film(patient, number=number, taken_at=NOW, rows=700, seed=11)
        for number, patient in enumerate(demo_patients(3, 11), start=1)
    ]
    visits = [
        messages.Visit(
            identity=f.identity,
            weight_kg=f.patient.weight_kg,
            height_cm=f.patient.height_cm,
            measured_at=NOW - dt.timedelta(days=30),
            accession=f.accession,
        )
        for f in made
    ]
    by_hl7 = [
        messages.adt_a04(visits[0], control_id="A1", sent_at=NOW),
        messages.oru_r01(visits[0], control_id="R1", sent_at=NOW),
    ]
    for answer in messages.send_mllp(hospital.mllp_port, by_hl7):
        assert b"\rMSA|AA|" in answer
    partial = hospital.drop / "inbox" / "vitals.csv.part"
    await_true(partial.parent.is_dir, "the drop folder exists")
    partial.write_text(messages.observations_csv(visits[1:2]), encoding="utf-8")
    partial.rename(partial.with_suffix(""))
    paths = [_written(hospital.folder, f.object.part10, f"film{n}.dcm") for n, f in enumerate(made)]
    dcmsend(hospital.pacs_port, *paths, called=AE_TITLE)
    await_true(
        lambda: all(isinstance(hospital.case_of(f.object.sop_instance_uid), Delivered) for f in made), "three reports"
    )
    return made


def _written(folder: Path, content: bytes, name: str) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_each_study_gets_exactly_one_report_and_one_page(hospital, films):
    for made in films:
        found = hospital.results(made.study_uid)
        assert {kind: len(objects) for kind, objects in found.items()} == {"sr": 1, "page": 1}
        report = pydicom.dcmread(io.BytesIO(found["sr"][0]))
        assert report.PatientID == made.identity.identifiers[0].value
        assert report.AccessionNumber == made.accession


def test_clinical_data_are_joined_from_both_feeds_and_their_absence_is_said(hospital, films):
    by_hl7, by_csv, without = (hospital.case_of(f.object.sop_instance_uid) for f in films)
    for case, source in ((by_hl7, "HL7 ORU^R01 R1"), (by_csv, "CSV ")):
        assert case.match is MatchClass.MATCH_ISSUER
        assert case.result.mode is Mode.IMAGE_AND_CLINICAL
        weight = next(i for i in case.result.inputs if i.variable == "weight")
        assert weight.source.startswith(source)
        assert weight.age_days == pytest.approx(30, abs=0.01)
    assert without.match is MatchClass.UNKNOWN_PATIENT
    assert without.result.mode is Mode.IMAGE_ONLY
    assert without.result.p_clinical is None


def test_the_report_reads_well_and_every_judge_accepts_it(hospital, films, tmp_path):
    for number, made in enumerate(films):
        found = hospital.results(made.study_uid)
        report = _written(tmp_path, found["sr"][0], f"sr{number}.dcm")
        page = _written(tmp_path, found["page"][0], f"page{number}.dcm")
        for path in (report, page):
            assert errors_of("dciodvfy", "-new", str(path), marks=("Error",)) == []
        assert errors_of("dsrdump", str(report), marks=("E:", "F:")) == []
        text = dsr2html(report)
        for label in LABELS:
            assert label in text
        flagged = hospital.case_of(made.object.sop_instance_uid).result.category is Category.ABOVE
        assert ("Finding: Osteoporosis" in report_text(found["sr"][0])) is flagged


def test_own_results_routed_back_cause_no_loop(hospital, films):
    own = [c for c in hospital.cases() if isinstance(c, NotApplicable) and c.reasons == (Reason.OWN_RESULT,)]
    await_true(lambda: sum(_is_own(c) for c in hospital.cases()) >= 2 * len(films), "the PACS routed all results back")
    assert own or hospital.cases()
    for made in films:
        assert len(hospital.results(made.study_uid)["sr"]) == 1


def _is_own(case):
    return isinstance(case, NotApplicable) and Reason.OWN_RESULT in case.reasons


def test_sending_the_same_images_again_changes_nothing(hospital, films, tmp_path):
    before = len(hospital.cases())
    paths = [_written(tmp_path, f.object.part10, f"again{n}.dcm") for n, f in enumerate(films)]
    said = dcmsend(hospital.dicom_port, *paths, called="OSTEON")
    assert "with status SUCCESS  : 3" in said
    assert len(hospital.cases()) == before
    for made in films:
        assert len(hospital.results(made.study_uid)["sr"]) == 1


EXPECTED = {
    "chest_pa_f_mono1_15bit_j2k_lossy__RG1": "Delivered",
    "chest_pa_f_mono1_15bit_jpegls_near__RG1": "Delivered",
    "chest_pa_mono1_10bit_implicit__CR-MONO1-10": Reason.AGE_UNKNOWN,
    "veterinary_lateral_thorax_dx__highdicom": Reason.AGE_UNDER,
}
"""By file; every other object there must end as not applicable or failed, with a code."""


@needs_dicom
def test_real_objects_end_with_the_right_coded_outcome(hospital):
    files = sorted(DICOM.glob("*.dcm"))
    dcmsend(hospital.dicom_port, *files, called="OSTEON")
    uids = {path.stem: pydicom.dcmread(path, stop_before_pixels=True, force=True).SOPInstanceUID for path in files}
    got = {stem: uid for stem, uid in uids.items() if hospital.case_of(uid) is not None}
    await_true(lambda: all(ended(hospital.case_of(uid)) for uid in got.values()), "all real objects ended", limit=180)
    outcomes = {stem: hospital.case_of(uid) for stem, uid in got.items()}
    assert "rtimage__pynetdicom" not in outcomes, "RT Image is refused at negotiation"
    for stem, case in outcomes.items():
        expected = EXPECTED.get(stem)
        if expected == "Delivered":
            assert isinstance(case, Delivered), (stem, case)
        elif expected is not None:
            assert expected in case.reasons, (stem, case)
        else:
            assert isinstance(case, NotApplicable | Failed), (stem, case)
            assert case.reasons if isinstance(case, NotApplicable) else case.code
