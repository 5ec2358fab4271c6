"""Periodic work that is done once whoever asks: the clock of every host enqueues it under the slot of time it is for.

The ledger lets one row win, and gives the work a retry, a history and a place to ask for it by hand
(reception-and-delivery.md P8). Nothing of it runs in the scheduler's own thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from node.errors import GiveUp
from node.store import alerts, jobs
from node.store.alerts import AlertKind
from node.store.engine import Connection, Ledger
from node.store.jobs import Task
from node.tasks import HOUSEKEEPING, HOUSEKEEPING_LANE

RETENTION: Final = "retention"
"""Let go what has served its time (`node.retention`)."""
RECONCILE: Final = "reconcile"
"""Compare archive and ledger (`node.reconcile`)."""
INBOX: Final = "inbox"
"""Delete HL7 messages that were worked off and are older than the settings keep."""
MEDIANS: Final = "medians"
"""Look whether a feed's values have moved (`node.drift`)."""
SPOOL: Final = "spool"
"""Adopt what a listener of the fleet stored and could not record, and clear up after hosts that are gone."""

_ASKED: Final = "asked"
"""The slot of what a person asks for."""
DAY_SECONDS: Final = 86_400
HOUR_SECONDS: Final = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Housekeeper:
    """Handles `HOUSEKEEPING` tasks. `work` and `hourly` are the periodic jobs by name, each safe to repeat."""

    ledger: Ledger
    work: Mapping[str, Callable[[], object]]
    """Once a day."""
    hourly: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    """Once an hour."""

    def ask_daily(self) -> None:
        """Have every daily job done once for this day (UTC); call it as often as you like."""
        self._ask(self.work, int(time.time() // DAY_SECONDS))

    def ask_hourly(self) -> None:
        """Have every hourly job done once for this hour; call it as often as you like."""
        self._ask(self.hourly, int(time.time() // HOUR_SECONDS))

    def do(self, task: Task) -> None:
        """Do what a task names. A name this release does not know is an error: a newer one may."""
        name = _name(task)
        {**self.work, **self.hourly}[name]()
        with self.ledger.begin() as c:
            alerts.settle(c, AlertKind.TASK_DEAD, name)

    def bury(self, c: Connection, task: Task, why: GiveUp) -> None:
        """A job was given up for this time: a person is told, until it succeeds again."""
        alerts.raise_alert(c, AlertKind.TASK_DEAD, _name(task), str(why))

    def _ask(self, names: Iterable[str], slot: int) -> None:
        with self.ledger.begin() as c:
            for name in names:
                jobs.enqueue(c, HOUSEKEEPING, f"{name}:{slot}", lane=HOUSEKEEPING_LANE)


def ask_now(c: Connection, name: str) -> None:
    """Have the running node do a job as soon as it can, once more if it is doing it."""
    jobs.touch(c, HOUSEKEEPING, f"{name}:{_ASKED}", lane=HOUSEKEEPING_LANE)


def _name(task: Task) -> str:
    return task.key.partition(":")[0]
