"""`osteon phantom`: a folder of simulated films with their truth, the same for the same seed."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess

import pydicom
import pytest
from support.tools import require_tool
from typer.testing import CliRunner

from dicom_io.acceptance import refusals
from model.domain import Reason
from model.phantom.cohort import sample
from node.cli import app
from node.demo.phantom_folder import write_phantoms
from node.demo.phantom_order import PhantomOrder, PhantomView

BOTH = PhantomOrder(count=2, seed=5, rows=96, views=(PhantomView.FRONTAL, PhantomView.LATERAL))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantoms")
    heard = []
    assert write_phantoms(out, BOTH, progress=lambda done, total: heard.append((done, total))) == 4
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]
    return out


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_every_film_has_its_truth(folder):
    truth, patients = rows_of(folder / "truth.csv"), sample(2, 5)

    assert sorted(row["file"] for row in truth) == sorted(path.name for path in folder.glob("*.dcm"))
    assert [row["view"] for row in truth][1::2] == ["LATERAL", "LATERAL"]
    for row in truth:
        header, patient = pydicom.dcmread(folder / row["file"]), patients[int(row["patient_id"][-5:]) - 1]
        assert (header.PatientID, header.AccessionNumber) == (row["patient_id"], row["accession"])
        assert (header.StudyInstanceUID, header.SOPInstanceUID) == (row["study_uid"], row["sop_instance_uid"])
        assert hashlib.sha256((folder / row["file"]).read_bytes()).hexdigest() == row["sha256"]
        assert float(row["t_lowest"]) == pytest.approx(patient.t_lowest, abs=0.005)
        assert row["osteoporosis"] == str(int(patient.osteoporosis))
        assert header.ImageComments == "SIMULATED PHANTOM - NOT A PATIENT"
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["views"] == ["frontal", "lateral"]


def test_a_patients_views_share_the_study_and_only_the_lateral_is_refused(folder):
    frontal, lateral = (pydicom.dcmread(folder / f"phantom-00001{end}.dcm") for end in ("", "-lateral"))

    assert frontal.StudyInstanceUID == lateral.StudyInstanceUID
    assert frontal.SeriesInstanceUID != lateral.SeriesInstanceUID
    assert (refusals(frontal), refusals(lateral)) == ((), (Reason.VIEW_LATERAL,))


def test_the_training_manifest_has_only_columns_that_training_takes(folder):
    site_rows = pytest.importorskip("model.train.site_rows")
    rows = rows_of(folder / "training.csv")

    site_rows.refuse_columns(rows[0])
    assert [row["file"] for row in rows] == ["phantom-00001.dcm", "phantom-00002.dcm"]


def test_the_same_seed_writes_the_same_bytes_and_another_seed_other_people(folder, tmp_path):
    again, other = tmp_path / "again", tmp_path / "other"
    write_phantoms(again, BOTH, progress=lambda _done, _total: None)
    write_phantoms(other, PhantomOrder(count=1, seed=6, rows=96), progress=lambda _done, _total: None)

    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
    assert rows_of(other / "truth.csv")[0]["t_lowest"] != rows_of(folder / "truth.csv")[0]["t_lowest"]


def test_dciodvfy_finds_no_error_in_any_view(folder):
    dciodvfy = require_tool("dciodvfy")
    for path in sorted(folder.glob("phantom-00001*.dcm")):
        run = subprocess.run([dciodvfy, str(path)], check=False, capture_output=True, text=True)
        assert "Error" not in run.stdout + run.stderr


def test_the_command_says_what_it_wrote(tmp_path):
    shown = CliRunner().invoke(
        app, ["phantom", "--n", "1", "--rows", "96", "--seed", "3", "--view", "lateral", "--out", str(tmp_path)]
    )

    assert shown.exit_code == 0, shown.output
    assert "1 simulated films of 1 patients" in shown.output.replace("\n", " ")
    assert [path.name for path in tmp_path.glob("*.dcm")] == ["phantom-00001-lateral.dcm"]
    assert rows_of(tmp_path / "training.csv") == []
