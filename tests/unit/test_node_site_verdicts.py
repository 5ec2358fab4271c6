"""`osteon evaluate --site`: the verdict is kept with name and digest, and shown with what it does not speak of."""

from __future__ import annotations

import hashlib
import json

from support.site_tables import scored, write
from support.tiny_bundle import copy_tiny_bundle
from typer.testing import CliRunner

from config.settings import load
from node.cli import app
from node.site_verdicts import latest_verdict


def test_verdict_data_digest_and_name_are_stored_and_shown(tmp_path):
    config = tmp_path / "osteon.toml"
    config.write_text(f'[storage]\ndata_dir = "{tmp_path}/data"\n')
    bundle = copy_tiny_bundle(tmp_path / "data" / "bundles" / "first")
    table = write(tmp_path / "site.csv", scored())
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
    assert kept.not_assessed == {"codes": {}, "positives": 0}
    listed = CliRunner().invoke(app, ["model", "list", "--json", "-c", str(config)], catch_exceptions=False).output
    row = next(r for r in json.loads(listed)["bundles"] if r["name"] == "first")
    assert row["verdict"].startswith("ACCEPTED")
    assert latest_verdict(load(config), "another") is None


def test_films_that_were_not_assessed_are_shown_and_stored_with_the_verdict(tmp_path):
    config = tmp_path / "osteon.toml"
    config.write_text(f'[storage]\ndata_dir = "{tmp_path}/data"\n')
    bundle = copy_tiny_bundle(tmp_path / "bundle")
    own = [row | {"status": "screened", "codes": ""} for row in scored()]
    empty = {"probability": "", "mode": "", "status": "not-assessed"}
    own += [own[0] | empty | {"codes": "NOT_CHEST OUT_OF_DIST", "t_lowest": t} for t in ("-2.5", "-1")]
    own += [own[0] | empty | {"codes": "PIXEL-DECODE", "t_lowest": "-1", "status": "failed"}]
    table = write(tmp_path / "site.csv", own)
    asked = ["evaluate", "--site", str(table), "--bundle", str(bundle), "--by", "Dr. Example", "-c", str(config)]
    said = CliRunner().invoke(app, asked, catch_exceptions=False).output
    assert "not assessed: 3 of 3003 films (1 with osteoporosis by DXA), in no figure above" in said
    assert "NOT_CHEST=2 PIXEL-DECODE=1" in said
    assert "rows=3000 not_assessed=3 by=" in said
    kept = latest_verdict(load(config), json.loads((bundle / "manifest.json").read_text())["bundle_id"])
    assert kept is not None
    assert kept.not_assessed == {"codes": {"NOT_CHEST": 2, "PIXEL-DECODE": 1}, "positives": 1}


def test_a_verdict_of_before_films_not_assessed_were_counted_is_still_read(tmp_path):
    config = tmp_path / "osteon.toml"
    config.write_text(f'[storage]\ndata_dir = "{tmp_path}/data"\n')
    older = {"bundle_id": "b", "verdict": "ACCEPTED", "by": "x", "at": "2026-01-01T00:00:00+00:00"}
    older |= {"data_sha256": "0", "floors": {}, "rows": 300, "groups": []}
    folder = tmp_path / "data" / "site-verdicts"
    folder.mkdir(parents=True)
    (folder / "b.json").write_text(json.dumps(older))
    kept = latest_verdict(load(config), "b")
    assert kept is not None
    assert kept.accepted


def test_a_verdict_without_a_name_is_refused(tmp_path):
    table = write(tmp_path / "site.csv", scored(10))
    done = CliRunner().invoke(app, ["evaluate", "--site", str(table)])
    assert done.exit_code == 2
    assert "who decides" in done.output
