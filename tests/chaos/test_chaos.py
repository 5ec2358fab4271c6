"""The campaigns in their short forms, as CI runs them; the long: `make chaos`, `make malformed`, `make soak`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.tools import require_tool

ROOT = Path(__file__).parents[2]


def campaign(module: str, *arguments: str) -> dict[str, str]:
    """Run a campaign as its make target does; the figures of its RESULT line. Fails where a bar is missed."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    result = done.stdout.splitlines()[-1]
    print(result)
    return dict(part.split("=", 1) for part in result.split()[2:])


@pytest.mark.system
def test_kill_9_of_listener_and_worker_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    require_tool("storescu")
    if os.environ.get("CI") == "true":
        require_tool("npm")  # the second client is no option there
    figures = campaign("chaos.kill_campaign", "--kills", "10", "--seed", "3", "--npm", str(_npm_scratch(tmp_path)))
    assert int(figures["kills"]) >= 10
    assert int(figures["acknowledged"]) > 0
    assert int(figures["reports"]) > 0
    if os.environ.get("CI") == "true" or shutil.which("npm"):
        assert "dcmjs-dimse" in figures["senders"]


@pytest.mark.system
def test_kill_9_between_the_steps_of_one_reception_loses_nothing() -> None:
    figures = campaign("chaos.step_kills", "--every", "6")
    assert int(figures["points"]) >= 5


@pytest.mark.system
def test_kill_9_between_the_steps_of_an_amendment_leaves_one_newest_report() -> None:
    figures = campaign("chaos.amend_kills", "--every", "9")
    assert int(figures["points"]) >= 3


@pytest.mark.system
def test_malformed_input_neither_crashes_nor_hangs_nor_leaks() -> None:
    figures = campaign("chaos.malformed", "--count", "1000", "--seed", "5")
    assert figures["attacks"] == "1000"


@pytest.mark.system
def test_soak_in_short_form() -> None:
    figures = campaign("chaos.soak", "--seconds", "20")
    assert int(figures["associations"]) > 0


def _npm_scratch(tmp_path: Path) -> Path:
    """Where the npm client is installed: OSTEON_NPM_SCRATCH keeps it between runs."""
    return Path(os.environ.get("OSTEON_NPM_SCRATCH") or tmp_path / "npm")
