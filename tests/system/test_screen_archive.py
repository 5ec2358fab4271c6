"""`osteon screen MANIFEST.csv` again and again into one table, and the documented way on to a site's verdict."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from support.engines import give_engines
from typer.testing import CliRunner

from node.cli import app

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
MODEL_DOC = Path(__file__).parents[2] / "deploy" / "docs" / "model.md"


def osteon(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    return done.exception if done.exit_code else None, done.stdout.strip().splitlines()[-1:]


def settings(folder, text=""):
    """Without a proof of an engine for this data folder torch would be loaded, and the proof made, in every run."""
    if not (folder / "data").exists():
        give_engines(folder / "data")
    config = folder / "site.toml"
    config.write_text(f'[storage]\ndata_dir = "{folder}/data"\n{text}', encoding="utf-8")
    return config


def films(folder, count):
    """Phantoms whose headers tell neither age nor sex."""
    assert osteon("phantom", "--n", count, "--out", folder, "--seed", 1, "--rows", 600)[0] is None
    for number, path in enumerate(sorted(folder.glob("*.dcm"))):
        film = pydicom.dcmread(path)
        film.PatientAge = film.PatientBirthDate = film.PatientSex = ""
        film.save_as(folder / f"f{number}.dcm")
        path.unlink()


def read(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return {row["file"]: row for row in csv.DictReader(line for line in lines if not line.startswith("#"))}


def test_a_row_follows_what_is_stated_of_its_file_and_never_outlives_it(tmp_path):
    films(tmp_path / "films", 2)
    manifest, out, fresh = tmp_path / "films" / "m.csv", tmp_path / "r.csv", tmp_path / "fresh.csv"
    config = settings(tmp_path)

    def screened(ages, into):
        lines = [f"f{number}.dcm,{age},F,58" for number, age in enumerate(ages)]
        manifest.write_text("\n".join(["file,age_years,sex,weight_kg", *lines, ""]))
        error, said = osteon("screen", manifest, "--out", into, "--workers", 1, "--config", config)
        return error, "".join(said)

    error, said = screened((71, 66), out)
    assert error is None
    assert "files=2 new=2 screened=2" in said
    before = read(out)
    error, said = screened((45, 66), out)
    assert error is None
    assert "files=2 new=1 screened=1 AGE_UNDER=1" in said
    after = read(out)
    assert (after["f0.dcm"]["status"], after["f0.dcm"]["probability"]) == ("not-assessed", "")
    assert after["f1.dcm"] == before["f1.dcm"]
    assert screened((45, 66), fresh)[0] is None
    assert out.read_bytes() == fresh.read_bytes()
    config = settings(tmp_path, "[model]\nsite_prevalence = 0.04\n")
    error, _ = screened((45, 66), out)
    assert "another model, engine, version or setting" in str(error)
    assert out.read_bytes() == fresh.read_bytes()


def test_the_documented_way_from_films_to_the_verdict_works_as_written(tmp_path):
    films(tmp_path / "films", 4)
    (tmp_path / "films" / "f3.dcm").write_bytes(b"no film")
    ages = "".join(f"f{number}.dcm,{age},F\n" for number, age in enumerate((71, 66, 45, 70)))
    (tmp_path / "films" / "m.csv").write_text(f"file,age_years,sex\n{ages}")
    config = settings(tmp_path)
    out = tmp_path / "results.csv"
    assert osteon("screen", tmp_path / "films" / "m.csv", "--out", out, "--workers", 1, "-c", config)[0] is None
    (tmp_path / "films.csv").write_text(
        "file,patient,film_date\nf0.dcm,A,2026-03-01\nf1.dcm,A,2026-03-20\nf2.dcm,B,2026-03-01\nf3.dcm,C,2026-03-01\n"
    )
    (tmp_path / "dxa.csv").write_text(
        "patient,sex,dxa_date,t_lowest\nA,F,2025-01-01,-1\nA,F,2026-03-21,-2.6\nB,F,2026-08-28,-2.5\nC,M,2026-08-29,-1\n"
    )
    (script,) = re.findall(r"```python\n(.*?)```", MODEL_DOC.read_text(encoding="utf-8"), flags=re.DOTALL)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("2 patients; 2 films left")
    joined = read(tmp_path / "scored.csv")
    assert [(row["patient"], row["t_lowest"]) for row in joined.values()] == [("A", "-2.6"), ("B", "-2.5")]
    assert list(joined) == ["f1.dcm", "f2.dcm"]
    said = CliRunner().invoke(
        app, ["evaluate", "--site", str(tmp_path / "scored.csv"), "--by", "Dr. Example", "-c", str(config)]
    )
    assert "not assessed: 1 of 2 films (1 with osteoporosis by DXA), in no figure above: AGE_UNDER=1" in said.output
    assert "RESULT site-verdict verdict=INSUFFICIENT-DATA rows=1 not_assessed=1" in said.output
