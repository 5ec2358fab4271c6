"""`osteon demo` on the embedded default, with the small receiving AE: what a stranger runs first."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
OSTEON = (sys.executable, "-P", "-c", "from node.entry import main; main()")


def test_six_patients_six_valid_reports(tmp_path):
    command = [*OSTEON, "demo", "--without-orthanc", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "RESULT demo reports=6/6 valid=6/6"
    assert "TRAINED ON SIMULATED IMAGES" in done.stdout
    assert len(list((tmp_path / "out").glob("*.sr.txt"))) == 6
    assert len(list((tmp_path / "out").glob("*.page.png"))) == 6
