"""The benchmarks of the ledger and of the whole way run in short form without peers; nothing is judged by the clock."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "first", "rows"),
    [("ledger", "RESULT bench-ledger rounds=1 sqlite_1w_fill_ms=", 1), ("e2e", "RESULT bench-e2e rounds=2 single_", 3)],
)
def test_the_short_form_measures_and_writes_json(tmp_path, name, first, rows):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "-m", f"bench.bench_{name}", "--short", "--out", tmp_path, "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(first)
    (path,) = tmp_path.glob(f"{name}-*.json")
    report = json.loads(path.read_text())
    assert len(report.get("rows", report.get("cells"))) == rows
    assert report["machine"]["cpu"]
    assert not list(tmp_path.glob(f"bench-{name}-*"))
