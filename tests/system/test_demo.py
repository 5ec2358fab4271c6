"""`osteon demo` on the embedded default, with the small receiving AE: what a stranger runs first."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
README = Path(__file__).parents[2] / "README.md"
ROW = re.compile(r" *PHANTOM-\d{5} ")
NUMBER = re.compile(r"\d+\.\d")
OSTEON = (sys.executable, "-P", "-c", "from node.entry import main; main()")


def test_six_patients_six_valid_reports(tmp_path):
    command = [*OSTEON, "demo", "--without-orthanc", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "RESULT demo reports=6/6 valid=6/6"
    assert "TRAINED ON SIMULATED IMAGES" in done.stdout
    assert len(list((tmp_path / "out").glob("*.sr.txt"))) == 6
    assert len(list((tmp_path / "out").glob("*.page.png"))) == 6
    assert_as_told(README.read_text(encoding="utf-8"), done.stdout)


def assert_as_told(told, shown):
    """Every patient's row but for the seconds, each percentage to one in the last digit: engines differ by less."""
    rows, found = ([line.split()[:-2] for line in text.splitlines() if ROW.match(line)] for text in (told, shown))
    assert len(rows) == len(found) == 6
    for row, own in zip(rows, found, strict=True):
        shown_row = [float(cell) if NUMBER.fullmatch(cell) else cell for cell in own]
        assert shown_row == [pytest.approx(float(cell), abs=0.11) if NUMBER.fullmatch(cell) else cell for cell in row]
