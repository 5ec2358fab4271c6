"""The benchmark of the feeds runs in its short form, says what it measured, and judges nothing by the clock here."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_short_form_measures_every_side_and_writes_json(tmp_path):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench.bench_feeds", "--short", "--out", tmp_path, "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("RESULT bench-feeds rounds=2 read-adt-osteon/hl7=")
    (path,) = tmp_path.glob("feeds-*.json")
    report = json.loads(path.read_text())
    assert {cell["reader"] for cell in report["readers"]} == {"osteon", "hl7", "hl7apy"}
    assert {cell["message"] for cell in report["readers"]} == {"adt", "oru25", "oru200"}
    assert {cell["server"] for cell in report["listeners"]} == {"osteon", "osteon-no-store", "hl7", "hl7apy"}
    assert report["bytes"]["adt"] == 628
    assert report["headline"]["csv-changes-again"] == 0
    assert 0 < report["headline"]["csv-rss-mb"] < 250
    assert set(report["bars"]) <= set(report["headline"])
    assert not list(tmp_path.glob("bench-feeds-*"))
