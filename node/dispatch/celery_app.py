"""Hints as Celery messages on RabbitMQ: one integer, the number of a task that is due, sent to its lane's processes.

The broker holds nothing that anybody needs (reception-and-delivery.md P9): a hint wakes every process that serves its
lane, and whoever has a thread free claims from the ledger, by lease and fence. So a broker that is lost for good costs
the time until the next poll, and a hint that comes twice or late costs a look. Every process has a queue of its own,
gone with it; with one queue for all, a busy process would take hints from an idle one.

Not allowed here: results, pickle, remote control, ETA, and anything of a case but its task's number.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import structlog
from celery import Celery
from kombu import Exchange, Queue

from node.dispatch.hints import Heard
from node.store import alerts, hints
from node.store.alerts import AlertKind
from node.store.engine import Ledger
from node.store.errors import LedgerUnavailable

HINT: Final = "osteon.hint"
"""Name of the message; its one argument is the number of a task."""
_EXCHANGE: Final = Exchange("osteon.hints", type="direct", durable=True, delivery_mode="transient")
_LOOK_SECONDS: Final = 1.0
"""Between looks for what came due by the clock alone."""
_PAUSE_SECONDS: Final = 2.0
"""Before a broker that is away is tried again."""
_CONNECT_SECONDS: Final = 5
_HEARTBEAT_SECONDS: Final = 10
_MOST_WAITING: Final = 1000
_JOIN_SECONDS: Final = 5.0

log = structlog.get_logger()


def celery_app(broker: str) -> Celery:
    """Celery as it is used here: a transport."""
    app = Celery("osteon", broker=broker, backend=None, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        # Celery wants a queue to take the exchange's properties from; nobody declares it.
        task_default_queue=_EXCHANGE.name,
        task_queues=(Queue(_EXCHANGE.name, _EXCHANGE),),
        worker_enable_remote_control=False,
        broker_connection_timeout=_CONNECT_SECONDS,
        broker_heartbeat=_HEARTBEAT_SECONDS,
        broker_transport_options={"confirm_publish": True},
    )
    return app


class CeleryHints:
    """One process's part in it. `follow` may run in several threads, each with a connection of its own."""

    def __init__(self, broker: str, ledger: Ledger) -> None:
        self._app = celery_app(broker)
        self._ledger = ledger
        self._lock = threading.Lock()
        self._due: set[str] = set()
        self._look_at = 0.0
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._lanes: frozenset[str] = frozenset()
        self._relay = threading.Thread(target=self._run, name="hints", daemon=True)
        self._state = _BrokerState(ledger)
        ledger.announce(by_notice=False, then=self._enqueued)

    def start(self, lanes: Collection[str]) -> None:
        """As `Hints.start`."""
        self._lanes = frozenset(lanes)
        self._relay.start()

    def stop(self) -> None:
        """As `Hints.stop`."""
        self._stopping.set()
        self._wake.set()
        if self._relay.is_alive():
            self._relay.join(_JOIN_SECONDS)

    def follow(self, lanes: Collection[str], heard: Heard, stopping: threading.Event) -> None:
        """As `Hints.follow`."""
        while not stopping.is_set():
            try:
                with self._app.connection_for_read() as connection:
                    connection.connect()
                    self._listen(connection, lanes, heard, stopping)
            except Exception as error:  # noqa: BLE001 - outermost loop: whatever a client raises, the poll goes on
                self._state.lost(error)
                stopping.wait(_PAUSE_SECONDS)

    def _listen(self, connection: Any, lanes: Collection[str], heard: Heard, stopping: threading.Event) -> None:
        def on_message(message: Any) -> None:
            heard(message.delivery_info["routing_key"])

        bindings = [_EXCHANGE.binding(routing_key=lane) for lane in lanes]
        limits = {"x-max-length": _MOST_WAITING}
        queue = Queue("", exclusive=True, auto_delete=True, durable=False, bindings=bindings, queue_arguments=limits)
        consumer = self._app.amqp.TaskConsumer(connection.channel(), queues=[queue], no_ack=True, on_message=on_message)
        with consumer:
            self._state.answers()
            for lane in lanes:  # what was said while nobody listened
                heard(lane)
            while not stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=_LOOK_SECONDS)
                connection.heartbeat_check()

    def _enqueued(self, lanes: Collection[str]) -> None:
        """Called after a commit of this process: no broker is asked in its thread."""
        with self._lock:
            self._due.update(lanes)
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._producing() as send:
                    while not self._stopping.is_set():
                        self._relay_due(send)
            except Exception as error:  # noqa: BLE001 - outermost loop: as in `follow`
                log.debug("hints.relay_interrupted", error=type(error).__name__)
                self._stopping.wait(_PAUSE_SECONDS)

    @contextlib.contextmanager
    def _producing(self) -> Iterator[Callable[[str, int], None]]:
        with self._app.connection_for_write() as connection:
            connection.connect()
            with self._app.amqp.Producer(connection.channel()) as producer:

                def send(lane: str, task: int) -> None:
                    where = {"exchange": _EXCHANGE, "routing_key": lane, "declare": [_EXCHANGE]}
                    patience = {"retry": False, "confirm_timeout": _CONNECT_SECONDS}
                    self._app.send_task(HINT, args=(task,), producer=producer, **where, **patience)

                yield send

    def _relay_due(self, send: Callable[[str, int], None]) -> None:
        """Hint at what this process enqueued, and at the latest every second at what is due in any lane."""
        self._wake.wait(_LOOK_SECONDS)
        self._wake.clear()
        with self._lock:
            lanes, self._due = self._due, set()
        if time.monotonic() >= self._look_at:
            lanes |= self._lanes
            self._look_at = time.monotonic() + _LOOK_SECONDS
        for lane in sorted(lanes):
            with self._ledger.read() as c:
                wanting = hints.wanting(c, lane)
            if wanting:
                with self._ledger.begin() as c:
                    tasks = hints.mark(c, lane)
                for task in tasks:
                    send(lane, task)


class _BrokerState:
    """Tells of a change, once: a line in the log and one alert for as long as the broker is away."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._subject = f"broker at {socket.gethostname()[:60]}"
        self._lock = threading.Lock()
        self._told: str | None = None
        """Kind of the error that was told of; empty: that it answers; None: nothing yet."""

    def answers(self) -> None:
        """There is a connection."""
        self._change("")

    def lost(self, error: Exception) -> None:
        """There is none, or it broke. The text of the error is not kept: it may hold the broker's password."""
        self._change(type(error).__name__)

    def _change(self, error: str) -> None:
        with self._lock:
            if self._told is not None and bool(self._told) == bool(error):
                return
            try:
                with self._ledger.begin() as c:
                    alerts.keep(c, AlertKind.HINTS_LOST, self._subject, error)
            except LedgerUnavailable:
                return  # said at the next change or try
            self._told = error
        if error:
            log.warning("hints.broker_lost", error=error, goes_on="by polling the ledger")
        else:
            log.info("hints.broker_answers")
