"""What `osteon doctor` says of the ledger's engine, the receive path, delivery, the drop folder and a fleet."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.pacs import FakePacs
from support.postgres import Cluster
from support.tools import bound_by_modes

from config.settings import Settings, parse
from dicom_io import transport_check
from dicom_io.spool import Spool
from node.doctor import Finding, Mark, examine, run_doctor
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


def site(folder: Path, **tables: object) -> Settings:
    return parse({"storage": {"data_dir": str(folder)}, "reception": {"port": 0}, **tables}, origin="test")


# pynetdicom leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_doctor_asks_every_destination_and_repeats_what_it_says(tmp_path: Path):
    with FakePacs() as pacs:
        right = pacs.destination()
        places = [right, right | {"name": "typo", "ae_title": "PASC"}]
        configured = site(tmp_path, delivery={"destinations": places}, reconciliation={"archive": "pacs"})
        assert found(configured, "pacs answers C-ECHO").mark is Mark.OK
        refused = found(configured, "destination typo: association rejected")
        assert refused.mark is Mark.WARN
        assert "OSTEON" in refused.remedy
        assert found(configured, "reconciliation asks pacs").mark is Mark.OK
    away = found(site(tmp_path, delivery={"destinations": [right]}), "destination pacs: no connection to")
    assert away.mark is Mark.WARN
    assert found(site(tmp_path), "delivery.destinations is empty").mark is Mark.WARN
    assert run_doctor(site(tmp_path)) == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_destination_that_is_no_dicom_is_named_so_without_a_line_of_the_librarys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with socket.create_server(("127.0.0.1", 0)) as web:

        def answer() -> None:
            connection, _ = web.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        port = web.getsockname()[1]
        place = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port}
        finding = found(site(tmp_path, delivery={"destinations": [place]}), "destination pacs")
    assert finding.what == f"destination pacs: 127.0.0.1:{port} answers, but does not speak DICOM"
    assert [line for line in caplog.records if line.name.startswith("pynetdicom")] == []


def test_doctor_fails_where_the_drop_folder_can_neither_be_made_nor_written(tmp_path: Path):
    """`/proc` lets nobody make a file, whoever asks."""
    configured = site(tmp_path, clinical={"csv": {"folder": "/proc/y"}})
    finding = found(configured, "clinical.csv.folder /proc/y")
    assert finding.mark is Mark.FAIL
    assert "/proc" in finding.remedy
    assert run_doctor(configured) == 1
    drop = tmp_path / "drop"
    configured = site(tmp_path, clinical={"csv": {"folder": str(drop)}})
    assert found(configured, f"clinical.csv.folder {drop} can be written").mark is Mark.OK
    assert not drop.exists(), "nothing is made"
    drop.mkdir()
    (drop / "done").symlink_to("/proc", target_is_directory=True)
    assert found(configured, f"{drop}/done").mark is Mark.FAIL
    assert found(site(tmp_path), "no CSV").mark is Mark.OK


def restored(folder: Path) -> Path:
    """A data directory as a node leaves it, and a configuration that names it."""
    open_ledger(folder / "ledger.db").close()
    Spool(folder / "spool")
    for name in ("audit", "bundles"):
        (folder / name).mkdir()
    (folder / "listener.lock").touch()
    config = folder.parent / "site.toml"
    mllp = "[clinical.mllp]\nenabled = false\n"
    config.write_text(f'[storage]\ndata_dir = "{folder}"\n[reception]\nport = 0\n{mllp}', encoding="utf-8")
    return config


def doctor(config: Path) -> subprocess.CompletedProcess[str]:
    """`osteon doctor`, to which file modes apply."""
    command = [*bound_by_modes(), sys.executable, "-P", "-c", "from node.entry import main; main()"]
    return subprocess.run(
        [*command, "doctor", "--config", str(config)], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    ("part", "mode", "says"),
    [
        ("ledger.db", 0o000, ("ledger.db: this account may not use it", "may not read and write it", "model bundle: ")),
        ("spool", 0o555, ("/spool: Permission denied",)),
        ("spool/a7", 0o555, ("/spool/a7: this account may not use it",)),
        ("listener.lock", 0o400, ("listener.lock: this account may not use it",)),
        ("bundles", 0o000, ("/bundles: Permission denied",)),
    ],
)
def test_doctor_names_what_a_restore_left_to_another_account_and_goes_on(
    tmp_path: Path, part: str, mode: int, says: tuple[str, ...]
):
    config = restored(tmp_path / "data")
    path = tmp_path / "data" / part
    path.chmod(mode)
    done = doctor(config)
    path.chmod(0o700)
    failures = [line for line in done.stdout.splitlines() if line.startswith("fail ")]
    assert [any(words in line for line in failures) for words in says] == [True] * len(says)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "the node's own receive path" in done.stdout
    assert "model bundle" in done.stdout.splitlines()[-1], "the last thing that is looked at is told too"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_doctor_as_root_sees_that_a_part_belongs_to_another_account(tmp_path: Path):
    restored(tmp_path / "data")
    os.chown(tmp_path / "data" / "spool" / "00", 12345, -1)
    finding = found(settings(tmp_path / "data"), "belongs to another account")
    assert finding.mark is Mark.WARN
    assert "spool/00" in finding.what
    assert "chown -R" in finding.remedy


def test_a_ledger_that_is_none_hides_no_other_finding(tmp_path: Path):
    (tmp_path / "ledger.db").write_bytes(b"no database " * 1000)
    marks = {one.what: one.mark for one in examine(settings(tmp_path))}
    assert any(mark is Mark.FAIL and "ledger" in what for what, mark in marks.items())
    assert any("model bundle" in what for what in marks)
