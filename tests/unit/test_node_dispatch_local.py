from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from node.dispatch.local import Dispatcher
from node.errors import FailureCode, GiveUp, Retry
from node.store import alerts, jobs
from node.store.engine import Connection, Ledger, open_ledger
from node.store.jobs import Task
from node.store.schema import task as table

PATIENCE = 60.0
"""Seconds a test waits for what must happen; never a measure."""


def enqueue(ledger: Ledger, key: str = "1", *, kind: str = "advance", lane: str = "infer") -> None:
    with ledger.begin() as c:
        jobs.enqueue(c, kind, key, lane=lane)


def seen(ledger: Ledger, key: str = "1", kind: str = "advance") -> Task:
    with ledger.read() as c:
        found = jobs.get(c, kind, key)
    assert found is not None
    return found


def reaches(ledger: Ledger, state: str, key: str = "1") -> Task:
    """Wait until the task stands at `state`."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.02)):
        if (found := seen(ledger, key)).state == state:
            return found
        pause.wait(0.02)
    return pytest.fail(f"task {key} never became {state}: {found}")


@contextmanager
def running(ledger: Ledger, handler: Callable[[Task], object], **options: object) -> Iterator[Dispatcher]:
    settings = {"lanes": {"infer": 1}, "poll": 0.02, "lease": 30.0} | options
    dispatcher = Dispatcher(ledger, {"advance": handler}, **settings)
    dispatcher.start()
    try:
        yield dispatcher
    finally:
        assert dispatcher.stop(PATIENCE)


def make_due(ledger: Ledger) -> None:
    with ledger.begin() as c:
        c.execute(sa.update(table).where(table.c.state == "todo").values(due_at=0.0))


def test_the_change_a_handler_returns_is_made_with_the_completion(ledger: Ledger):
    def handler(task: Task) -> Callable[[Connection], None]:
        return lambda c: jobs.touch(c, "deliver", task.key, lane="net:pacs")

    enqueue(ledger)
    with running(ledger, handler):
        reaches(ledger, "done")
    assert seen(ledger, kind="deliver").state == "todo"


def test_wake_up_with_polling_set_to_60_s_what_another_process_enqueued_starts_at_once(ledger: Ledger):
    """On PostgreSQL by NOTIFY; on SQLite by a bell."""
    done = threading.Event()
    other = open_ledger(ledger.url)
    with running(ledger, lambda _task: done.set(), poll=60.0):
        threading.Event().wait(1.5)  # until the dispatcher has found nothing and sleeps
        enqueue(other)
        assert done.wait(30.0)
    other.close()


def test_wake_starts_work_without_waiting_for_the_poll(ledger: Ledger):
    done = threading.Event()
    with running(ledger, lambda _: done.set(), poll=10 * PATIENCE) as dispatcher:
        enqueue(ledger)
        dispatcher.wake("infer")
        dispatcher.wake("a lane of another process")
        assert done.wait(PATIENCE)
        reaches(ledger, "done")


def test_retry_comes_back_and_counts_nothing(ledger: Ledger):
    calls: list[int] = []

    def handler(task: Task) -> None:
        calls.append(task.attempts)
        if len(calls) < 12:
            raise Retry(0.0, "archive is down")

    enqueue(ledger)
    with running(ledger, handler):
        reaches(ledger, "done")
    assert calls == [1] * 12


def test_a_task_given_up_is_buried_with_the_domain_change_in_one_transaction(ledger: Ledger):
    def handler(_task: Task) -> None:
        raise GiveUp(FailureCode.PIXEL_DECODE, "JPEG ends early")

    def on_dead(c: Connection, task: Task, why: GiveUp) -> None:
        jobs.enqueue(c, "alarm", task.key, lane="housekeeping", payload={"code": why.code, "detail": why.detail})

    enqueue(ledger)
    with running(ledger, handler, on_dead=on_dead):
        assert reaches(ledger, "dead").error == "PIXEL-DECODE: JPEG ends early"
    assert seen(ledger, kind="alarm").payload == {"code": "PIXEL-DECODE", "detail": "JPEG ends early"}


def test_eight_errors_bury_a_task_and_its_text_holds_no_patient_data(ledger: Ledger):
    buried: list[tuple[str, str]] = []
    calls: list[int] = []

    def handler(task: Task) -> None:
        calls.append(task.attempts)
        msg = "name is DOE^JANE"
        raise ValueError(msg)

    enqueue(ledger)
    pause = threading.Event()
    with running(ledger, handler, on_dead=lambda _c, _t, why: buried.append((why.code, str(why)))):
        while seen(ledger).state != "dead":
            make_due(ledger)
            pause.wait(0.02)
    assert calls == [1, 2, 3, 4, 5, 6, 7, 8]
    text = seen(ledger).error
    assert text is not None
    assert text.startswith("UNEXPECTED: ValueError at test_node_dispatch_local.py:")
    assert "JANE" not in text
    assert buried == [("UNEXPECTED", text)]


def test_a_change_that_breaks_is_an_error_and_leaves_nothing(ledger: Ledger):
    calls: list[int] = []

    def broken(c: Connection) -> None:
        jobs.enqueue(c, "deliver", "1", lane="net:pacs")
        c.execute(sa.insert(table).values(lane="x", kind="advance", key="1", due_at=0, created_at=0, updated_at=0))

    def handler(task: Task) -> Callable[[Connection], None] | None:
        calls.append(task.attempts)
        return broken if len(calls) == 1 else None

    enqueue(ledger)
    with running(ledger, handler):
        pause = threading.Event()
        while seen(ledger).state != "done":
            make_due(ledger)
            pause.wait(0.02)
    assert calls == [1, 2]
    with ledger.read() as c:
        assert jobs.get(c, "deliver", "1") is None


def test_a_change_that_always_breaks_is_buried_with_its_domain_change(ledger: Ledger):
    """Deterministic: the case must become Failed, not stand where it is for ever."""

    def twice(c: Connection) -> None:
        c.execute(sa.insert(table).values(lane="x", kind="advance", key="1", due_at=0, created_at=0, updated_at=0))

    def on_dead(c: Connection, task: Task, why: GiveUp) -> None:
        jobs.enqueue(c, "alarm", task.key, lane="housekeeping", payload={"code": why.code})

    enqueue(ledger)
    with running(ledger, lambda _: twice, on_dead=on_dead):
        until_dead(ledger)
    assert seen(ledger).error.startswith("UNEXPECTED: IntegrityError at ")
    assert seen(ledger, kind="alarm").payload == {"code": "UNEXPECTED"}
    with ledger.read() as c:
        assert alerts.find(c) == ()


def test_a_task_whose_end_cannot_be_recorded_raises_an_alert(ledger: Ledger):
    def twice(c: Connection) -> None:
        c.execute(sa.insert(table).values(lane="x", kind="advance", key="1", due_at=0, created_at=0, updated_at=0))

    enqueue(ledger)
    with running(ledger, lambda _: twice, on_dead=lambda c, _t, _why: twice(c)):
        until_dead(ledger)
    with ledger.read() as c:
        (alert,) = alerts.find(c)
    assert (alert.kind, alert.subject) == ("TASK_DEAD", f"task {seen(ledger).id}")
    assert alert.detail.startswith("advance 1: IntegrityError at ")


def until_dead(ledger: Ledger) -> None:
    pause = threading.Event()
    while seen(ledger).state != "dead":
        make_due(ledger)
        pause.wait(0.02)


def test_a_kind_without_handler_is_an_error_of_that_task_only(ledger: Ledger):
    enqueue(ledger, "of a newer program", kind="amend")
    enqueue(ledger)
    with running(ledger, lambda _: None):
        reaches(ledger, "done")
    left = seen(ledger, "of a newer program", "amend")
    assert (left.state, left.attempts) == ("todo", 1)


def test_a_poison_task_dies_at_its_fourth_claim_without_being_run(ledger: Ledger):
    ran: list[str] = []
    buried: list[tuple[str, str]] = []
    enqueue(ledger, "poison")
    enqueue(ledger, "innocent")
    with ledger.begin() as c:
        c.execute(sa.update(table).where(table.c.key == "poison").values(state="doing", crashes=3, lease_until=0.0))
    with running(
        ledger,
        lambda task: ran.append(task.key),
        on_dead=lambda _c, _t, why: buried.append((why.code, why.detail)),
    ):
        reaches(ledger, "dead", "poison")
        reaches(ledger, "done", "innocent")
    assert ran == ["innocent"]
    assert buried == [("WORKER-DIED", "worker died 3 times in this task; last error: none")]


def test_on_dead_that_breaks_does_not_keep_a_task_alive(ledger: Ledger):
    def handler(_task: Task) -> None:
        raise GiveUp(FailureCode.UNEXPECTED, "no way")

    def on_dead(_c: Connection, _task: Task, why: GiveUp) -> None:
        raise KeyError(why.detail)

    enqueue(ledger)
    with running(ledger, handler, on_dead=on_dead):
        until_dead(ledger)
    with ledger.read() as c:
        assert [alert.kind for alert in alerts.find(c)] == ["TASK_DEAD"]


def test_a_full_lane_does_not_delay_another(ledger: Ledger):
    release, started = threading.Event(), threading.Event()

    def handler(task: Task) -> None:
        if task.lane == "net:pacs":
            release.wait(PATIENCE)
        else:
            started.set()

    for number in range(5):
        enqueue(ledger, f"send {number}", lane="net:pacs")
    with running(ledger, handler, lanes={"net:pacs": 2, "infer": 1}):
        enqueue(ledger)
        assert started.wait(PATIENCE)
        release.set()
        for number in range(5):
            reaches(ledger, "done", f"send {number}")


def test_the_heartbeat_keeps_a_long_task_from_others(ledger: Ledger):
    calls: list[str] = []
    release = threading.Event()

    def handler(task: Task) -> None:
        calls.append(task.key)
        release.wait(PATIENCE)

    enqueue(ledger)
    with running(ledger, handler, lease=1.5), running(ledger, handler, lease=1.5):
        reaches(ledger, "doing")
        given_by_the_claim = time.time() + 1.5
        while time.time() < given_by_the_claim + 0.2:
            threading.Event().wait(0.02)
        release.set()
        reaches(ledger, "done")
    assert calls == ["1"]


def test_a_worker_that_lost_its_lease_changes_nothing(ledger: Ledger):
    entered, go_on = threading.Event(), threading.Event()

    def handler(task: Task) -> Callable[[Connection], None]:
        entered.set()
        go_on.wait(PATIENCE)
        return lambda c: jobs.touch(c, "deliver", task.key, lane="net:pacs")

    enqueue(ledger)
    with running(ledger, handler, lease=600.0):
        assert entered.wait(PATIENCE)
        with ledger.begin() as c:
            c.execute(sa.update(table).values(lease_until=0.0))
            (second,) = jobs.claim(c, "infer", 1, owner="other", lease=600.0)
        go_on.set()
    assert seen(ledger).fence == second.fence
    assert seen(ledger).state == "doing"
    with ledger.read() as c:
        assert jobs.get(c, "deliver", "1") is None


def test_a_checkpoint_that_finds_the_lease_lost_ends_the_handler_quietly(ledger: Ledger):
    entered, go_on = threading.Event(), threading.Event()

    def handler(task: Task) -> None:
        entered.set()
        go_on.wait(PATIENCE)
        with ledger.begin() as c:
            jobs.enqueue(c, "deliver", task.key, lane="net:pacs")
            jobs.checkpoint(c, task)

    enqueue(ledger)
    with running(ledger, handler, lease=600.0):
        assert entered.wait(PATIENCE)
        with ledger.begin() as c:
            c.execute(sa.update(table).values(lease_until=0.0))
            jobs.claim(c, "infer", 1, owner="other", lease=600.0)
        go_on.set()
    found = seen(ledger)
    assert (found.state, found.fence, found.error) == ("doing", 2, None)
    with ledger.read() as c:
        assert jobs.get(c, "deliver", "1") is None


def test_stop_says_when_work_is_left_and_its_late_completion_still_counts_once(ledger: Ledger):
    entered, go_on = threading.Event(), threading.Event()

    def handler(_task: Task) -> None:
        entered.set()
        go_on.wait(PATIENCE)

    enqueue(ledger)
    dispatcher = Dispatcher(ledger, {"advance": handler}, {"infer": 1}, poll=0.02)
    dispatcher.start()
    assert entered.wait(PATIENCE)
    assert dispatcher.stop(0.05) is False
    enqueue(ledger, "2")
    go_on.set()
    reaches(ledger, "done")
    assert seen(ledger, "2").state == "todo"


def test_completion_waits_for_a_database_that_is_full(tmp_path):
    ledger = open_ledger(tmp_path / "ledger.db")
    failed = threading.Event()

    def change(c: Connection) -> None:
        if not failed.is_set():
            pages = c.exec_driver_sql("PRAGMA page_count").scalar()
            c.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            failed.set()
        else:
            c.exec_driver_sql("PRAGMA max_page_count = 1000000")
        jobs.enqueue(c, "deliver", "1", lane="net:pacs", payload={"x": "y" * 100_000})

    calls: list[str] = []

    def handler(task: Task) -> Callable[[Connection], None]:
        calls.append(task.key)
        return change

    enqueue(ledger)
    with running(ledger, handler, lease=30.0):
        reaches(ledger, "done")
    assert failed.is_set()
    assert calls == ["1"]
    assert seen(ledger, kind="deliver").state == "todo"
    ledger.close()


WORKER = """
import sys, threading
from node.dispatch.local import Dispatcher
from node.store.engine import open_ledger
def handler(task):
    print("started", flush=True)
    threading.Event().wait()
