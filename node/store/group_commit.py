"""Many small transactions of one process in one commit: whoever waits while a commit runs rides on the next.

A commit of SQLite costs several fsyncs and only one can run; with 16 senders at once each would wait for 15 others.
Each caller still returns only when its own work is durable, or raises its own error. Work must be statements only: if
one of a group fails, the whole group is rolled back and each is run again alone.

On PostgreSQL two processes' groups can be in each other's way. Each takes its rows in one order, by what its work is
about; where the database had to end one all the same, that one's work is run again, alone.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import sqlalchemy as sa

from node.store.errors import Collision, LedgerUnavailable, StillLocked

T = TypeVar("T")
_TRIES = 5
_PAUSE_SECONDS = (0.01, 0.05)
"""Between tries after a collision: the other one needs a commit's time. Not the same for both."""

_Begin = Callable[[], AbstractContextManager[sa.Connection]]


class GroupCommit:
    """Use `run` from many threads; `begin` opens one write transaction."""

    def __init__(self, begin: _Begin) -> None:
        self._begin = begin
        self._guard = threading.Lock()
        self._turn = threading.Lock()
        self._waiting: list[_Job] = []

    def run(self, work: Callable[[sa.Connection], T], about: str = "") -> T:
        """Run `work`, which writes of what `about` names, in a transaction; return its value once that is committed.

        Raises:
            LedgerUnavailable: as `Ledger.begin`.
            Exception: what `work` raised; nothing of it is stored.

        """
        job = _Job(work, about)
        with self._guard:
            self._waiting.append(job)
        with self._turn:
            if not job.done:  # else the one before us took it along
                with self._guard:
                    group, self._waiting = self._waiting, []
                self._commit(sorted(group, key=lambda one: one.about))
        if job.error is not None:
            raise job.error
        value: T = job.value
        return value

    def _commit(self, group: list[_Job], tries: int = _TRIES) -> None:
        values: list[Any] = []
        try:
            with self._begin() as c:
                for job in group:
                    values.append(job.work(c))  # noqa: PERF401 - how far it came counts
        except LedgerUnavailable as error:
            self._not_now(group, error, tries, at=len(values))
        except Exception as error:  # noqa: BLE001 - told to the one whose work it was
            if len(group) == 1:
                group[0].end(error=error)
            else:
                for job in group:
                    self._commit([job], tries)
        else:
            for job, value in zip(group, values, strict=True):
                job.end(value)

    def _not_now(self, group: list[_Job], error: LedgerUnavailable, tries: int, *, at: int) -> None:
        """Run again what may be run again; `at` is the place of the job that failed, beyond the last if none did."""
        if isinstance(error, Collision) and tries:
            for job in group:
                time.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311 - no secret
                self._commit([job], tries - 1)
            return
        if isinstance(error, StillLocked) and tries and at < len(group):
            group[at].end(error=error)  # it alone needs what somebody holds; the others wait in vain once more at most
            group = [*group[:at], *group[at + 1 :]]
            if group:
                self._commit(group, 0)
            return
        for job in group:
            job.end(error=error)


class _Job:
    def __init__(self, work: Callable[[sa.Connection], Any], about: str) -> None:
        self.work = work
        self.about = about
        self.done = False
        self.value: Any = None
        self.error: Exception | None = LedgerUnavailable("ledger: the transaction came to no end")
        """Until `end`: whoever is not told that its work is committed must never take it for committed."""

    def end(self, value: Any = None, *, error: Exception | None = None) -> None:
        self.value, self.error, self.done = value, error, True
