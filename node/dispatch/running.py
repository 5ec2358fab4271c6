"""What a dispatcher keeps in memory: its lanes, and the tasks it holds with the time until which each lease lasts.

Only a process's own view: the ledger decides, by the fence, whose a task is.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable

from node.store.jobs import Task


class Lane:
    """Number of threads, claimed tasks on their way to one, and the alarm clock of the claiming thread."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.wake = threading.Event()
        self.tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()


class Running:
    """The tasks this process has claimed and not yet completed; safe to use from all threads.

    A claim is known by task and fence: a task that was lost and claimed again here is two of them.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._held: dict[tuple[int, int], tuple[Task, float]] = {}
        self._changed = threading.Condition()

    def add(self, tasks: Iterable[Task]) -> None:
        """Take note of fresh claims; their leases last from now (monotonic clock, so a clock jump changes nothing)."""
        until = time.monotonic() + self._lease
        with self._changed:
            self._held.update({(task.id, task.fence): (task, until) for task in tasks})

    def renewed(self, tasks: Iterable[Task]) -> None:
        """Take note that the leases of `tasks` were renewed; those completed meanwhile are left out."""
        until = time.monotonic() + self._lease
        with self._changed:
            held = [task for task in tasks if (task.id, task.fence) in self._held]
            self._held.update({(task.id, task.fence): (task, until) for task in held})

    def remove(self, task: Task) -> None:
        """`task` is completed, or no longer ours."""
        with self._changed:
            self._held.pop((task.id, task.fence), None)
            self._changed.notify_all()

    def tasks(self) -> tuple[Task, ...]:
        """Return all claims held."""
        with self._changed:
            return tuple(task for task, _ in self._held.values())

    def count(self, lane: str) -> int:
        """Number of claims held in `lane`."""
        return sum(task.lane == lane for task in self.tasks())

    def lease_ended(self, task: Task) -> bool:
        """Whether the lease of a claim ran out without a heartbeat."""
        with self._changed:
            return time.monotonic() > self._held[task.id, task.fence][1]

    def wait_empty(self, seconds: float) -> bool:
        """Wait until nothing is held, at most `seconds`. Whether nothing is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._held, seconds)
