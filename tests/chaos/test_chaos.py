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
        timeout=550,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    result = done.stdout.splitlines()[-1]
    print(result)
    return dict(part.split("=", 1) for part in result.split()[2:])


@pytest.mark.system
@pytest.mark.timeout(580)
def test_20_kills_on_sqlite_full_disks_and_a_clock_that_jumps_lose_nothing(tmp_path: Path) -> None:
    require_tool("storescu")
    if os.environ.get("CI") == "true":
        require_tool("npm")  # the second client is no option there
    figures = kills(tmp_path, "sqlite", "20", "ledger-full", "spool-full", "clock-forward", "clock-back")
    assert int(figures["kills"]) >= 20
    if os.environ.get("CI") == "true" or shutil.which("npm"):
        assert "dcmjs-dimse" in figures["senders"]


@pytest.mark.system
@pytest.mark.timeout(580)
def test_10_kills_on_postgresql_its_crash_and_absence_and_a_broker_that_dies_lose_nothing(tmp_path: Path) -> None:
    require_tool("rabbitmq-server")
    events = ("broker-restarted", "database-restarted", "database-stopped", "broker-lost")
    figures = kills(tmp_path, "postgresql", "10", *events, hints="celery")
    assert int(figures["kills"]) >= 10


@pytest.mark.system
def test_kill_9_between_the_steps_of_one_reception_loses_nothing() -> None:
    figures = campaign("chaos.step_kills", "--every", "12")
    assert int(figures["points"]) >= 3


@pytest.mark.system
def test_kill_9_between_the_steps_of_an_amendment_leaves_one_newest_report() -> None:
    figures = campaign("chaos.amend_kills", "--every", "17")
    assert int(figures["points"]) >= 4


@pytest.mark.system
def test_kill_9_between_the_steps_of_a_withdrawal_takes_the_report_back_once() -> None:
    figures = campaign("chaos.withdraw_kills", "--every", "17")
    assert int(figures["points"]) >= 3


@pytest.mark.system
def test_malformed_input_neither_crashes_nor_hangs_nor_leaks() -> None:
    figures = campaign("chaos.malformed", "--count", "1000", "--seed", "5")
    assert figures["attacks"] == "1000"


@pytest.mark.system
def test_soak_in_short_form() -> None:
    figures = campaign("chaos.soak", "--seconds", "20")
    assert int(figures["associations"]) > 0


def kills(tmp_path: Path, database: str, number: str, *events: str, hints: str = "notify") -> dict[str, str]:
    """The campaign of kills, with events that last some seconds."""
    options = ["--database", database, "--hints", hints, "--kills", number, "--seed", "3", "--seconds", "3"]
    options += [word for event in events for word in ("--event", event)]
    figures = campaign("chaos.kill_campaign", *options, "--npm", str(_npm_scratch(tmp_path)))
    assert int(figures["acknowledged"]) > 0
    assert int(figures["reports"]) > 0
    return figures


def _npm_scratch(tmp_path: Path) -> Path:
    """Where the npm client is installed: OSTEON_NPM_SCRATCH keeps it between runs."""
    return Path(os.environ.get("OSTEON_NPM_SCRATCH") or tmp_path / "npm")
