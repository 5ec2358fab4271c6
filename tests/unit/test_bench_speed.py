"""The benchmarks of decoding and inference run in their short forms and judge nothing by the clock here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model import openvino_silent

ROOT = Path(__file__).parents[2]
ENGINES = pytest.mark.skipif(not openvino_silent.installed(), reason="the `fast` extra is not installed")


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("decode", {"j2k-half-gain", "half-j2k-rmse", "half-htj2k-rmse", "preprocess-ms", "preprocess-gain"}),
        pytest.param("infer", {"float32-gain", "bfloat16-gain", "float32-difference"}, marks=ENGINES),
    ],
)
def test_the_short_form_measures_and_writes_json(tmp_path, name, figures):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"bench.bench_{name}", "--short", "--out", tmp_path, "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"RESULT bench-{name} rounds=2 ")
    (path,) = tmp_path.glob(f"{name}-*.json")
    report = json.loads(path.read_text())
    assert set(report["headline"]) >= figures
    assert report["machine"]["cpu"]
    assert all(len(values) == 2 for values in report["cpu_ms"].values())