ledger = open_ledger(sys.argv[1])
lease, owner = float(sys.argv[2]), sys.argv[3] or None
Dispatcher(ledger, {"advance": handler}, {"infer": 1}, poll=0.02, lease=lease, owner=owner).start()
threading.Event().wait()
"""


@pytest.mark.parametrize(
    ("lease", "owner"),
    [
        pytest.param("0.9", "a process of another host", id="after the lease"),
        pytest.param("3600", "", id="at once on the same host"),
    ],
)
def test_a_worker_killed_in_the_middle_is_replaced(ledger: Ledger, ledger_url: str, lease: str, owner: str):
    enqueue(ledger)
    command = [sys.executable, "-c", WORKER, ledger_url, lease, owner]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout.readline() == "started\n"
        os.kill(worker.pid, signal.SIGKILL)
    with running(ledger, lambda _: None):
        finished = reaches(ledger, "done")
    assert finished.fence == 2


def test_a_lane_that_is_held_back_keeps_its_work_in_order_and_delays_no_other(ledger: Ledger):
    done: list[str] = []
    flows = threading.Event()
    for key in ("pacs0", "pacs1", "pacs2"):
        enqueue(ledger, key, lane="net:pacs")
    enqueue(ledger, "vna", lane="net:vna")
    dispatcher = Dispatcher(
        ledger,
        handlers={"advance": lambda task: done.append(task.key)},
        lanes={"net:pacs": 1, "net:vna": 1},
        poll=0.02,
        gate=lambda _c, lane: lane != "net:pacs" or flows.is_set(),
    )
    dispatcher.start()
    reaches(ledger, "done", "vna")
    assert done == ["vna"]
    flows.set()
    reaches(ledger, "done", "pacs2")
    dispatcher.stop()
    assert done == ["vna", "pacs0", "pacs1", "pacs2"]
