"""Durable tasks beside the domain rows: the only truth about what must still be done (reception-and-delivery.md 1.3).

Rules: a task is enqueued in the transaction that changes the domain; a claim is a lease plus a fence; no transaction is
open while a handler works; a completion carries the fence, and follow-up work and domain change are in its transaction.
Crashes are counted at the claim, because a killed process reaches no `except`.

Nothing that happens while a task is being done is lost: `touch` and `poke` move its due time, and the completion sees
that it moved and lets the task go round again. So a handler must look at the state of its case first.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from node.store.engine import Connection
from node.store.errors import LostLease
from node.store.notices import announce
from node.store.owners import is_gone
from node.store.schema import task as t
from node.store.task_statements import ANY_DUE, CHECKPOINT, CLAIM, FINISH, MOVED, RELEASED, WAIT, ours, touching
from node.store.upsert import add_new

MAX_ERRORS: Final = 8
"""Real errors after which a task is dead; what asks for a Retry is none."""
MAX_CRASHES: Final = 3
"""Claims that never came back after which a task is dead."""
MAX_BACKOFF_SECONDS: Final = 3600.0

_LIVE = ("todo", "doing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as it was claimed or listed; what it holds may have moved on since."""

    id: int
    lane: str
    kind: str
    key: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    state: str
    """`todo`, `doing`, `done` or `dead`."""
    due_at: float
    """Seconds since 1970."""
    attempts: int
    """Errors so far, plus one for the claim in progress."""
    crashes: int
    """Claims that never came back, plus one for the claim in progress."""
    fence: int
    """Grows with every claim; a completion with an older one is dropped."""
    error: str | None
    """Last error or reason for waiting, without patient data."""


def enqueue(
    c: Connection, kind: str, key: str, *, lane: str, delay: float = 0.0, payload: Mapping[str, Any] | None = None
) -> bool:
    """Add the task `(kind, key)`, due in `delay` seconds. Whether it is new; an existing one is left alone.

    Call it inside the transaction that changes the domain rows.
    """
    now = time.time()
    row = _new_row(kind, key, lane, now + delay, now) | {"payload": json.dumps(payload or {})}
    is_new = add_new(c, t, ("kind", "key"), row) is not None
    if is_new and not delay:
        announce(c, lane)
    return is_new


def touch(c: Connection, kind: str, key: str, *, lane: str, delay: float = 0.0) -> None:
    """Make sure `(kind, key)` is done once more, `delay` seconds from now.

    Missing: added. Waiting: due time moved. Done or dead: opened again with its counters at zero. Being done: it goes
    round again at once when it completes.
    """
    touch_all(c, kind, {key: delay}, lane=lane)


def touch_all(c: Connection, kind: str, delays: Mapping[str, float], *, lane: str) -> None:
    """`touch` every key, each with its delay, in this order: for many, which one by one would take seconds."""
    now = time.time()
    if delays:
        c.execute(touching(c.dialect.name), [_new_row(kind, key, lane, now + d, now) for key, d in delays.items()])
    if not all(delays.values()):
        announce(c, lane)


def poke(c: Connection, kind: str, key: str) -> bool:
    """An event arrived: do `(kind, key)` now, or once more when it is being done. Whether there was such work."""
    now = time.time()
    statement = sa.update(t).where(t.c.kind == kind, t.c.key == key, t.c.state.in_(_LIVE))
    poked = statement.values(due_at=now, hinted_at=None, updated_at=now).returning(t.c.lane)
    lane = c.execute(poked).scalar_one_or_none()
    if lane is not None:
        announce(c, lane)
    return lane is not None


def make_due(c: Connection, lane: str, *, first: Iterable[str] = ()) -> int:
    """Everything that waits in `lane` is due now, in the order it was made, before it the tasks with a key in `first`.

    Called when what the lane waited for is over; how many tasks.
    """
    now = time.time()
    at = sa.case((t.c.key.in_(list(first)), 0.0), else_=now)
    waiting = sa.and_(t.c.lane == lane, t.c.state == "todo")
    moved = c.execute(sa.update(t).where(waiting).values(due_at=at, hinted_at=None, updated_at=now)).rowcount
    announce(c, lane)
    return moved


def drop_lane(c: Connection, lane: str) -> int:
    """Nothing that waits in `lane` is to be done any more; how many tasks."""
    waiting = sa.and_(t.c.lane == lane, t.c.state.in_(("todo", "dead")))
    values = {"state": "done", "error": "dropped with its lane", "updated_at": time.time()}
    return c.execute(sa.update(t).where(waiting).values(values)).rowcount


def any_due(c: Connection, lane: str) -> bool:
    """Whether a claim would find work; for a reader, so that looking takes no write lock."""
    return c.execute(ANY_DUE, {"b_lane": lane, "b_now": time.time()}).first() is not None


def claim(c: Connection, lane: str, limit: int, *, owner: str, lease: float) -> tuple[Task, ...]:
    """Take at most `limit` due tasks of `lane` for `lease` seconds, oldest first; also those whose lease ran out."""
    if limit <= 0:
        return ()
    now = time.time()
    what = {"b_lane": lane, "b_now": now, "b_limit": limit, "b_owner": owner, "b_until": now + lease}
    return tuple(sorted((_task(row) for row in c.execute(CLAIM, what)), key=lambda task: (task.due_at, task.id)))


