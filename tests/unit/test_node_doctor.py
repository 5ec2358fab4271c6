"""What `osteon doctor` says of the ledger's engine and of the receive path."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import Settings, parse
from dicom_io import transport_check
from node.doctor import Finding, Mark, examine
from node.store.engine import Ledger, connect, open_ledger
from node.store.migrate import LEDGER, upgrade
from node.store.sqlite import DRIVER, journal_mode


def settings(folder: Path, **reception: object) -> Settings:
    return parse({"storage": {"data_dir": str(folder)}, "reception": {"port": 0, **reception}}, origin="test")


def found(configured: Settings, what: str) -> Finding:
    return next(one for one in examine(configured) if what in one.what)


def test_doctor_names_the_sqlite_and_its_journal(tmp_path: Path):
    open_ledger(tmp_path / "ledger.db").close()
    line = found(settings(tmp_path), "the ledger opens")
    assert line.mark is Mark.OK
    assert line.what == f"the ledger opens: SQLite {DRIVER.sqlite_version}, journal {journal_mode().upper()}"
    assert bool(line.remedy) == (journal_mode() == "truncate")


def test_doctor_leaves_the_ledger_of_an_older_release_as_it_is(tmp_path: Path):
    """The older node may still be running on it."""
    opened = connect(tmp_path / "ledger.db")
    with opened.begin() as c:
        upgrade(c, LEDGER, "0005")
    assert found(settings(tmp_path), "lacks tables of this release").mark is Mark.WARN
    with opened.read() as c:
        assert c.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "0005"
    opened.close()


def test_a_ledger_names_its_engine(ledger: Ledger):
    assert ledger.engine().startswith(("SQLite 3.", "PostgreSQL 1"))


def test_doctor_says_which_receive_path_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    own = found(settings(tmp_path), "own receive path")
    assert (own.mark, "TLS" in own.what) == (Mark.OK, False)
    files = {"certificate": "c.pem", "key": "k.pem"}
    assert "TLS port" in found(settings(tmp_path, tls={"enabled": True, "port": 0, **files}), "own receive path").what
    assert found(settings(tmp_path, fast_path="off"), "fast_path").mark is Mark.WARN
    monkeypatch.setattr(transport_check, "version", lambda _: "3.1.0")
    assert found(settings(tmp_path), "does not fit").mark is Mark.WARN
