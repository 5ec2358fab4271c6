"""Runs the ledger's tasks in this process: per lane one dispatcher thread that claims and a few threads that work.

One claimer per lane, because several on SQLite spend their time in its busy sleep. Lanes do not share threads, so a
dead archive never delays a new image (reception-and-delivery.md P6). No transaction is open while a handler works;
whatever it wants changed it returns, and that happens in the transaction that completes the task, under the fence.

Not allowed here: any word about cases. What a handler means is the caller's; what happens to its task is decided here.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import structlog

from node.dispatch.hints import Hints, Notices
from node.dispatch.running import Lane, Running
from node.errors import FailureCode, GiveUp, Retry
from node.store import alerts, clock_jump, jobs
from node.store.alerts import AlertKind
from node.store.clock_jump import ClockWatch
from node.store.engine import Connection, Ledger
from node.store.errors import LedgerUnavailable, LostLease
from node.store.jobs import Task
from node.store.owners import new_owner

Change: TypeAlias = Callable[[Connection], None]
"""A domain change, pure SQL, run in the transaction that completes the task."""

Handler: TypeAlias = Callable[[Task], Change | None]
"""Does one task, outside any transaction. May raise `Retry` (not yet), `GiveUp` (never), `LostLease` (from
`jobs.checkpoint`); anything else is a real error: tried again up to `jobs.MAX_ERRORS` times."""

OnDead: TypeAlias = Callable[[Connection, Task, GiveUp], None]
"""Runs in the transaction that buries a task. The third value says why, by code and words without patient data: what
the handler gave up with, or WORKER_DIED, or UNEXPECTED after too many errors."""

Gate: TypeAlias = Callable[[Connection, str], bool]
"""Whether a lane may take work now; asked with a reader, only where work is due."""

_WAYS_TO_END = 3
"""The handler's change, the burial, the burial alone; after that the lease runs out and the task comes back."""
_PAUSE_SECONDS = 1.0
_CLOCK_SECONDS = 60.0
"""So often is the ledger searched for what another clock wrote; 100,000 waiting tasks are read in 17 ms (SQLite)."""
_JOIN_SECONDS = 5.0
_log = structlog.get_logger()


