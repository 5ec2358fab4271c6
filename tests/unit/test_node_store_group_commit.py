"""Group commit: fewer commits than pieces of work, each durable or failed for itself."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from node.store.engine import open_ledger
from node.store.errors import LedgerUnavailable
from node.store.group_commit import GroupCommit


@pytest.fixture
def ledger(tmp_path):
    opened = open_ledger(tmp_path / "ledger.db")
    with opened.begin() as c:
        c.execute(sa.text("CREATE TABLE note (text TEXT UNIQUE)"))
    yield opened
    opened.close()


def insert(text: str):
    def work(c: sa.Connection) -> str:
        c.execute(sa.text("INSERT INTO note VALUES (:text)"), {"text": text})
        return text.upper()

    return work


def notes(ledger) -> list[str]:
    with ledger.read() as c:
        return sorted(c.execute(sa.text("SELECT text FROM note")).scalars())


def test_those_who_wait_share_a_commit_and_a_failing_one_spoils_no_other(ledger):
    transactions, first, go = [], threading.Event(), threading.Event()
    group = GroupCommit(lambda: transactions.append(1) or ledger.begin())

    def slow(c: sa.Connection) -> str:
        first.set()
        go.wait(10)
        return insert("slow")(c)

    with ThreadPoolExecutor(20) as pool:
        leader = pool.submit(group.run, slow)
        first.wait(10)
        rest = [pool.submit(group.run, insert(f"n{number}")) for number in range(10)]
        while len(group._waiting) < 10:
            pass
        go.set()
        assert leader.result() == "SLOW"
        assert [one.result() for one in rest] == [f"N{number}" for number in range(10)]
        assert len(transactions) == 2
        assert len(notes(ledger)) == 11

        first.clear()
        go.clear()
        leader = pool.submit(group.run, lambda _: (first.set(), go.wait(10), None)[2])
        first.wait(10)
        mixed = [pool.submit(group.run, insert(text)) for text in ("a", "n3", "b")]
        while len(group._waiting) < 3:
            pass
        go.set()
        assert (mixed[0].result(), mixed[2].result()) == ("A", "B")
        with pytest.raises(sa.exc.IntegrityError):
            mixed[1].result()
    assert {"a", "b"} < set(notes(ledger))


def test_nobody_takes_work_for_committed_whose_group_ended_without_a_word(ledger):
    first, go = threading.Event(), threading.Event()
    group = GroupCommit(ledger.begin)

    def end_of_thread(_: sa.Connection) -> None:
        raise SystemExit

    with ThreadPoolExecutor(3) as pool:
        leader = pool.submit(group.run, lambda _: (first.set(), go.wait(10), None)[2])
        first.wait(10)
        rest = [pool.submit(group.run, work) for work in (insert("a"), end_of_thread)]
        while len(group._waiting) < 2:
            pass
        go.set()
        leader.result()
        with pytest.raises((LedgerUnavailable, SystemExit)):
            rest[0].result()
    assert notes(ledger) == []


def test_a_ledger_that_is_down_fails_the_whole_group_once(ledger):
    calls = []

    def down():
        calls.append(1)
        msg = "down"
        raise LedgerUnavailable(msg)

    with pytest.raises(LedgerUnavailable):
        GroupCommit(down).run(insert("x"))
    assert calls == [1]
    assert notes(ledger) == []


def test_each_returned_piece_is_in_the_ledger(ledger):
    def store(number: int) -> bool:
        ledger.together(insert(str(number)))
        return str(number) in notes(ledger)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(store, range(200)))
    assert len(notes(ledger)) == 200
