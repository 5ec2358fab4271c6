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
    assert said.strip().splitlines()[-2] == "verdict: ACCEPTED"
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
    assert "rows=3000 not_assessed=3 not_judged=none by=" in said
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


def asked(tmp_path, rows, *more, by="Dr. Example"):
    """`osteon evaluate --site` of these rows with a tiny bundle, then the bundle's verdict in `osteon model list`."""
    config, bundle = tmp_path / "osteon.toml", tmp_path / "data" / "bundles" / "first"
    config.write_text(f'[storage]\ndata_dir = "{tmp_path}/data"\n')
    if not bundle.exists():
        copy_tiny_bundle(bundle)
    table = write(tmp_path / "site.csv", rows)
    words = ["evaluate", "--site", str(table), "--bundle", str(bundle), "--by", by, "-c", str(config), *more]
    said = CliRunner().invoke(app, words, catch_exceptions=False).output
    listed = CliRunner().invoke(app, ["model", "list", "--json", "-c", str(config)], catch_exceptions=False).output
    return said, next(r for r in json.loads(listed)["bundles"] if r["name"] == "first")["verdict"]


def test_floors_of_a_sites_own_and_earlier_verdicts_stay_in_sight(tmp_path):
    rows = scored(separation=1.9)
    said, listed = asked(tmp_path, rows)
    assert "verdict=NOT-ACCEPTED" in said
    assert listed.startswith("NOT ACCEPTED (2")
    said, listed = asked(tmp_path, rows, "--floor-sensitivity", "0.5")
    told = "ACCEPTED with floors SEN 0.5 SPC 0.7; verdict 2 of 2; before: NOT ACCEPTED (same table)"
    assert f"verdict: {told}\n" in said
    assert listed.startswith(f"{told} (2")


def test_who_was_not_judged_is_said_with_the_verdict(tmp_path):
    women = [row | {"sex": "F"} for row in scored()]
    said, listed = asked(tmp_path, [*women, *(row | {"sex": "M"} for row in women[:40])])
    assert "men: INSUFFICIENT DATA, not judged (n 40, " in said
    men = said.split("men: INSUFFICIENT")[1].splitlines()[1]
    assert men.startswith("  TP ")
    assert "SEN " in men
    assert "verdict: ACCEPTED (men not judged)\n" in said
    assert "not_judged=men by=" in said
    assert listed.startswith("ACCEPTED (men not judged) (2")


def test_brackets_in_a_name_are_printed_as_they_are(tmp_path):
    for by in ("Dr. N. [ward 3]", "x [/]"):
        said, listed = asked(tmp_path, scored(), by=by)
        assert said.strip().endswith(f"by={by}")
        assert f", by {by}\n" in said
        assert by in listed


def test_a_verdict_without_a_name_is_refused(tmp_path):
    table = write(tmp_path / "site.csv", scored(10))
    done = CliRunner().invoke(app, ["evaluate", "--site", str(table)])
    assert done.exit_code == 2
    assert "who decides" in done.output
