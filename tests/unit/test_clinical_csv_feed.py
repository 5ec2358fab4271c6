"""The CSV feed of a running node: a job that claims, a thread that imports, and HL7 that does not wait for it."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs
from support.csv_drop import lines, row
from support.mllp import Peer, adt, block
from support.postgres import Cluster

from config.csv_feed import CsvDrop
from config.settings import Settings, SettingsError
from node import places
from node.clinical_feed import ClinicalFeed, import_csv
from node.csv_feed import FAILED_LOOKS
from node.feeds import csv_import
from node.schedule import Clock
from node.store import alerts, csv_files
from node.store.alerts import AlertKind
from node.store.clinical_schema import observation
from node.store.engine import Ledger, open_ledger
from node.store.errors import LedgerUnavailable


class Node:
    """The clinical feeds of a listener, with their ledger."""

    def __init__(self, folder: Path, database_url: str = "") -> None:
        self.drop = folder / "drop"
        self.settings = Settings.model_validate(
            {
                "storage": {"data_dir": str(folder), "database_url": database_url},
                "clinical": {"mllp": {"port": 0}, "csv": {"folder": str(self.drop), "settle": 0}},
            }
        )
        self.start()

    def start(self) -> None:
        self.ledger: Ledger = places.open_settings_ledger(self.settings)
        self.inbox: Ledger = places.open_settings_inbox(self.settings)
        self.feed = ClinicalFeed(self.ledger, self.inbox, self.settings)
        self.feed.start()

    def stop(self) -> None:
        self.feed.stop()
        self.inbox.close()
        self.ledger.close()

    def put(self, content: str, name: str = "a.csv") -> None:
        (self.drop / "inbox").mkdir(parents=True, exist_ok=True)
        (self.drop / "inbox" / name).write_text(content)

    def imports(self) -> tuple[csv_files.CsvFile, ...]:
        with self.ledger.read() as c:
            return csv_files.find(c)

    def state(self) -> str:
        files = self.imports()
        return files[0].state if files else ""

    def count(self) -> int:
        with self.ledger.read() as c:
            return int(c.execute(sa.select(sa.func.count()).select_from(observation)).scalar_one())


@pytest.fixture
def node(tmp_path):
    running = Node(tmp_path)
    yield running
    running.stop()


def until(condition: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(3000):
        if condition():
            return
        pause.wait(0.02)
    pytest.fail("it did not happen within a minute")


def many(count: int) -> str:
    return lines(
        *(
            row(n, patient_id=str(100000 + n // 4), code="17861-6", value=f"{9 + n % 7 / 10:.1f}", unit="mg/dL")
            for n in range(count)
        )
    )


def test_the_job_claims_and_the_thread_imports(node):
    node.put(lines(row()))
    node.feed.poll_csv()
    node.feed.poll_csv()
    until((node.drop / "done" / "a.csv").exists)
    assert [(f.state, f.rows, f.written) for f in node.imports()] == [("done", 1, 3)]


def test_a_long_import_does_not_hold_up_an_ack(node, monkeypatch):
    monkeypatch.setattr(csv_import, "BATCH_ROWS", 100)
    node.put(many(12_000))
    node.feed.poll_csv()
    until(lambda: node.state() == "importing" and node.imports()[0].rows_done > 0)
    peer = Peer(node.feed.port)
    for number in range(20):
        peer.send(block(adt(f"C{number}")))
        assert peer.answer() == ["AA", f"C{number}"]
    peer.socket.close()
    assert node.state() == "importing", "twenty acknowledgements came before the import was over"


def test_a_stop_in_the_middle_is_taken_up_after_the_next_start(node, monkeypatch):
    monkeypatch.setattr(csv_import, "BATCH_ROWS", 100)
    node.put(many(6000))
    node.feed.poll_csv()
    until(lambda: node.count() > 0)
    node.stop()
    node.start()
    done_before = node.imports()[0].rows_done
    assert 0 < done_before < 6000
    assert (node.drop / "processing" / "a.csv").exists()
    node.feed.poll_csv()
    until(lambda: node.state() == "done")
    assert node.count() == 6000


def test_a_poll_after_a_stall_still_runs(tmp_path):
    looked = threading.Semaphore(0)
    clock = Clock(CsvDrop(folder=tmp_path), looked.release, hourly=(), daily=lambda: None)
    clock.start()
    assert looked.acquire(timeout=30), "the first look is at once"
    (job,) = [j for j in clock._scheduler.get_jobs() if j.trigger.interval == dt.timedelta(seconds=30)]
    assert (job.coalesce, job.max_instances, job.misfire_grace_time) == (True, 1, None)
    clock._scheduler.pause()
    # Ten looks were due while the machine stood still; APScheduler's default grace of a second would drop them all.
    job.modify(next_run_time=dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5))
    clock._scheduler.resume()
    assert looked.acquire(timeout=30)
    clock.stop()
    assert not looked.acquire(blocking=False), "ten missed looks are one"


def test_a_node_without_a_drop_folder_does_nothing(tmp_path):
    settings = Settings.model_validate({"storage": {"data_dir": str(tmp_path)}, "clinical": {"mllp": {"port": 0}}})
    ledger, inbox = places.open_settings_ledger(settings), places.open_settings_inbox(settings)
    feed = ClinicalFeed(ledger, inbox, settings)
    feed.start()
    feed.poll_csv()
    feed.stop()
    inbox.close()
    ledger.close()


def test_one_file_for_osteon_screen(node, tmp_path):
    table = tmp_path / "GEHEIM.txt"
    table.write_text(lines(row()))
    import_csv(node.ledger, table, node.settings, folder=tmp_path / "own")
    assert node.count() == 1
    table.write_text("something,else\n1,2\n")
    with pytest.raises(SettingsError, match=r"held \(HEADER: missing birth_date, .*; unknown #1, #2\)"):
        import_csv(node.ledger, table, node.settings, folder=tmp_path / "again")


def test_a_drop_folder_that_is_gone_for_some_looks_is_told_and_settled_when_it_is_back(node, tmp_path):
    def told() -> list[tuple[str, str, str, int]]:
        with node.ledger.read() as c:
            return [(a.kind, a.subject, a.detail, a.count) for a in alerts.find(c)]

    node.feed.poll_csv()
    away = node.drop.rename(tmp_path / "away")
    node.drop.write_text("a mount point that is none")
    for _ in range(FAILED_LOOKS - 1):
        node.feed.poll_csv()
    assert told() == []
    with capture_logs() as logs:
        for _ in range(3):
            node.feed.poll_csv()
    assert told() == [("CSV_FOLDER", "drop folder", f"{node.drop}: Not a directory", 1)]
    assert {(one["event"], one["folder"]) for one in logs} == {("csv_poll_failed", str(node.drop))}
    node.drop.unlink()
    away.rename(node.drop)
    node.put(lines(row()))
    node.feed.poll_csv()
    assert told() == []
    until(lambda: node.state() == "done")


def test_an_alert_about_the_drop_folder_waits_for_the_ledger(node, monkeypatch):
    def away(*_: object) -> None:
        raise LedgerUnavailable

    node.drop.write_text("a mount point that is none")
    with monkeypatch.context() as patched:
        patched.setattr(node.ledger, "begin", away)
        for _ in range(FAILED_LOOKS):
            node.feed.poll_csv()
    node.feed.poll_csv()
    node.stop()
    node.start()
    node.feed.poll_csv()  # one failed look after a restart does not settle it
    with node.ledger.read() as c:
        assert [(a.kind, a.count) for a in alerts.find(c)] == [(AlertKind.CSV_FOLDER, 1)]


def test_a_file_that_comes_while_the_database_may_not_write_is_imported_afterwards(
    postgres_cluster: Cluster, tmp_path: Path
):
    node = Node(tmp_path, postgres_cluster.blank_ledger(lambda url: open_ledger(url).close()))
    try:
        postgres_cluster.command("ALTER DATABASE osteon SET default_transaction_read_only = on")
        postgres_cluster.disconnect()
        node.put(lines(row()))
        with capture_logs() as logs:
            node.feed.poll_csv()
            until(lambda: any(one["event"] == "csv_import_interrupted" for one in logs))
        postgres_cluster.command("ALTER DATABASE osteon RESET ALL")
        until(lambda: node.feed.poll_csv() or (node.drop / "done" / "a.csv").exists())
    finally:
        postgres_cluster.command("ALTER DATABASE osteon RESET ALL")
        node.stop()


def test_a_file_that_can_be_neither_imported_nor_set_aside_ends_no_feed(node, monkeypatch):
    def break_down(*_: object) -> None:
        raise ZeroDivisionError

    node.put(lines(row()))
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(csv_import.Importer, "take", break_down)
        patched.setattr(csv_import.Importer, "broke", break_down)
        node.feed.poll_csv()
        until(lambda: any(one["event"] == "csv_import_interrupted" for one in logs))
    until(lambda: node.feed.poll_csv() or (node.drop / "done" / "a.csv").exists())
