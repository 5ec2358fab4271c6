"""Counts of contacts and the audit trail: what is written, what is bounded, and what a full disk costs."""

import datetime as dt
import json
import stat
import threading

import pytest
from structlog.testing import capture_logs

from dicom_io.admission import Drop, Rejection, StoreFailure, caller
from node import audit
from node.audit import AuditTrail
from node.contacts import MAX_KEYS, ContactBook
from node.store import peers
from node.store.engine import open_ledger
from node.store.peers import Contact

DX1 = caller("10.1.2.9", calling="DX1", called="OSTEON")


def lines(folder):
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]


def listed(ledger):
    with ledger.read() as c:
        return peers.listed(c)


def test_counts_are_added_up_over_flushes_and_restarts(ledger, tmp_path):
    for _ in range(2):
        book = ContactBook(ledger, AuditTrail(tmp_path / "audit"), interval=60)
        book.start()
        book.accepted(DX1)
        book.accepted(DX1)
        book.rejected(DX1, Rejection.LIMIT)
        book.dropped(caller("10.0.0.7"), Drop.NO_REQUEST)
        book.not_stored(DX1, StoreFailure.NO_SPACE)
        book.stop()
    found = {(one.calling_ae, one.address, one.outcome): one for one in listed(ledger)}
    assert {key: one.count for key, one in found.items()} == {
        ("DX1", "10.1.2.9", "accepted"): 4,
        ("DX1", "10.1.2.9", "local_limit_exceeded"): 2,
        ("", "10.0.0.7", "no_association_request"): 2,
        ("DX1", "10.1.2.9", "store_a700_no_space"): 2,
    }
    one = found["DX1", "10.1.2.9", "accepted"]
    assert one.first_at < one.last_at
    assert [(line["outcome"], line["count"]) for line in lines(tmp_path / "audit")][:2] == [
        ("accepted", 2),
        ("local_limit_exceeded", 1),
    ]


def test_the_thread_writes_within_its_interval(tmp_path):
    ledger = open_ledger(tmp_path / "ledger.db")
    book = ContactBook(ledger, AuditTrail(tmp_path / "audit"), interval=0.05)
    book.start()
    book.accepted(DX1)
    waited = threading.Event()
    for _ in range(200):
        if listed(ledger):
            break
        waited.wait(0.05)
    assert [one.count for one in listed(ledger)] == [1]
    book.stop()
    ledger.close()


def test_a_scanner_with_ever_new_titles_fills_neither_memory_nor_table(ledger, tmp_path):
    book = ContactBook(ledger, AuditTrail(tmp_path / "audit"))
    for number in range(20_000):
        who = caller(f"10.{number % 200}.{number % 3}.1", calling=f"T{number}", called="OSTEON")
        book.rejected(who, Rejection.CALLING_AE)
    assert len(book._tallies) <= 2 * MAX_KEYS + 1
    book.flush()
    found = listed(ledger)
    assert sum(one.count for one in found) == 20_000
    assert len(found) <= 2 * MAX_KEYS + 1
    assert any(one.address == "many" for one in found)


def test_the_table_forgets_who_came_longest_ago(ledger, monkeypatch):
    monkeypatch.setattr(peers, "KEPT_ROWS", 3)
    start = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    for number in range(5):
        at = start + dt.timedelta(minutes=number)
        contact = Contact(
            calling_ae=f"T{number}", called_ae="", address="10.0.0.1", outcome="x", count=1, first_at=at, last_at=at
        )
        with ledger.begin() as c:
            peers.add(c, [contact])
    assert [one.calling_ae for one in listed(ledger)] == ["T4", "T3", "T2"]


def test_what_the_ledger_does_not_take_is_written_later(tmp_path):
    ledger = open_ledger(tmp_path / "ledger.db")
    book = ContactBook(ledger, AuditTrail(tmp_path / "audit"))
    with ledger.begin() as c:
        c.exec_driver_sql("ALTER TABLE peer_contact RENAME TO away")
    with capture_logs() as logs:
        for _ in range(3):
            book.accepted(DX1)
            book.flush()
    assert [one["event"] for one in logs] == ["contacts.not_written"]
    with ledger.begin() as c:
        c.exec_driver_sql("ALTER TABLE away RENAME TO peer_contact")
    book.flush()
    assert [one.count for one in listed(ledger)] == [3]
    ledger.close()


def test_the_audit_trail_is_appended_to_and_private(tmp_path):
    for _ in range(2):
        trail = AuditTrail(tmp_path / "audit")
        trail.record("instance.received", sop_instance_uid="1.2.3", case=7)
        trail.flush()
    (file,) = (tmp_path / "audit").iterdir()
    assert file.name == f"audit-{dt.datetime.now(dt.UTC):%Y-%m-%d}.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [(line["event"], line["case"]) for line in lines(tmp_path / "audit")] == [("instance.received", 7)] * 2


def test_a_line_torn_by_a_crash_does_not_spoil_the_next(tmp_path):
    trail = AuditTrail(tmp_path)
    trail.record("one")
    trail.flush()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    trail.record("two")
    trail.flush()
    torn, whole = file.read_text().splitlines()
    assert json.loads(whole)["event"] == "two"
    with pytest.raises(json.JSONDecodeError):
        json.loads(torn)


def test_lines_wait_while_the_disk_refuses_and_the_lost_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "MAX_WAITING", 3)
    trail = AuditTrail(tmp_path / "audit")
    (tmp_path / "audit").rename(tmp_path / "away")
    with capture_logs() as logs:
        for number in range(5):
            trail.record("one", number=number)
            trail.flush()
    assert [one["event"] for one in logs] == ["audit.not_written"]
    (tmp_path / "away").rename(tmp_path / "audit")
    trail.flush()
    trail.flush()  # the count of the lost is a line like any other
    assert [line.get("number", line.get("count")) for line in lines(tmp_path / "audit")] == [0, 1, 2, 2]
