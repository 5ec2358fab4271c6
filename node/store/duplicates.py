"""SOP Instance UIDs that were received more than once: equal bytes are counted, other bytes kept and flagged.

Other bytes under one UID break PS3.5 9.1 at the sender. A failure status would make it repeat for ever, so the node
answers Success, keeps both files and leaves the decision to a person.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from node.case import Source
from node.store.engine import Connection
from node.store.schema import duplicate_instance
from node.store.upsert import insert


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """One digest under which a case's SOP Instance UID came again."""

    case_id: int
    digest: str
    spool_file: str | None
    """Where the other bytes are kept; None when the bytes are the case's own."""
    differs: bool
    copies: int
    """How often this digest came after the first image of the case."""
    calling_ae: str
    """Who sent it first."""
    first_at: dt.datetime
    last_at: dt.datetime


def count(c: Connection, case_id: int, source: Source, *, differs: bool) -> str | None:
    """Count `source` as a duplicate of the case. Returns the file kept for these bytes, None when they need none."""
    again = {"copies": duplicate_instance.c.copies + 1, "last_at": source.received_at}
    statement = insert(c, duplicate_instance).values(
        case_id=case_id,
        digest=source.digest,
        spool_file=source.spool_file if differs else None,
        differs=differs,
        calling_ae=source.calling_ae,
        first_at=source.received_at,
        last_at=source.received_at,
    )
    counted = statement.on_conflict_do_update(index_elements=["case_id", "digest"], set_=again)
    kept: str | None = c.execute(counted.returning(duplicate_instance.c.spool_file)).scalar_one()
    return kept


def listed(c: Connection, *, case_id: int | None = None, differing: bool | None = None) -> tuple[Duplicate, ...]:
    """List duplicates, oldest first; of one case, or only those with other (or only with equal) bytes."""
    columns = duplicate_instance.c
    wanted = sa.select(duplicate_instance).order_by(columns.id)
    if case_id is not None:
        wanted = wanted.where(columns.case_id == case_id)
    if differing is not None:
        wanted = wanted.where(columns.differs.is_(differing))
    rows = c.execute(wanted).mappings().all()
    return tuple(Duplicate(**{name: row[name] for name in Duplicate.__dataclass_fields__}) for row in rows)
