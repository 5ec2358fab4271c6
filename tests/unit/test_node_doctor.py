"""What `osteon doctor` says of the ledger's engine, of the receive path and of a fleet."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.postgres import Cluster

from config.settings import Settings, parse
from dicom_io import transport_check
from node.doctor import Finding, Mark, examine
from node.fleet_check import examine_fleet
from node.shared_spool import open_spool, prove_spool
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
    assert found(settings(tmp_path), "own receive path").mark is Mark.OK
    assert found(settings(tmp_path, fast_path="off"), "fast_path").mark is Mark.WARN
    monkeypatch.setattr(transport_check, "version", lambda _: "3.1.0")
    assert found(settings(tmp_path), "does not fit").mark is Mark.WARN


def fleet(folder: Path, url: str, **changes: object) -> Settings:
    return parse(
        {"storage": {"data_dir": str(folder), "database_url": url}, "fleet": changes, "reception": {"port": 0}},
        origin="test",
    )


def shared(configured: Settings, what: str) -> Finding:
    return next(one for one in examine_fleet(configured) if what in one.what)


def test_doctor_says_whether_a_host_can_use_what_a_fleet_shares(tmp_path: Path, postgres_cluster: Cluster):
    url = postgres_cluster.blank_ledger(lambda where: open_ledger(where).close())
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    configured = fleet(
        tmp_path / "one", url, spool=str(mounted), hints="celery", broker="amqp://node:hush@127.0.0.1:1/"
    )
    assert shared(configured, "is not marked as a spool yet").mark is Mark.WARN
    ledger = open_ledger(url)
    prove_spool(open_spool(configured), ledger)
    ledger.close()
    assert shared(configured, "takes, gives back and deletes").mark is Mark.OK
    assert [path.name for path in mounted.rglob("*") if path.is_file()] == ["osteon-spool"], "nothing is left behind"
    assert shared(configured, "clock").mark is Mark.OK
    assert shared(configured, "model.bundle is empty").mark is Mark.WARN
    broker = shared(configured, "FLEET-BROKER")
    assert broker.mark is Mark.WARN
    assert "hush" not in broker.what
    (mounted / "osteon-spool").write_text("another")
    assert shared(configured, "belongs to another node").mark is Mark.FAIL
