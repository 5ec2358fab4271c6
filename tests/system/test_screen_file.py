"""`osteon screen FILE`: the tool for a person with a file, on real objects and phantoms."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.dcmtk import errors_of
from support.engines import give_engines
from support.shared_data import DICOM, needs_dicom
from typer.testing import CliRunner

from config.code_file import code_table
from node.cli import app
from node.demo import messages
from node.demo.phantoms import demo_patients, film

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
OSTEON = (sys.executable, "-P", "-c", "from node.entry import main; main()")


def screen(*arguments: str, codes: str = "") -> tuple[int, dict, str]:
    """With the engine that a node on this host has proved; in this process, since imports cost more than the work."""
    with site(codes) as config:
        done = CliRunner().invoke(app, ["screen", *map(str, arguments), "--json", "--config", str(config)])
    outcome = json.loads(done.stdout.splitlines()[-1]) if done.exit_code in (0, 1) else {}
    return done.exit_code, outcome, done.output


@contextmanager
def site(codes: str = "") -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        give_engines(Path(folder) / "data")
        config = Path(folder) / "site.toml"
        config.write_text(f'[storage]\ndata_dir = "{folder}/data"\n{codes}', encoding="utf-8")
        yield config


@needs_dicom
def test_a_real_chest_film_gets_a_report_that_dciodvfy_accepts(tmp_path):
    film = DICOM / "chest_pa_f_mono1_15bit_j2k_lossy__RG1.dcm"
    with site() as config:
        command = [*OSTEON, "screen", str(film), "--out", str(tmp_path), "--json", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["state"] == "reported"
    assert outcome["mode"] == "IMAGE_ONLY"
    assert outcome["p_clinical"] is None
    assert outcome["simulated_training"] is True
    assert errors_of("dciodvfy", "-new", outcome["sr"], marks=("Error",)) == []
    assert errors_of("dciodvfy", "-new", outcome["page"], marks=("Error",)) == []


@needs_dicom
@pytest.mark.parametrize(
    ("name", "options", "state", "reason"),
    [
        ("hip_jpegls_lossless__RG2.dcm", (), "not-applicable", None),
        ("hand_cr_j2k_lossless__Kakadu44.dcm", ("--age", "60", "--sex", "F"), "not-applicable", None),
        ("chest_pa_mono1_10bit_implicit__CR-MONO1-10.dcm", (), "not-applicable", "AGE_UNKNOWN"),
        ("rtimage__pynetdicom.dcm", (), "not-applicable", "MODALITY"),
        ("chest_pa_mono1_10bit_implicit__CR-MONO1-10.dcm", ("--age", "63", "--sex", "M"), "reported", ""),
    ],
)
def test_real_objects_end_with_a_coded_reason(tmp_path, name, options, state, reason):
    status, outcome, _ = screen(DICOM / name, "--out", tmp_path, *options)
    assert status == 0
    assert outcome["state"] == state
    assert outcome["reason"] == reason if reason is not None else outcome["reason"]


def test_the_clinical_file_is_joined_by_the_nodes_own_rule(tmp_path):
    now = dt.datetime(2026, 3, 2, 8, tzinfo=dt.UTC)
    made = film(demo_patients(2, 3)[0], number=1, taken_at=now, rows=500, seed=3)
    image = tmp_path / "film.dcm"
    image.write_bytes(made.object.part10)
    visit = messages.Visit(
        identity=made.identity, weight_kg=61.5, height_cm=160.0, measured_at=now - dt.timedelta(days=3), accession="A"
    )
    table = tmp_path / "clinical.csv"
    table.write_text(messages.observations_csv([visit]), encoding="utf-8")
    _, unconfirmed, _ = screen(image, "--clinical", table, "--out", tmp_path)
    assert (unconfirmed["match"], unconfirmed["mode"]) == ("CODES_UNCONFIRMED", "IMAGE_ONLY")
    codes = f'[clinical.codes]\nconfirmed_by = "demo"\nconfirmed_version = "{code_table().version}"\n'
    _, joined, _ = screen(image, "--clinical", table, "--out", tmp_path, codes=codes)
    assert joined["match"] == "MATCH_ISSUER"
    assert joined["mode"] == "IMAGE_AND_CLINICAL"
    table.write_text(messages.observations_csv([visit]).replace("PHANTOM-00001", "SOMEBODY-ELSE"), encoding="utf-8")
    _, other, _ = screen(image, "--clinical", table, "--out", tmp_path, codes=codes)
    assert other["match"] == "UNKNOWN_PATIENT"
    assert other["mode"] == "IMAGE_ONLY"


def test_no_dicom_at_all_is_a_coded_failure_and_a_wrong_option_a_usage_error(tmp_path):
    text = tmp_path / "letter.dcm"
    text.write_text("Dear colleague,", encoding="utf-8")
    status, outcome, _ = screen(text, "--out", tmp_path)
    assert (status, outcome["state"], outcome["reason"]) == (1, "failed", "HEADER-INVALID")
    status, _, said = screen(text, "--sex", "X")
    assert status == 2
    assert "--sex" in said
