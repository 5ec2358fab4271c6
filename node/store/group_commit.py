"""Many small transactions of one process in one commit: whoever waits while a commit runs rides on the next.

A commit of SQLite costs several fsyncs and only one can run; with 16 senders at once each would wait for 15 others.
Each caller still returns only when its own work is durable, or raises its own error. Work must be statements only: if
one of a group fails, the whole group is rolled back and each is run again alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import sqlalchemy as sa

from node.store.errors import LedgerUnavailable

T = TypeVar("T")
_Begin = Callable[[], AbstractContextManager[sa.Connection]]


class GroupCommit:
    """Use `run` from many threads; `begin` opens one write transaction."""

    def __init__(self, begin: _Begin) -> None:
        self._begin = begin
        self._guard = threading.Lock()
        self._turn = threading.Lock()
        self._waiting: list[_Job] = []

    def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in a transaction and return its value once it is committed.

        Raises:
            LedgerUnavailable: as `Ledger.begin`.
            Exception: what `work` raised; nothing of it is stored.

        """
        job = _Job(work)
        with self._guard:
            self._waiting.append(job)
        with self._turn:
            if not job.done:  # else the one before us took it along
                with self._guard:
                    group, self._waiting = self._waiting, []
                self._commit(group)
        if job.error is not None:
            raise job.error
        value: T = job.value
        return value

    def _commit(self, group: list[_Job]) -> None:
        try:
            with self._begin() as c:
                values = [job.work(c) for job in group]
        except LedgerUnavailable as error:
            for job in group:
                job.end(error=error)
        except Exception as error:  # noqa: BLE001 - told to the one whose work it was
            if len(group) == 1:
                group[0].end(error=error)
            else:
                for job in group:
                    self._commit([job])
        else:
            for job, value in zip(group, values, strict=True):
                job.end(value)


class _Job:
    def __init__(self, work: Callable[[sa.Connection], Any]) -> None:
        self.work = work
        self.done = False
        self.value: Any = None
        self.error: Exception | None = LedgerUnavailable("ledger: the transaction came to no end")
        """Until `end`: whoever is not told that its work is committed must never take it for committed."""

    def end(self, value: Any = None, *, error: Exception | None = None) -> None:
        self.value, self.error, self.done = value, error, True
