"""The bells of a ledger file: rung after a commit, never in the way of one."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.reception import await_true

from node.store import bells, jobs
from node.store.engine import Ledger


@contextlib.contextmanager
def following(ledger: Path) -> Iterator[list[str]]:
    heard: list[str] = []
    stopping = threading.Event()
    thread = threading.Thread(target=bells.follow, args=(ledger, heard.append, stopping))
    thread.start()
    await_true(lambda: bool(list(ledger.parent.glob("*-bells/*.bell"))))
    try:
        yield heard
    finally:
        stopping.set()
        thread.join()


def test_every_follower_hears_the_lanes_of_a_commit_once_it_is_made(sqlite_ledger: Ledger):
    assert sqlite_ledger.file is not None
    with following(sqlite_ledger.file) as one, following(sqlite_ledger.file) as other:
        with sqlite_ledger.begin() as c:
            jobs.enqueue(c, "advance", "1", lane="infer")
            jobs.enqueue(c, "deliver", "1", lane="net:main archive")
            jobs.enqueue(c, "advance", "2", lane="later", delay=60)
            time.sleep(0.05)
            assert one == other == []
        await_true(lambda: sorted(one) == sorted(other) == ["infer", "net:main archive"])
    assert not list(sqlite_ledger.file.parent.glob("*-bells/*"))


def test_what_was_rolled_back_is_not_rung(sqlite_ledger: Ledger):
    assert sqlite_ledger.file is not None
    with following(sqlite_ledger.file) as heard:
        with contextlib.suppress(RuntimeError), sqlite_ledger.begin() as c:
            jobs.enqueue(c, "advance", "1", lane="infer")
            raise RuntimeError
        bells.ring(sqlite_ledger.file, {"last"})
        await_true(lambda: heard == ["last"])


def test_nobody_to_ring_costs_nothing_and_a_dead_process_s_bell_is_taken_down(tmp_path: Path):
    ledger = tmp_path / "ledger.db"
    bells.ring(ledger, {"infer"})
    folder = tmp_path / "ledger.db-bells"
    folder.mkdir()
    os.mkfifo(folder / "dead.bell")
    os.mkfifo(folder / "starting.new")
    bells.ring(ledger, {"infer"})
    assert [path.name for path in folder.iterdir()] == ["starting.new"]


def test_a_full_bell_holds_no_commit_up(tmp_path: Path):
    ledger, folder = tmp_path / "ledger.db", tmp_path / "ledger.db-bells"
    folder.mkdir()
    os.mkfifo(folder / "slow.bell")
    reader = os.open(folder / "slow.bell", os.O_RDONLY | os.O_NONBLOCK)
    for _ in range(100):
        bells.ring(ledger, {"x" * 4000})
    assert os.read(reader, 4000) == b"x" * 4000
    os.close(reader)


def test_without_pipes_the_poll_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "mkfifo", refused)
    bells.follow(tmp_path / "ledger.db", lambda _: None, threading.Event())
