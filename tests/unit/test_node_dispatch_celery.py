"""Hints over a real RabbitMQ: they wake, and nothing else depends on them.

Two ledgers on one file stand for two processes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from kombu import Connection, Queue
from support.hospital import await_true
from support.rabbitmq import Broker, broker

from node.dispatch.celery_app import _EXCHANGE, HINT, CeleryHints, celery_app
from node.dispatch.local import Dispatcher
from node.store import alerts, hints, jobs
from node.store.alerts import AlertKind
from node.store.engine import Ledger, open_ledger
from node.store.jobs import Task

NEVER = 600.0
"""Seconds between polls where a hint must do it."""


@pytest.fixture(scope="module")
def rabbit() -> Iterator[Broker]:
    with broker() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, migrated_file: Path) -> Path:
    path = tmp_path / "ledger.db"
    path.write_bytes(migrated_file.read_bytes())
    return path


@contextmanager
def node_process(place: Path, rabbit: Broker) -> Iterator[tuple[Ledger, CeleryHints]]:
    """One that enqueues and hints."""
    ledger = open_ledger(place)
    told = CeleryHints(rabbit.url, ledger)
    told.start({"infer"})
    yield ledger, told
    told.stop()
    ledger.close()


@contextmanager
def worker(place: Path, rabbit: Broker, *, poll: float) -> Iterator[list[str]]:
    """One that works; what it did, by key."""
    ledger, done = open_ledger(place), []

    def handler(task: Task) -> None:
        done.append(task.key)

    told = CeleryHints(rabbit.url, ledger)
    dispatcher = Dispatcher(ledger, {"advance": handler}, {"infer": 1}, poll=poll, hints=told)
    dispatcher.start()
    await_true(lambda: told._state._told is not None, "it has connected, or knows that it cannot", limit=30)
    yield done
    dispatcher.stop()
    told.stop()
    ledger.close()


def enqueue(ledger: Ledger, key: str) -> int:
    with ledger.begin() as c:
        jobs.enqueue(c, "advance", key, lane="infer")
    with ledger.read() as c:
        task = jobs.get(c, "advance", key)
    assert task is not None
    return task.id


def test_a_hint_wakes_another_process_and_is_one_integer(place: Path, rabbit: Broker) -> None:
    seen = []
    with (
        worker(place, rabbit, poll=NEVER) as done,
        node_process(place, rabbit) as (ledger, _),
        Connection(rabbit.url) as wire,
    ):
        spy = Queue("", _EXCHANGE, routing_key="infer", exclusive=True, auto_delete=True, durable=False)
        with wire.Consumer([spy], no_ack=True, on_message=seen.append):
            task = enqueue(ledger, "1")
            await_true(lambda: done == ["1"], "the hint woke it", limit=30)
            wire.drain_events(timeout=10)
    body = json.loads(seen[0].body)
    assert body[:2] == [[task], {}], "the number of a task, and nothing that says whose"
    assert seen[0].headers["task"] == HINT
    assert seen[0].content_type == "application/json"
    assert seen[0].properties["delivery_mode"] == 1, "nothing the broker must keep"
    assert celery_app(rabbit.url).backend.as_uri() == "disabled://", "no results"


def test_a_lost_a_repeated_a_late_and_a_forged_hint_change_nothing(place: Path, rabbit: Broker) -> None:
    with worker(place, rabbit, poll=0.2) as done, node_process(place, rabbit) as (ledger, told):
        task = enqueue(ledger, "1")
        app = celery_app(rabbit.url)
        with told._producing() as send:
            for _ in range(3):
                send("infer", task)
            await_true(lambda: done == ["1"], "it is done", limit=30)
            send("infer", task)
            send("infer", 987_654)
            send("no-such-lane", task)
        told.stop()  # from here on no hint is sent
        enqueue(ledger, "2")
        await_true(lambda: done == ["1", "2"], "without a hint, by the poll", limit=30)
        app.close()
    with open_ledger(place).read() as c:
        assert jobs.count_by_state(c) == {("infer", "done"): 2}


def test_a_task_is_hinted_at_once_a_minute_and_a_backlog_within_a_bound(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_ledger(place)
    numbers = [enqueue(ledger, str(key)) for key in range(hints.OUTSTANDING + 4)]

    def mark() -> tuple[int, ...]:
        with ledger.begin() as c:
            return hints.mark(c, "infer")

    def wanting() -> bool:
        with ledger.read() as c:
            return hints.wanting(c, "infer")

    assert wanting()
    assert mark() == tuple(numbers[: hints.OUTSTANDING])
    assert not wanting()
    assert mark() == ()
    with ledger.begin() as c:
        jobs.claim(c, "infer", 2, owner="somebody", lease=60)
    assert mark() == tuple(numbers[hints.OUTSTANDING : hints.OUTSTANDING + 2]), "as many as were taken"
    monkeypatch.setattr(hints, "AGAIN_SECONDS", -1.0)
    assert len(mark()) == hints.OUTSTANDING, "what was lost is said again"
    ledger.close()


def test_without_the_broker_the_poll_goes_on_with_one_alert_and_one_line_and_it_connects_again_by_itself(
    place: Path, rabbit: Broker
) -> None:
    with (
        structlog.testing.capture_logs() as lines,
        worker(place, rabbit, poll=0.2) as done,
        node_process(place, rabbit) as (ledger, _),
    ):

        def open_alerts() -> list[str]:
            with ledger.read() as c:
                return [one.subject for one in alerts.find(c) if one.kind == AlertKind.HINTS_LOST]

        rabbit.stop(hard=True)
        await_true(open_alerts, "an alert", limit=30)
        enqueue(ledger, "1")
        await_true(lambda: done == ["1"], "the poll goes on", limit=30)
        rabbit.start()
        await_true(lambda: not open_alerts(), "it connects again, and the alert is over", limit=60)
        heard, stopping = threading.Event(), threading.Event()
        other = CeleryHints(rabbit.url, ledger)
        listening = threading.Thread(target=other.follow, args=({"infer"}, lambda _: heard.set(), stopping))
        listening.start()
        assert heard.wait(30)
        stopping.set()
        listening.join()
    told = [line["event"] for line in lines if line["event"].startswith("hints.broker")]
    assert told.count("hints.broker_lost") == 1
    assert not any(rabbit.url in str(line) for line in lines), "the password is logged nowhere"
