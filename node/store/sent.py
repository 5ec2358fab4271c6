"""Which object is where: one row per destination and object, written before the first send.

It tells what a retry need not send again, what a rejection note must name, by which SOP class, and how often an object
went out. Whether a version is delivered is told by `outbox`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import sqlalchemy as sa

from node.store.delivery_schema import sent_object
from node.store.engine import Connection
from node.store.upsert import add_missing, insert_into

_t = sent_object.c


@dataclass(frozen=True, slots=True, kw_only=True)
class SentObject:
    """One object at, or on its way to, one destination."""

    destination: str
    case_id: int
    version: int
    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    sends: int = 0
    """How often it was begun to be sent; 0: meant for this destination, and not sent yet."""
    stored: bool = False
    """The destination answered that it is stored, and nobody found it missing since."""
    status: int | None = None
    """DIMSE status last answered."""


def assign(c: Connection, items: Iterable[SentObject]) -> None:
    """Note that these objects are meant for their destinations; ones that are noted already stay as they are."""
    now = dt.datetime.now(dt.UTC)
    add_missing(c, sent_object, [_row(item) | {"at": now} for item in items])


def begin(c: Connection, items: Iterable[SentObject]) -> None:
    """These objects are sent now: from here on the destination may have them."""
    now = dt.datetime.now(dt.UTC)
    if rows := [_row(item) | {"sends": 1, "at": now} for item in items]:
        c.execute(_begin(c.dialect.name), rows)


def not_begun(c: Connection, destination: str, instances: Iterable[str]) -> None:
    """The send ended before it came to these objects: as far as it goes, the destination has nothing of them."""
    which = sa.and_(_t.destination == destination, _t.sop_instance_uid.in_(list(instances)), _t.sends > 0)
    c.execute(sa.update(sent_object).where(which).values(sends=_t.sends - 1))


def answered(c: Connection, destination: str, stored: Mapping[str, int], refused: Mapping[str, int]) -> None:
    """Record what was answered, DIMSE status by SOP Instance UID."""
    now = dt.datetime.now(dt.UTC)
    rows = [
        {"b_destination": destination, "b_instance": instance, "stored": is_stored, "status": status, "at": now}
        for is_stored, answers in ((True, stored), (False, refused))
        for instance, status in answers.items()
    ]
    if rows:
        c.execute(_ANSWERED, rows)


def missing(c: Connection, destination: str, instances: Iterable[str]) -> None:
    """The destination does not keep these objects: they are to be sent again."""
    which = sa.and_(_t.destination == destination, _t.sop_instance_uid.in_(list(instances)))
    c.execute(sa.update(sent_object).where(which).values(stored=False))


def of_case(c: Connection, case_id: int, *, destination: str | None = None) -> tuple[SentObject, ...]:
    """What was sent of a case, or is meant to be, by destination and version."""
    wanted = _OF_CASE if destination is None else _OF_CASE_THERE
    rows = c.execute(wanted, {"case_id": case_id, "destination": destination}).mappings().all()
    return tuple(SentObject(**row) for row in rows)


_NAMES = ("destination", "case_id", "version", "kind", "sop_class_uid", "sop_instance_uid", "sends", "stored", "status")

# Built once: to build a statement costs more than to run it.
_OF_CASE = (
    sa.select(*(_t[name] for name in _NAMES))
    .where(_t.case_id == sa.bindparam("case_id"))
    .order_by(_t.destination, _t.version, _t.kind, _t.sop_instance_uid)
)
_OF_CASE_THERE = _OF_CASE.where(_t.destination == sa.bindparam("destination"))
_ANSWERED = (
    sa.update(sent_object)
    .where(_t.destination == sa.bindparam("b_destination"), _t.sop_instance_uid == sa.bindparam("b_instance"))
    .values({name: sa.bindparam(name) for name in ("stored", "status", "at")})
)


@cache
def _begin(dialect: str) -> sa.Insert:
    new = insert_into(dialect, sent_object)
    again = {"sends": _t.sends + 1, "at": new.excluded.at}
    return new.on_conflict_do_update(index_elements=["destination", "sop_instance_uid"], set_=again)


def _row(item: SentObject) -> dict[str, object]:
    return {name: getattr(item, name) for name in _NAMES if name not in ("sends", "stored", "status")}
