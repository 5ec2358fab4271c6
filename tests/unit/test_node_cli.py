"""The command line: what it prints, and what a mistake costs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.dicom_objects import radiograph_dataset
from support.node_parts import receive
from support.tools import bound_by_modes
from typer.testing import CliRunner

from config.reference import defaults_toml
from config.settings import SettingsError, parse
from dicom_io.spool import Spool
from node.case import Failed
from node.cli import app
from node.errors import FailureCode
from node.places import open_settings_ledger
from node.store import cases
from node.store.engine import open_ledger

OSTEON = (sys.executable, "-P", "-c", "from node.entry import main; main()")


@pytest.fixture
def site(tmp_path):
    """A configuration with two cases: one received, one failed."""
    config = tmp_path / "osteon.toml"
    config.write_text(f'[storage]\ndata_dir = "{tmp_path}/data"\n', encoding="utf-8")
    ledger = open_ledger(tmp_path / "data" / "ledger.db")
    spool = Spool(tmp_path / "data" / "spool")
    receive(ledger, spool, radiograph_dataset(number=1))
    broken = receive(ledger, spool, radiograph_dataset(number=2))
    with ledger.begin() as c:
        failed = Failed(case_id=2, source=broken.source, code=FailureCode.PIXEL_DECODE, detail="JPEG ends early")
        cases.save(c, failed, why=str(failed.code))
    ledger.close()
    return str(config)


def osteon(*arguments):
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_settings_prints_the_reference():
    assert osteon("settings") == defaults_toml()


def test_cases_lists_states_and_codes(site):
    listed = json.loads(osteon("cases", "--json", "--config", site))
    assert [(c["case"], c["state"], c["reason"]) for c in listed["cases"]] == [
        (2, "failed", "PIXEL-DECODE"),
        (1, "received", ""),
    ]
    assert listed["counts"]["failed"] == 1
    only = json.loads(osteon("cases", "--json", "--state", "failed", "--config", site))
    assert [c["case"] for c in only["cases"]] == [2]
    assert "PIXEL-DECODE" in osteon("cases", "--config", site)


def test_case_shows_its_history_without_patient_data(site):
    shown = osteon("case", "2", "--config", site)
    assert "received" in shown
    assert "PIXEL-DECODE (JPEG ends early)" in shown
    facts = json.loads(osteon("case", "2", "--json", "--config", site))
    assert [event["state"] for event in facts["history"]] == ["received", "failed"]
    assert "Jane" not in shown + json.dumps(facts)


def test_retry_takes_a_failed_case_up_again(site):
    assert "received again" in osteon("retry", "2", "--config", site)
    listed = json.loads(osteon("cases", "--json", "--config", site))
    assert {c["state"] for c in listed["cases"]} == {"received"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("case", "99"), "case 99 does not exist"),
        (("retry", "1"), "nothing to retry"),
        (("cases", "--state", "lost"), "no state is called 'lost'"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line_and_status_2(site, arguments, says):
    done = subprocess.run([*OSTEON, *arguments, "--config", site], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def _read_only_above(folder):
    folder.parent.chmod(0o555)


def _lock_of_another(folder):
    folder.mkdir()
    (folder / "listener.lock").touch(mode=0o000)


def _file_in_its_place(folder):
    folder.touch()


def _file_for_the_spool(folder):
    folder.mkdir()
    (folder / "spool").touch()


def _ledger_of_another(folder):
    folder.mkdir()
    (folder / "ledger.db").touch(mode=0o000)


@pytest.mark.parametrize(
    ("fault", "url", "says"),
    [
        (
            _read_only_above,
            "",
            "storage.data_dir: {folder} cannot be written (Permission denied); let the node's account",
        ),
        (_lock_of_another, "", "storage.data_dir: {folder}/listener.lock cannot be written (Permission denied)"),
        (_file_in_its_place, "", "storage.data_dir: {folder} cannot be written (File exists)"),
        (_file_for_the_spool, "", "{folder}/spool: File exists; let the account"),
        (_ledger_of_another, "", "unable to open database file"),
        (None, "postgresql+psycopgg://node:hush@db/osteon", "storage.database_url: write postgresql+psycopg://"),
        (None, "postgresql+psycopg://node:hush@db:1x/osteon", "storage.database_url: write postgresql+psycopg://"),
        (None, "postgresql:/node:hush@db/osteon", "storage.database_url: write postgresql+psycopg://"),
    ],
)
def test_a_start_that_cannot_be_is_one_line_and_status_2(tmp_path, fault, url, says):
    folder = tmp_path / "above" / "data"
    folder.parent.mkdir()
    if fault is not None:
        fault(folder)
    config = tmp_path / "site.toml"
    config.write_text(f'[storage]\ndata_dir = "{folder}"\ndatabase_url = "{url}"\n', encoding="utf-8")
    command = [*bound_by_modes(), *OSTEON, "listen", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    folder.parent.chmod(0o755)
    assert done.returncode == 2
    assert done.stderr.startswith("osteon: ")
    assert says.format(folder=folder) in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hush" not in done.stderr


def test_postgresql_without_its_extra_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    settings = parse({"storage": {"database_url": "postgresql+psycopg://node:hush@db/osteon"}}, origin="test")
    with pytest.raises(SettingsError, match=r"install the extra `postgresql` \(install.md, Extras\)"):
        open_settings_ledger(settings)


def test_every_command_explains_itself():
    shown = osteon("--help")
    for command in (
        "serve",
        "listen",
        "peers",
        "doctor",
        "work",
        "cases",
        "case",
        "retry",
        "screen",
        "demo",
        "settings",
        "phantom",
        "train",
    ):
        assert command in shown
