"""The versions of a case's report and what each rests on: persons and observation versions of the clinical store.

Rows are added in the transaction that freezes the version's bytes and never changed, so that "what was used" can be
compared with "what would be used now" whenever the clinical store says something new.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.case import Basis, Cause
from node.store.clinical_schema import observation
from node.store.engine import Connection
from node.store.outbox import DeliveryState
from node.store.schema import case_patient, delivery, outbox_object, screening_case
from node.store.version_schema import report_version, used_observation, used_person

OPEN_STATES = ("Received", "ImageScored", "Matched", "Screened")
REPORTED_STATES = ("Reported", "Delivered")
_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version as it was recorded."""

    version: int
    basis: Basis
    made_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Concerned:
    """A case that news could matter to."""

    case_id: int
    reported: bool
    stirred_at: dt.datetime | None
    """Since when news for it wait to be weighed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenSr:
    """The frozen SR of a version."""

    version: int
    part10: bytes


def record(c: Connection, case_id: int, version: int, basis: Basis) -> None:
    """Record a new version; in the transaction that saves the case as reported."""
    now = dt.datetime.now(dt.UTC)
    key = {"case_id": case_id, "version": version}
    c.execute(_ADD, {**key, "cause": basis.cause, "changed": basis.changed, "made_at": now})
    used = ((_ADD_PERSON, "person_id", basis.persons), (_ADD_OBSERVATION, "observation_id", basis.observations))
    for add, column, values in used:
        if values:
            c.execute(add, [{**key, column: value} for value in sorted(set(values))])


def all_of(c: Connection, case_id: int) -> tuple[Version, ...]:
    """Every version of a case, oldest first."""
    t = report_version.c
    rows = c.execute(sa.select(report_version).where(t.case_id == case_id).order_by(t.version)).all()
    return tuple(
        Version(
            version=row.version,
            basis=Basis(
                cause=Cause(row.cause),
                changed=row.changed,
                persons=_used(c, used_person, case_id, row.version),
                observations=_used(c, used_observation, case_id, row.version),
            ),
            made_at=row.made_at,
        )
        for row in rows
    )


def newest(c: Connection, case_id: int) -> int:
    """Number of the newest version; 0 before the first report."""
    found = c.execute(sa.select(sa.func.max(report_version.c.version)).where(report_version.c.case_id == case_id))
    return int(found.scalar() or 0)


def released(c: Connection, case_id: int) -> tuple[int, ...]:
    """Versions of which at least one destination has or may have some object, oldest first."""
    d = delivery.c
    left = sa.or_(d.state == DeliveryState.DELIVERED, d.uncertain)
    return tuple(
        c.execute(sa.select(d.version).distinct().where(d.case_id == case_id, left).order_by(d.version)).scalars()
    )


def documents(c: Connection, case_id: int) -> tuple[FrozenSr, ...]:
    """The frozen SRs of a case, oldest first."""
    t = outbox_object.c
    wanted = sa.select(t.version, t.part10).where(t.case_id == case_id, t.kind == "sr").order_by(t.version)
    rows = c.execute(wanted).all()
    return tuple(FrozenSr(version=r.version, part10=r.part10) for r in rows)


def standing(c: Connection, observations: Iterable[int]) -> bool:
    """Whether none of these observation versions was corrected or taken back since."""
    wanted = set(observations)
    t = observation.c
    still = sa.select(sa.func.count()).where(t.id.in_(wanted), t.superseded_at.is_(None), t.usable)
    return not wanted or c.execute(still).scalar_one() == len(wanted)


def concerned(
    c: Connection, patient_ids: Iterable[str], persons: Iterable[int], observations: Iterable[int]
) -> tuple[Concerned, ...]:
    """Every case these could matter to, in the order of their numbers: a hint for waking, never a match."""
    found: set[int] = set()
    for table, column, values in (
        (case_patient, "patient_id", sorted({value[:64] for value in patient_ids if value})),
        (used_person, "person_id", sorted(set(persons))),
        (used_observation, "observation_id", sorted(set(observations))),
    ):
        for batch in _batches(values):
            found.update(c.execute(sa.select(table.c.case_id).where(table.c[column].in_(batch))).scalars())
    t = screening_case.c
    states = (*OPEN_STATES, *REPORTED_STATES)
    cases: list[Concerned] = []
    for batch in _batches(sorted(found)):
        wanted = sa.select(t.id, t.state, t.stirred_at).where(t.id.in_(batch), t.state.in_(states)).order_by(t.id)
        cases += [
            Concerned(case_id=row.id, reported=row.state in REPORTED_STATES, stirred_at=row.stirred_at)
            for row in c.execute(wanted)
        ]
    return tuple(cases)


def first_reported_since(c: Connection, since: dt.datetime) -> tuple[int, ...]:
    """Reported cases whose first version was made since then, oldest first."""
    t, case = report_version.c, screening_case.c
    recent = sa.and_(t.version == 1, t.made_at >= since, case.state.in_(REPORTED_STATES))
    wanted = sa.select(case.id).join(report_version, t.case_id == case.id).where(recent).order_by(case.id)
    return tuple(c.execute(wanted).scalars())


def fate(c: Connection, case_id: int, version: int) -> str:
    """`current`, `superseded` (an earlier version that left the node) or `dropped` (one that never did)."""
    if version == newest(c, case_id):
        return "current"
    return "superseded" if version in released(c, case_id) else "dropped"


_ADD = sa.insert(report_version)
_ADD_PERSON, _ADD_OBSERVATION = sa.insert(used_person), sa.insert(used_observation)
"""Built once: to build a statement costs more than to run it."""


def _batches(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """A file of a million rows names more than one statement can hold."""
    return (values[start : start + _BATCH] for start in range(0, len(values), _BATCH))


def _used(c: Connection, table: sa.Table, case_id: int, version: int) -> tuple[int, ...]:
    column = list(table.c)[2]
    where = sa.and_(table.c.case_id == case_id, table.c.version == version)
    return tuple(c.execute(sa.select(column).where(where).order_by(column)).scalars())
