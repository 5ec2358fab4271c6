"""Our requests for storage commitment and what the archives reported of them.

A request is written before it is asked, so that no report meets an unknown transaction; a repeated report changes
nothing. What follows from a report is decided by `node.proof`.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from node.store.delivery_schema import commitment_asked
from node.store.engine import Connection

_t = commitment_asked.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    transaction_uid: str
    case_id: int
    version: int
    destination: str
    asked_at: dt.datetime
    told_at: dt.datetime | None
    """When the archive first reported; None while it has not."""
    committed: frozenset[str]
    """SOP Instance UIDs it keeps."""
    failures: Mapping[str, int]
    """Failure Reason by SOP Instance UID of those it does not keep."""


def add(c: Connection, transaction_uid: str, *, case_id: int, version: int, destination: str, at: dt.datetime) -> None:
    """Note a request that is about to be made."""
    key = {"case_id": case_id, "version": version, "destination": destination}
    c.execute(sa.insert(commitment_asked).values(transaction_uid=transaction_uid, asked_at=at, **key))


def unsaid(c: Connection, transaction_uid: str) -> None:
    """The request was never made: the archive could not be reached."""
    c.execute(sa.delete(commitment_asked).where(_t.transaction_uid == transaction_uid, _t.told_at.is_(None)))


def tell(
    c: Connection, transaction_uid: str, *, committed: Iterable[str], failures: Mapping[str, int], at: dt.datetime
) -> Asked | None:
    """Record a report, the first one of its transaction; the request it belongs to, None when nobody asked so."""
    found = {"told_at": at, "committed": json.dumps(sorted(committed)), "failures": json.dumps(dict(failures))}
    which = sa.and_(_t.transaction_uid == transaction_uid, _t.told_at.is_(None))
    c.execute(sa.update(commitment_asked).where(which).values(found))
    row = c.execute(sa.select(commitment_asked).where(_t.transaction_uid == transaction_uid)).mappings().first()
    return None if row is None else _asked(row)


def forget(c: Connection, case_id: int, version: int, destination: str) -> None:
    """The delivery was sent anew: what was asked, or told, about an earlier send says nothing of this one.

    Never by comparing times: the clock may have been set back in between.
    """
    c.execute(_FORGET, {"case_id": case_id, "version": version, "destination": destination})


def of_delivery(c: Connection, case_id: int, version: int, destination: str) -> tuple[Asked, ...]:
    """The requests made since the delivery was last sent, oldest first."""
    which = {"case_id": case_id, "version": version, "destination": destination}
    return tuple(_asked(row) for row in c.execute(_OF_DELIVERY, which).mappings().all())


_OF_ONE = [_t[name] == sa.bindparam(name) for name in ("case_id", "version", "destination")]
_FORGET = sa.delete(commitment_asked).where(*_OF_ONE)
_OF_DELIVERY = sa.select(commitment_asked).where(*_OF_ONE).order_by(_t.asked_at)
"""Built once: to build a statement costs more than to run it."""


def _asked(row: sa.RowMapping) -> Asked:
    read = {"committed": frozenset(json.loads(row["committed"])), "failures": json.loads(row["failures"])}
    return Asked(**{**row, **read})
