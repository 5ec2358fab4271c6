"""What of a reported case has still to be weighed, and by whom: the feed's stir, the flag for a person, a request.

`stir` is made in the transaction that writes the clinical facts; the rest under the fence of the case's task, or by a
person's command.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from node.store.engine import Connection
from node.store.schema import screening_case

_t = screening_case.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What waits to be weighed for one case."""

    stirred_at: dt.datetime | None
    """When the first clinical message came that has not been weighed; None when none did."""
    review: str
    """Code of why a person must look; empty when nobody must."""
    settled: str
    """Digest of the evidence that was flagged, logged or decided on before."""
    amend_asked: str | None
    """The reason of the person who asked for an amendment."""


def pending(c: Connection, case_id: int) -> Pending:
    """What waits for this case."""
    return Pending(**c.execute(_PENDING, {"case_id": case_id}).mappings().one())


def stirred_at(c: Connection, sop_instance_uid: str) -> dt.datetime | None:
    """When the first clinical message came for the case of this image that has not been weighed; None if none did."""
    stirred: dt.datetime | None = c.execute(_STIRRED_AT, {"uid": sop_instance_uid}).scalar_one_or_none()
    return stirred


def stir(c: Connection, *case_ids: int) -> None:
    """A clinical message may concern these cases; the first that has not been weighed yet is noted for each."""
    now = dt.datetime.now(dt.UTC)
    if case_ids:
        c.execute(_STIR, [{"b_case": case_id, "b_now": now} for case_id in case_ids])


def weighed(c: Connection, case_id: int, *, up_to: dt.datetime | None) -> None:
    """What stirred the case until `up_to` was weighed, and what a person asked for was done or found needless."""
    values = {"stirred_at": sa.case((_t.stirred_at == up_to, None), else_=_t.stirred_at), "amend_asked": None}
    c.execute(sa.update(screening_case).where(_t.id == case_id).values(values))


def settle(c: Connection, case_id: int, digest: str) -> None:
    """This evidence was logged or acted on: not again."""
    c.execute(sa.update(screening_case).where(_t.id == case_id).values(settled=digest))


def flag(c: Connection, case_id: int, code: str) -> None:
    """A person must look at the report of this case, `code` says why."""
    c.execute(sa.update(screening_case).where(_t.id == case_id).values(review=code))


def lift(c: Connection, case_id: int) -> None:
    """Nobody need look any more."""
    c.execute(sa.update(screening_case).where(_t.id == case_id).values(review=""))


def ask_amendment(c: Connection, case_id: int, reason: str) -> None:
    """A person wants the report amended with what is known now."""
    c.execute(sa.update(screening_case).where(_t.id == case_id).values(amend_asked=reason))


_PENDING = sa.select(_t.stirred_at, _t.review, _t.settled, _t.amend_asked).where(_t.id == sa.bindparam("case_id"))
_STIRRED_AT = sa.select(_t.stirred_at).where(_t.sop_instance_uid == sa.bindparam("uid"))
_NOW = sa.bindparam("b_now", type_=_t.stirred_at.type)
_STIR = (
    sa.update(screening_case)
    .where(_t.id == sa.bindparam("b_case"))
    .values(stirred_at=sa.func.coalesce(_t.stirred_at, _NOW))
)
"""Built once: to build a statement costs more than to run it."""