class Dispatcher:
    """Claims, runs and completes tasks of the given lanes until it is stopped. Start it once.

    Args:
        ledger: where the tasks are.
        handlers: by kind. A task of another kind counts as an error, so a newer program may still take it.
        lanes: number of threads by lane.
        lease: seconds a claim holds without a heartbeat; the heartbeat comes every sixth of it.
        poll: seconds between looks when nothing wakes a lane; the safety net behind `wake`.
        owner: name of the lease holder; made from host and process when not given.
        on_dead: what else happens when a task is buried.
        max_crashes: workers that may die in a task before it is buried. None where a task cannot be the cause, so that
            a host that restarts often buries no innocent work.
        gate: holds lanes back; what is due there stays where it is, in order, and costs nothing.
        hints: what wakes a lane before the next poll; PostgreSQL's notices when not given.

    """

    def __init__(  # noqa: PLR0913 - each is a decision of the caller, and all but three have a good default
        self,
        ledger: Ledger,
        handlers: Mapping[str, Handler],
        lanes: Mapping[str, int],
        *,
        lease: float = 60.0,
        poll: float = 0.5,
        owner: str | None = None,
        on_dead: OnDead | None = None,
        max_crashes: int | None = jobs.MAX_CRASHES,
        gate: Gate = lambda _c, _lane: True,
        hints: Hints | None = None,
    ) -> None:
        self._ledger = ledger
        self._handlers = dict(handlers)
        self._lease = lease
        self._poll = poll
        self._owner = owner or new_owner()
        self._on_dead = on_dead
        self._max_crashes = max_crashes
        self._gate = gate
        self._hints = hints or Notices(ledger)
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._running = Running(lease)
        self._clock = ClockWatch()
        self._look_again = time.monotonic() + _CLOCK_SECONDS
        self._lanes = {name: Lane(threads) for name, threads in lanes.items()}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """End the leases of dead processes of this host, then start all threads. Returns at once."""
        with self._ledger.begin() as c:
            jobs.release_dead_owners(c)
            clock_jump.heal(c)
        for name, lane in self._lanes.items():
            self._threads.append(_thread(f"{name}-claim", self._dispatch, name, lane))
            self._threads += [_thread(f"{name}-{number}", self._work, lane) for number in range(lane.threads)]
        self._threads.append(_thread("heartbeat", self._heartbeat))
        self._threads.append(_thread("hints", self._hints.follow, tuple(self._lanes), self.wake, self._ended))

    def wake(self, lane: str) -> None:
        """Look for work in `lane` now; call it after the commit that enqueued. A lane not run here is ignored."""
        if lane in self._lanes:
            self._lanes[lane].wake.set()

    def stop(self, drain: float = 30.0) -> bool:
        """Claim nothing more and wait up to `drain` seconds for what is running. Whether all of it ended.

        What did not end keeps its lease, is taken over by another worker when that runs out, and cannot complete twice.
        """
        self._stopping.set()
        for lane in self._lanes.values():
            lane.wake.set()
        drained = self._running.wait_empty(drain)
        self._ended.set()
        for lane in self._lanes.values():
            for _ in range(lane.threads):
                lane.tasks.put(None)
        # The caller closes the ledger next: no thread may still hold a connection of it, unless its handler hangs.
        for thread in self._threads:
            thread.join(_JOIN_SECONDS if drained else 0.1)
        return drained

    def _dispatch(self, name: str, lane: Lane) -> None:
        while not self._stopping.is_set():
            lane.wake.clear()
            claimed = self._claim(name, lane)
            for task in claimed:
                lane.tasks.put(task)
            if not claimed:
                lane.wake.wait(self._poll)

    def _claim(self, name: str, lane: Lane) -> tuple[Task, ...]:
        """Claim as many tasks as threads are free; looks first with a reader, which takes no write lock."""
        try:
            free = lane.threads - self._running.count(name)
            with self._ledger.read() as c:
                if not free or not jobs.any_due(c, name) or not self._gate(c, name):
                    return ()
            with self._ledger.begin() as c:
                claimed = jobs.claim(c, name, free, owner=self._owner, lease=self._lease)
            self._running.add(claimed)
        except Exception as error:  # noqa: BLE001 - outermost loop: a lane that ends here would stop the node silently
            _log.warning("dispatch.claim_failed", lane=name, error=_where(error))
            self._stopping.wait(_PAUSE_SECONDS)
            return ()
        return claimed

    def _work(self, lane: Lane) -> None:
        while (task := lane.tasks.get()) is not None:
            try:
                self._complete(task, self._do(task))
            except Exception as error:  # noqa: BLE001 - outermost loop: the lease runs out and the task comes back
                _log.error("dispatch.not_completed", task=task.id, kind=task.kind, error=_where(error))
            finally:
                self._running.remove(task)
                lane.wake.set()

    def _do(self, task: Task) -> Callable[[Connection], bool] | None:
        """Run the handler and say how the task completes; None when it is no longer ours."""
        if self._crashed_too_often(task):
            died = f"worker died {task.crashes - 1} times in this task; last error: {task.error or 'none'}"
            return self._burial(task, GiveUp(FailureCode.WORKER_DIED, died))
        try:
            change = self._handlers[task.kind](task)
        except Retry as retry:
            after, reason = retry.after, retry.reason
            return lambda c: jobs.retry_later(c, task, after=after, reason=reason)
        except GiveUp as error:
            return self._burial(task, error)
        except LostLease:
            _log.info("dispatch.lost_lease", task=task.id, kind=task.kind)
            return None
        except Exception as error:  # noqa: BLE001 - outermost: what nobody foresaw is recorded and tried again
            return self._error(task, error)
        return lambda c: _finish(c, task, change)

    def _crashed_too_often(self, task: Task) -> bool:
        return self._max_crashes is not None and task.crashes > self._max_crashes

    def _error(self, task: Task, error: Exception) -> Callable[[Connection], bool]:
        text = _where(error)
        _log.warning("dispatch.error", task=task.id, kind=task.kind, key=task.key, attempt=task.attempts, error=text)
        if jobs.exhausted(task):
            return self._burial(task, GiveUp(FailureCode.UNEXPECTED, text))
        return lambda c: jobs.fail(c, task, error=text)

    def _burial(self, task: Task, why: GiveUp) -> Callable[[Connection], bool]:
        def bury(c: Connection) -> bool:
            ours = jobs.bury(c, task, error=str(why))
            if ours and self._on_dead is not None:
                self._on_dead(c, task, why)
            return ours

        _log.error("dispatch.dead", task=task.id, kind=task.kind, key=task.key, error=str(why))
        return bury

    def _complete(self, task: Task, completion: Callable[[Connection], bool] | None) -> None:
        """Commit the completion; while the database is down or the disk full, again for as long as the lease lasts."""
        failed = 0
        while completion is not None:
            try:
                with self._ledger.begin() as c:
                    ours = completion(c)
            except LedgerUnavailable as error:
                _log.warning("dispatch.ledger_unavailable", task=task.id, error=str(error))
                if self._running.lease_ended(task) or self._ended.wait(min(_PAUSE_SECONDS, self._lease / 6)):
                    return
            except LostLease:
                return
            except Exception as error:  # the change itself was wrong; rolled back, so count it as an error
                failed += 1
                if failed == _WAYS_TO_END:
                    raise
                completion = self._after_bad_change(task, error, alone=failed > 1)
            else:
                if not ours:
                    _log.info("dispatch.stale_completion_dropped", task=task.id, kind=task.kind)
                return

    def _after_bad_change(self, task: Task, error: Exception, *, alone: bool) -> Callable[[Connection], bool]:
        """Complete after the domain change raised: an ordinary error, a last one buried; `alone`: without `on_dead`."""
        text = _where(error)
        _log.error("dispatch.change_failed", task=task.id, kind=task.kind, key=task.key, error=text)
        if alone:
            return lambda c: _bury_alone(c, task, text)
        if jobs.exhausted(task) or self._crashed_too_often(task):
            return self._burial(task, GiveUp(FailureCode.UNEXPECTED, text))
        return lambda c: jobs.fail(c, task, error=text)

    def _heartbeat(self) -> None:
        while not self._ended.wait(self._lease / 6):
            tasks = self._running.tasks()
            try:
                self._look_at_clock()
                if tasks:
                    with self._ledger.begin() as c:
                        jobs.renew(c, tasks, lease=self._lease)
                    self._running.renewed(tasks)
            except Exception as error:  # noqa: BLE001 - outermost loop: without a heartbeat every lease would run out
                _log.warning("dispatch.heartbeat_failed", error=_where(error))

    def _look_at_clock(self) -> None:
        """Also now and then: another host's clock may have been set back, and that host be gone."""
        if not self._clock.went_back():
            if time.monotonic() < self._look_again:
                return
            self._look_again = time.monotonic() + _CLOCK_SECONDS
            with self._ledger.read() as c:
                if not clock_jump.any_ahead(c):
                    return
        with self._ledger.begin() as c:
            _log.warning("dispatch.clock_went_back", tasks=clock_jump.heal(c))


def _finish(c: Connection, task: Task, change: Change | None) -> bool:
    ours = jobs.finish(c, task)
    if ours and change is not None:
        change(c)
    return ours


def _bury_alone(c: Connection, task: Task, error: str) -> bool:
    """Bury a task whose `on_dead` raised: what it stands for stays as it is, so a person is told."""
    ours = jobs.bury(c, task, error=error)
    if ours:
        alerts.raise_alert(c, AlertKind.TASK_DEAD, f"task {task.id}", f"{task.kind} {task.key}: {error}")
    return ours


def _thread(name: str, target: Callable[..., None], *args: object) -> threading.Thread:
    # Daemon: a handler that hangs must not keep the process from ending after the drain; its lease does the rest.
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    thread.start()
    return thread


def _where(error: BaseException) -> str:
    """Kind of error and the places it came through. Never its message, which may quote patient data."""
    if isinstance(error, LedgerUnavailable):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}"
