"""Deliveries as those who look after the archives ask for them: how many wait where, since when, and for what.

Only counts and lists; a delivery is changed by `outbox`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from node.case import Cause
from node.store.engine import Connection
from node.store.outbox import OPEN, UNRESOLVED, DeliveryState
from node.store.schema import delivery
from node.store.version_schema import report_version

UNPROVED = "c-store"
"""Proof of a delivery that rests on the answers to C-STORE alone."""
_t = delivery.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many report versions are how far with one destination."""

    destination: str
    waiting: int = 0
    sent: int = 0
    """Answered for; the proof is awaited."""
    refused: int = 0
    proved: int = 0
    unproved: int = 0
    """Delivered on the word of the C-STORE answers alone."""
    cancelled: int = 0
    dropped: int = 0
    oldest: dt.datetime | None = None
    """Since when the oldest of those that wait, or await their proof, does."""


def counts(c: Connection) -> tuple[Counts, ...]:
    """Count the deliveries of every destination that ever had one, by name."""
    columns = (_t.destination, _t.state, (_t.proof == UNPROVED).label("word"), sa.func.count().label("number"))
    wanted = sa.select(*columns, sa.func.min(_t.since).label("oldest"))
    rows = c.execute(wanted.group_by(_t.destination, _t.state, _t.proof == UNPROVED)).all()
    found: dict[str, dict[str, int]] = {}
    oldest: dict[str, dt.datetime] = {}
    for row in rows:
        name = ("unproved" if row.word else "proved") if row.state == DeliveryState.DELIVERED else row.state
        of_one = found.setdefault(row.destination, {})
        of_one[name] = of_one.get(name, 0) + row.number
        if row.state in OPEN:
            oldest[row.destination] = min(row.oldest, oldest.get(row.destination, row.oldest))
    return tuple(Counts(destination=name, oldest=oldest.get(name), **found[name]) for name in sorted(found))


def unresolved(c: Connection) -> dict[str, int]:
    """Number of deliveries that are still to be made, by destination."""
    wanted = sa.select(_t.destination, sa.func.count()).where(_t.state.in_(UNRESOLVED)).group_by(_t.destination)
    return {row.destination: row[1] for row in c.execute(wanted)}


def withdrawing(c: Connection, destination: str) -> tuple[tuple[int, int], ...]:
    """(case, version) of the deliveries under way there that withdraw a report."""
    v = report_version.c
    withdraws = sa.and_(v.case_id == _t.case_id, v.version == _t.version, v.cause == Cause.WITHDRAWAL)
    wanted = sa.select(_t.case_id, _t.version).join(report_version, withdraws)
    rows = c.execute(wanted.where(_t.destination == destination, _t.state == DeliveryState.WAITING)).all()
    return tuple((row.case_id, row.version) for row in rows)
