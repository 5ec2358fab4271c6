"""Which due tasks a broker is to hint at: the first ones of each lane, each once a minute at most.

The mark is committed before the hint is sent, so two hosts do not hint at one task; a hint that is lost after that is
given again a minute later, and the poll of the ledger does not wait for it.
"""

from __future__ import annotations

import time
from typing import Final

import sqlalchemy as sa

from node.store.engine import Connection
from node.store.schema import task as t
from node.store.task_statements import claimable

OUTSTANDING: Final = 16
"""Hints of one lane that are under way at once: a backlog is worked off without any."""
AGAIN_SECONDS: Final = 60.0


def wanting(c: Connection, lane: str) -> bool:
    """Whether `mark` would find a task; for a reader, so that looking takes no write lock."""
    now = time.time()
    first = _first(lane, now).subquery()
    wanted = sa.select(first.c.id).where(_unhinted(first.c.hinted_at, now)).limit(1)
    return c.execute(wanted).first() is not None


def mark(c: Connection, lane: str) -> tuple[int, ...]:
    """Mark the due tasks of `lane` that are to be hinted at now; their numbers, to be sent once this is committed."""
    now = time.time()
    first = _first(lane, now).with_for_update(skip_locked=True).cte("first")
    hinted = sa.update(t).where(t.c.id.in_(sa.select(first.c.id)), _unhinted(t.c.hinted_at, now))
    return tuple(sorted(c.execute(hinted.values(hinted_at=now).returning(t.c.id)).scalars().all()))


def _first(lane: str, now: float) -> sa.Select[tuple[int, float | None]]:
    due = sa.select(t.c.id, t.c.hinted_at).where(t.c.lane == lane, claimable(now))
    return due.order_by(t.c.due_at).limit(OUTSTANDING)  # as `task_statements`: no further than the partial index


def _unhinted(hinted_at: sa.ColumnElement[float | None], now: float) -> sa.ColumnElement[bool]:
    return sa.or_(hinted_at.is_(None), hinted_at < now - AGAIN_SECONDS)
