"""Sessions on PostgreSQL: what they wait for, what they survive, what their server must not be."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from support.ledgers import NOON, source
from support.postgres import Cluster

from node.store import cases, jobs, migrate, notices, postgresql
from node.store.cases import Receipt
from node.store.engine import Connection, Ledger, connect, open_ledger
from node.store.errors import LedgerError, LedgerUnavailable, StillLocked
from node.store.inbox_progress import Spoiled, apart
from node.store.retention import KeptImage, note_image_gone

SETTINGS = sa.text("SELECT setting || coalesce(unit, '') FROM pg_settings WHERE name = :name")
READ_ONLY = "ALTER DATABASE osteon SET default_transaction_read_only = on"
"""As near to a standby as one server comes."""
OTHER = "osteon_other"


@pytest.fixture
def server(postgres_cluster: Cluster) -> Iterator[Cluster]:
    yield postgres_cluster
    postgres_cluster.command("ALTER DATABASE osteon RESET ALL")


@pytest.fixture
def url(server: Cluster) -> str:
    return server.blank_ledger(lambda where: open_ledger(where).close())


@contextmanager
def opened(url: str, options: str = "") -> Iterator[Ledger]:
    ledger = open_ledger(f"{url}?options={options}" if options else url)
    yield ledger
    ledger.close()


def setting(c: Connection, name: str) -> str:
    return str(c.execute(SETTINGS, {"name": name}).scalar_one())


def enqueue(ledger: Ledger, key: str = "1") -> None:
    with ledger.begin() as c:
        jobs.enqueue(c, "advance", key, lane="infer")


def be_silent(c: Connection) -> None:
    c.exec_driver_sql("SELECT 1")
    time.sleep(0.5)
    c.exec_driver_sql("SELECT 1")


def test_a_server_that_may_not_write_is_away_and_comes_back_by_itself(server: Cluster, url: str):
    with opened(url) as ledger:
        enqueue(ledger, "before")
        server.command(READ_ONLY)
        server.disconnect()
        for _ in range(2):
            with ledger.read() as c:  # what was lent to a reader must not be allowed more than the server allows
                assert jobs.get(c, "advance", "before") is not None
            with pytest.raises(LedgerUnavailable, match="read-only"):
                enqueue(ledger, "meanwhile")
        server.command("ALTER DATABASE osteon RESET ALL")
        enqueue(ledger, "after")
        with ledger.read() as c:
            assert jobs.get(c, "advance", "meanwhile") is None
            assert jobs.get(c, "advance", "after") is not None


def test_a_table_migrated_under_a_prepared_statement_is_met_by_a_new_session(url: str):
    with opened(url) as ledger, opened(url) as other:
        with other.begin() as c:
            c.exec_driver_sql("CREATE TABLE grown (a int)")
        for _ in range(10):
            with ledger.begin() as c:
                c.exec_driver_sql("SELECT * FROM grown").all()
        with other.begin() as c:
            c.exec_driver_sql("ALTER TABLE grown ADD b int")
        with pytest.raises(LedgerUnavailable), ledger.begin() as c:
            c.exec_driver_sql("SELECT * FROM grown").all()
        with ledger.begin() as c:
            assert c.exec_driver_sql("SELECT * FROM grown").all() == []


def test_what_ends_the_session_spoils_no_single_frame(url: str):
    def write(c: Connection) -> None:
        c.exec_driver_sql("SET TRANSACTION READ ONLY")
        jobs.enqueue(c, "advance", "1", lane="infer")

    with opened(url) as ledger:
        with pytest.raises(LedgerUnavailable), ledger.begin() as c:
            apart(c, lambda: write(c))
        with pytest.raises(Spoiled), ledger.begin() as c:
            apart(c, lambda: c.exec_driver_sql("SELECT 1/0"))


def test_who_follows_notices_goes_on_whatever_happens(server: Cluster, url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(notices, "_PAUSE_SECONDS", 0.05)
    heard, stopping = [], threading.Event()

    def hear(lane: str) -> None:
        heard.append(lane)
        if len(heard) == 1:
            raise ZeroDivisionError

    with opened(url) as ledger:
        thread = threading.Thread(target=notices.follow, args=(ledger, hear, stopping))
        thread.start()
        for wanted in (1, 2):
            told = 0
            while len(heard) < wanted and told < 100:
                enqueue(ledger, f"{wanted} {told}")
                told += 1
                time.sleep(0.05)
            server.disconnect()
        alive = thread.is_alive()
        stopping.set()
        thread.join()
    assert alive
    assert heard[:2] == ["infer", "infer"]


def test_nobody_waits_for_ever_and_what_the_site_says_stands(server: Cluster, url: str):
    with opened(url) as ledger, ledger.begin() as c:
        assert setting(c, "lock_timeout") == "30000ms"
        assert setting(c, "idle_in_transaction_session_timeout") == "60000ms"
        assert [setting(c, f"tcp_keepalives_{what}") for what in ("idle", "interval", "count")] == ["10s", "5s", "3"]
        assert setting(c, "tcp_user_timeout") == "20000ms"
        session = c.connection.driver_connection
        ours = {one.keyword.decode(): (one.val or b"").decode() for one in session.pgconn.info}
        assert {name: ours[name] for name in postgresql.LINK} == {k: str(v) for k, v in postgresql.LINK.items()}
    server.command("ALTER DATABASE osteon SET tcp_keepalives_idle = 77")
    with opened(url, "-c%20lock_timeout%3D200&connect_timeout=9") as ledger, ledger.begin() as c:
        assert setting(c, "lock_timeout") == "200ms"
        assert setting(c, "tcp_keepalives_idle") == "77s"
        assert setting(c, "idle_in_transaction_session_timeout") == "60000ms"
        assert c.connection.driver_connection.info.get_parameters()["connect_timeout"] == "9"


def test_a_lock_held_elsewhere_is_waited_for_so_long_and_delays_only_who_needs_it(url: str):
    def take(number: int) -> Receipt:
        return ledger.together(lambda c: cases.receive(c, source(number)).receipt)

    with opened(url, "-c%20lock_timeout%3D300") as ledger, opened(url) as other, ThreadPoolExecutor(8) as pool:
        take(1)
        with other.begin() as c:
            c.exec_driver_sql("SELECT 1 FROM screening_case FOR UPDATE")
            with ledger._group._turn:  # so that they are one group
                held, *free = [pool.submit(take, number) for number in (1, 2, 3, 4)]
                while len(ledger._group._waiting) < 4:
                    time.sleep(0.01)
            with pytest.raises(StillLocked, match="lock timeout"):
                held.result(timeout=5)
            assert [one.result(timeout=5) for one in free] == [Receipt.NEW] * 3
        assert take(1) is Receipt.SAME


def test_a_silent_transaction_ends_but_for_one_that_must_outlast_a_stalled_mount(url: str):
    with opened(url, "-c%20idle_in_transaction_session_timeout%3D100") as ledger:
        with ledger.begin() as c:
            image = KeptImage(case_id=cases.receive(c, source()).case_id, digest="", files=())
        with pytest.raises(LedgerUnavailable), ledger.begin() as c:
            be_silent(c)
        with ledger.begin() as c:
            note_image_gone(c, image, NOON, ended_before=NOON, failed_before=NOON)
            be_silent(c)


def test_who_migrates_second_waits_longer_than_for_any_other_lock(server: Cluster):
    url = server.empty_database()
    first = connect(url)
    with first.begin() as c, ThreadPoolExecutor(1) as pool:
        c.execute(sa.select(sa.func.pg_advisory_xact_lock(migrate.LEDGER.lock_key)))
        second = pool.submit(lambda: open_ledger(f"{url}?options=-c%20lock_timeout%3D100").close())
        time.sleep(0.5)
        assert not second.done()
        c.commit()
        second.result(timeout=30)
    first.close()


@pytest.mark.parametrize("in_order", [True, False])
def test_one_study_from_two_routers_at_two_listeners_is_taken_whole(server: Cluster, url: str, *, in_order: bool):
    server.command("ALTER DATABASE osteon SET deadlock_timeout = '20ms'")

    def take(ledger: Ledger, number: int) -> Receipt:
        image = source(number)
        about = image.reference.sop_instance_uid if in_order else ""
        return ledger.together(lambda c: cases.receive(c, image).receipt, about=about)

    with opened(url) as one, opened(url) as other, ThreadPoolExecutor(16) as pool:
        receipts = []
        for start in range(0, 80, 8):
            images = range(start, start + 8)
            taken = []
            for first, last in zip(images, reversed(images), strict=True):
                taken += [pool.submit(take, one, first), pool.submit(take, other, last)]
            receipts += [each.result() for each in taken]
        with one.read() as c:
            assert sum(cases.count_by_state(c).values()) == 80
    assert sorted(receipts) == sorted([Receipt.NEW] * 80 + [Receipt.SAME] * 80)


@pytest.mark.parametrize(("said", "holds"), [("off", "on"), ("local", "local"), ("remote_write", "remote_write")])
def test_a_commit_is_on_the_servers_disk_whatever_its_default_is(server: Cluster, url: str, said: str, holds: str):
    server.command(f"ALTER DATABASE osteon SET synchronous_commit = {said}")
    with opened(url) as ledger, ledger.begin() as c:
        assert setting(c, "synchronous_commit") == holds


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_in_which_names_cannot_be_stored_is_refused_in_words(server: Cluster, url: str, encoding: str):
    server.command(f"CREATE DATABASE {OTHER} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        with pytest.raises(LedgerError, match=f"{encoding}.*; make one with CREATE DATABASE .* ENCODING 'UTF8'"):
            open_ledger(f"{url}_other")
    finally:
        server.command(f"DROP DATABASE {OTHER} WITH (FORCE)")


def test_a_server_that_may_lose_what_it_committed_is_known(url: str, sqlite_ledger: Ledger):
    with opened(url) as ledger, ledger.read() as c:  # the tests' own server runs so
        assert [(fault.what.partition(":")[0], fault.remedy) for fault in postgresql.faults(c)] == [
            ("PostgreSQL runs with fsync = off", "set fsync = on")
        ]
    with sqlite_ledger.read() as c:
        assert postgresql.faults(c) == ()


def test_a_ledger_that_a_newer_version_migrates_is_written_to_no_more(
    ledger: Ledger, ledger_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(migrate, "LOOK_SECONDS", 0.0)
    old, newer = open_ledger(ledger_url), connect(ledger_url)
    known = migrate.LEDGER.revisions()[-1]
    enqueue(old, "before")
    try:
        with newer.begin() as c:
            c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(LedgerUnavailable, match=r"newer Osteon .*9999.*install that version"):
            enqueue(old, "meanwhile")
    finally:
        with newer.begin() as c:
            c.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{known}'")
    enqueue(old, "after a restore")
    old.close()
    newer.close()
