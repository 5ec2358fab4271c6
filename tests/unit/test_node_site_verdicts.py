"""`osteon evaluate --site`: the table's form, the verdict kept with name and digest."""

from __future__ import annotations

import csv
import hashlib
import json

import numpy as np
import pytest
from scipy.special import expit
from support.model_parts import FUSION
from support.tiny_bundle import copy_tiny_bundle
from typer.testing import CliRunner

from config.settings import SettingsError, load
from model.site_verdict import Floors, Verdict
from node.cli import app
from node.site_verdicts import judge_table, latest_verdict


def rows(count=3000, separation=2.6):
    rng = np.random.default_rng(1)
    truth = rng.random(count) < 0.25
    z = separation * (rng.normal(size=count) + separation * truth) - separation**2 / 2 + np.log(1 / 3)
    return [
        {
            "probability": f"{expit(a):.8f}",
            "t_lowest": "-3.1" if ill else "-1.2",
            "sex": "F" if i % 2 else "M",
            "mode": "IMAGE_AND_CLINICAL",
            "age": "71",
        }
        for i, (a, ill) in enumerate(zip(z, truth, strict=True))
    ]


def write(path, own):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, own[0])
        writer.writeheader()
        writer.writerows(own)
    return path


def test_thresholds_are_the_bundles_by_mode_or_the_rows_own(tmp_path):
    own = rows()
    by_mode, _ = judge_table(write(tmp_path / "a.csv", own), FUSION, Floors())
    for row in own:
        row["t_high"] = "0.9"
    by_row, _ = judge_table(write(tmp_path / "b.csv", own), FUSION, Floors())
    assert by_mode.verdict is Verdict.ACCEPTED
    assert by_row.groups[0].table.tp < by_mode.groups[0].table.tp


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("probability", "1.2"),
        ("probability", "nan"),
        ("t_lowest", "nan"),
        ("t_lowest", ""),
        ("sex", "?"),
        ("mode", "X"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_by_line_and_not_by_value(tmp_path, column, value):
    own = rows(50)
    own[4][column] = value
    with pytest.raises(SettingsError, match="line 6 cannot be used; probability from 0 to 1"):
        judge_table(write(tmp_path / "a.csv", own), FUSION, Floors())


def test_a_table_without_the_columns_or_without_rows_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="the header needs"):
        judge_table(write(tmp_path / "a.csv", [{"probability": "0.5", "sex": "F"}]), FUSION, Floors())
    (tmp_path / "b.csv").write_text("probability,sex,label,mode\n")
    with pytest.raises(SettingsError, match="the header needs"):
        judge_table(tmp_path / "b.csv", FUSION, Floors())


def test_verdict_data_digest_and_name_are_stored_and_shown(tmp_path):
    config = tmp_path / "osteon.toml"
    config.write_text(f'[storage]\ndata_dir = "{tmp_path}/data"\n')
    bundle = copy_tiny_bundle(tmp_path / "data" / "bundles" / "first")
    table = write(tmp_path / "site.csv", rows())
    asked = ["evaluate", "--site", str(table), "--bundle", str(bundle), "--by", "Dr. Example", "-c", str(config)]
    said = CliRunner().invoke(app, asked, catch_exceptions=False).output
    assert "all: ACCEPTED" in said
    assert "women: ACCEPTED" in said
    assert "NOT FOR CLINICAL USE" in said
    assert said.strip().splitlines()[-1].startswith("RESULT site-verdict verdict=ACCEPTED rows=3000")
    bundle_id = json.loads((bundle / "manifest.json").read_text())["bundle_id"]
    kept = latest_verdict(load(config), bundle_id)
    assert kept is not None
    assert (kept.verdict, kept.by) == ("ACCEPTED", "Dr. Example")
    assert kept.data_sha256 == hashlib.sha256(table.read_bytes()).hexdigest()
    assert [g["group"] for g in kept.groups] == ["all", "women", "men"]
    listed = CliRunner().invoke(app, ["model", "list", "--json", "-c", str(config)], catch_exceptions=False).output
    row = next(r for r in json.loads(listed)["bundles"] if r["name"] == "first")
    assert row["verdict"].startswith("ACCEPTED")
    assert latest_verdict(load(config), "another") is None


def test_a_verdict_without_a_name_is_refused(tmp_path):
    table = write(tmp_path / "site.csv", rows(10))
    done = CliRunner().invoke(app, ["evaluate", "--site", str(table)])
    assert done.exit_code == 2
    assert "who decides" in done.output