def renew(c: Connection, tasks: Iterable[Task], *, lease: float) -> None:
    """Move the leases of `tasks` that are still ours to `lease` seconds from now (heartbeat)."""
    until = time.time() + lease
    for task in sorted(tasks, key=lambda task: task.id):  # one order for all hosts: no deadlock between heartbeats
        c.execute(sa.update(t).where(ours(task.id, task.fence)).values(lease_until=until))


def checkpoint(c: Connection, task: Task) -> None:
    """Make sure, inside a transaction that saves an intermediate state, that `task` is still ours.

    Raises:
        LostLease: another worker took it over; let it propagate, so that the transaction is rolled back.

    """
    if c.execute(CHECKPOINT, {"b_id": task.id, "b_fence": task.fence}).rowcount != 1:
        raise LostLease(task.id)


def moved(c: Connection, task: Task) -> bool:
    """Whether `touch` or `poke` came since `task` was claimed: it goes round again. Call it under its fence."""
    return bool(c.execute(MOVED, {"b_id": task.id, "b_due": task.due_at}).scalar_one())


def finish(c: Connection, task: Task) -> bool:
    """`task` is done. False: it was taken over; change nothing else in this transaction."""
    held = {"b_id": task.id, "b_fence": task.fence, "b_now": time.time(), "b_due": task.due_at}
    return c.execute(FINISH, held).rowcount == 1


def retry_later(c: Connection, task: Task, *, after: float, reason: str) -> bool:
    """`task` waits `after` seconds; no failure. Due at once when it was poked meanwhile. False as in `finish`."""
    now = time.time()
    held = {"b_id": task.id, "b_fence": task.fence, "b_now": now, "b_due": task.due_at, "b_after": now + after}
    return c.execute(WAIT, held | {"b_attempts": task.attempts - 1, "b_error": reason}).rowcount == 1


def fail(c: Connection, task: Task, *, error: str) -> bool:
    """`task` had a real error, `error` in words without patient data: tried again after a pause that doubles.

    The caller decides with `exhausted` whether to `bury` it instead. False as in `finish`.
    """
    pause = min(MAX_BACKOFF_SECONDS, 2.0**task.attempts) * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, no secret
    return _complete(c, task, state="todo", due_at=time.time() + pause, error=error)


def exhausted(task: Task) -> bool:
    """Whether one more error of `task` is the last."""
    return task.attempts >= MAX_ERRORS


def bury(c: Connection, task: Task, *, error: str) -> bool:
    """`task` goes to the dead letter until a person takes it up. False as in `finish`."""
    return _complete(c, task, state="dead", error=error)


def operator_retry(c: Connection, task_id: int) -> bool:
    """Take a dead task up again with counters at zero, due now. Whether it was dead."""
    now = time.time()
    fresh = {"state": "todo", "due_at": now, "attempts": 0, "crashes": 0, "hinted_at": None, "updated_at": now}
    dead = sa.update(t).where(t.c.id == task_id, t.c.state == "dead")
    lane = c.execute(dead.values(fresh).returning(t.c.lane)).scalar_one_or_none()
    if lane is not None:
        announce(c, lane)
    return lane is not None


def release_dead_owners(c: Connection) -> int:
    """End the leases of processes of this host that no longer run, so that their work need not wait. How many.

    Call it once when a worker starts. The crash stays counted.
    """
    held = sa.select(t.c.owner).distinct().where(t.c.state == "doing", t.c.owner.is_not(None))
    gone = [owner for owner in c.execute(held).scalars().all() if is_gone(owner)]
    statement = sa.update(t).where(t.c.state == "doing", t.c.owner.in_(gone))
    return c.execute(statement.values(lease_until=None)).rowcount


def get(c: Connection, kind: str, key: str) -> Task | None:
    """Return the task `(kind, key)`."""
    row = c.execute(sa.select(t).where(t.c.kind == kind, t.c.key == key)).first()
    return None if row is None else _task(row)


def being_done(c: Connection, kind: str, key: str) -> bool:
    """Whether somebody holds `(kind, key)` under a lease at this moment."""
    held = sa.and_(t.c.state == "doing", t.c.lease_until >= time.time())
    return c.execute(sa.select(t.c.id).where(t.c.kind == kind, t.c.key == key, held)).first() is not None


def dead_tasks(c: Connection, *, limit: int = 100) -> tuple[Task, ...]:
    """List the dead letter, latest first."""
    rows = c.execute(sa.select(t).where(t.c.state == "dead").order_by(t.c.updated_at.desc(), t.c.id).limit(limit))
    return tuple(_task(row) for row in rows.all())


def count_by_state(c: Connection) -> dict[tuple[str, str], int]:
    """Number of tasks by (lane, state)."""
    rows = c.execute(sa.select(t.c.lane, t.c.state, sa.func.count()).group_by(t.c.lane, t.c.state)).all()
    return {(lane, state): count for lane, state, count in rows}


def _complete(c: Connection, task: Task, **values: Any) -> bool:
    released = RELEASED | {"updated_at": time.time()}
    return c.execute(sa.update(t).where(ours(task.id, task.fence)).values(released | values)).rowcount == 1


def _new_row(kind: str, key: str, lane: str, due_at: float, now: float) -> dict[str, Any]:
    return {"lane": lane, "kind": kind, "key": key, "due_at": due_at, "created_at": now, "updated_at": now}


def _task(row: sa.Row[Any]) -> Task:
    return Task(
        id=row.id,
        lane=row.lane,
        kind=row.kind,
        key=row.key,
        payload=json.loads(row.payload),
        state=row.state,
        due_at=row.due_at,
        attempts=row.attempts,
        crashes=row.crashes,
        fence=row.fence,
        error=row.error,
    )
