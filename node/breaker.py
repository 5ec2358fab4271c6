"""A destination that is away: nothing is sent, it is asked by C-ECHO, and when it is back it is not felled again.

Five associations in a row that do not come about open the breaker of that one destination. Its lane is then held back
in the ledger: the backlog keeps its order, holds no thread and costs no tries. One C-ECHO an interval finds out when it
answers; then all that waits is due in the order it was made, at a bounded rate until the lane is empty. A destination
that a person paused is held back in the same way.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from config.settings import Delivery, Destination
from dicom_io.echo_scu import verify
from dicom_io.errors import PeerRefused, PeerUnavailable
from node.errors import Retry
from node.store import alerts, delivery_list, destinations, jobs, outbox
from node.store.alerts import AlertKind
from node.store.destinations import Breaker
from node.store.engine import Connection, Ledger
from node.store.jobs import Task
from node.tasks import PROBE, PROBE_LANE, deliver_key, destination_lane

_NET = destination_lane("")

log = structlog.get_logger()


def lane_flows(c: Connection, lane: str) -> bool:
    """Gate of the dispatcher: whether the lane of a destination may take work."""
    return not lane.startswith(_NET) or destinations.get(c, lane.removeprefix(_NET)).flows


def count_failure(c: Connection, name: str, settings: Delivery, at: dt.datetime) -> None:
    """An association did not come about; when it was one too many, begin to ask by C-ECHO."""
    if destinations.count_failure(c, name, limit=settings.breaker_failures, at=at):
        jobs.touch(c, PROBE, name, lane=PROBE_LANE, delay=settings.probe_seconds)
        alerts.raise_alert(c, AlertKind.DESTINATION_DOWN, subject(name), "no association")
        log.error("destination.down", destination=name)


def release(c: Connection, name: str, at: dt.datetime) -> None:
    """What waits for `name` goes out, withdrawals first, then in the order it was made, at a bounded rate."""
    destinations.recover(c, name, at=at)
    urgent = (deliver_key(case_id, version, name) for case_id, version in delivery_list.withdrawing(c, name))
    jobs.make_due(c, destination_lane(name), first=urgent)
    alerts.settle(c, AlertKind.DESTINATION_DOWN, subject(name))


def keep_asking(c: Connection, settings: Delivery) -> None:
    """Have every destination asked that is taken for away, whatever became of its task. Call it at start."""
    for state in destinations.all_of(c):
        if state.breaker is Breaker.OPEN:
            jobs.touch(c, PROBE, state.name, lane=PROBE_LANE, delay=min(1.0, settings.probe_seconds))


def end_recovery(c: Connection, name: str, at: dt.datetime) -> None:
    """Lift the bounded rate when nothing more is due there."""
    if not jobs.any_due(c, destination_lane(name)):
        destinations.recovered(c, name, at=at)
        log.info("destination.recovered", destination=name)


def subject(name: str) -> str:
    """Of an alert about a destination."""
    return f"destination {name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prober:
    """Handles `PROBE` tasks. `now` gives the aware time."""

    ledger: Ledger
    settings: Delivery
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)

    def probe(self, task: Task) -> Callable[[Connection], None] | None:
        """Ask the destination whether it is there.

        Raises:
            Retry: it is not; again after an interval.

        """
        destination = next((d for d in self.settings.destinations if d.name == task.key), None)
        with self.ledger.read() as c:
            still_open = destinations.get(c, task.key).breaker is Breaker.OPEN
        if destination is None or not still_open:
            return None
        if self._answers(destination):
            log.info("destination.back", destination=task.key)
            return lambda c: release(c, task.key, self.now())
        self._put_overdue_before_a_person(task)
        raise Retry(self.settings.probe_seconds, f"{task.key}: no answer to C-ECHO")

    def _answers(self, destination: Destination) -> bool:
        """A refusal is an answer: what it refuses is found out, and told, by the deliveries themselves."""
        try:
            verify(destination, self.settings)
        except PeerUnavailable:
            return False
        except PeerRefused:
            return True
        return True

    def _put_overdue_before_a_person(self, task: Task) -> None:
        before = self.now() - dt.timedelta(hours=self.settings.retry_hours)
        error = f"{task.key}: not reachable for {self.settings.retry_hours:g} h"
        with self.ledger.begin() as c:
            jobs.checkpoint(c, task)
            overdue = outbox.refuse_overdue(c, task.key, before=before, error=error)
            if overdue:
                alerts.raise_alert(c, AlertKind.DELIVERY_REFUSED, subject(task.key), f"{overdue} overdue: {error}")


class Pace:
    """Bounds how often something begins, over all threads of this process."""

    def __init__(self, rate: float) -> None:
        """`rate` a second."""
        self._interval = 1.0 / rate
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Return when the next one may begin."""
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next)
            self._next = at + self._interval
        time.sleep(at - now)


def watch_removed(c: Connection, names: Iterable[str]) -> None:
    """Alert to deliveries whose destination is no longer in the settings; settled when it is there again."""
    known = frozenset(names)
    waiting = delivery_list.unresolved(c)
    for name, count in waiting.items():
        if name not in known:
            alerts.raise_alert(c, AlertKind.DESTINATION_REMOVED, subject(name), f"{count} deliveries wait")
    for name in known:
        alerts.settle(c, AlertKind.DESTINATION_REMOVED, subject(name))
