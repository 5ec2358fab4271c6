"""The benchmark of reception runs without peers, says what it measured, and judges nothing by the clock here."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_short_form_measures_both_sides_and_writes_json(tmp_path):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "-m", "bench.bench_receive", "--short", "--out", tmp_path, "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("RESULT bench-receive rounds=2 osteon/limit@1=")
    (path,) = tmp_path.glob("receive-*.json")
    report = json.loads(path.read_text())
    assert {cell["receiver"] for cell in report["cells"]} == {"limit", "osteon"}
    assert len(report["cells"]) == 2 * 2 * 2
    assert all(len(cell["answers_ms"]) in (4, 8) for cell in report["cells"])
    assert report["machine"]["cpu"]
    assert set(report["extra"]) >= {"idle0_p50_ms", "idle5_cpu_percent", "connect40_s"}
    assert not list(tmp_path.glob("bench-receive-*"))
