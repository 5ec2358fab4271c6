"""How often the feeds met what they do not use: coded remarks with their counts, for whoever sets a feed up.

Codes only, never a value: an unused message type, an unknown code, a value without a usable time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from node.store.clinical_schema import feed_remark
from node.store.engine import Connection
from node.store.upsert import insert


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """One code and how often it was met."""

    code: str
    count: int
    first_at: dt.datetime
    last_at: dt.datetime


def add(c: Connection, met: Iterable[tuple[str, int, dt.datetime]]) -> None:
    """Count remarks, in the transaction that writes the facts they came with.

    Args:
        c: a write transaction.
        met: code, how often, and when its message was received; in the order of receipt.

    """
    counted: dict[str, Counted] = {}
    for code, n, at in met:
        before = counted.get(code)
        count, first_at = (before.count, before.first_at) if before else (0, at)
        counted[code] = Counted(code=code, count=count + n, first_at=first_at, last_at=at)
    if not counted:
        return
    statement = insert(c, feed_remark).values([asdict(counted[code]) for code in sorted(counted)])
    sums = {"count": feed_remark.c.count + statement.excluded.count, "last_at": statement.excluded.last_at}
    c.execute(statement.on_conflict_do_update(index_elements=["code"], set_=sums))


def find(c: Connection) -> tuple[Counted, ...]:
    """All of them, the most frequent first."""
    wanted = sa.select(feed_remark).order_by(feed_remark.c.count.desc(), feed_remark.c.code)
    return tuple(Counted(**row) for row in c.execute(wanted).mappings().all())
