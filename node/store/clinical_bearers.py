"""Which values of a person are somebody else's, because the number stood for somebody else when they came.

A hospital gives a number to another patient, or sends an update under the wrong one: the demographics are replaced and
the rows of the former bearer hang on the number still. Such a value must not be joined to the new bearer, nor may a
body size be judged by it. Nothing is rewritten: once the demographics are put right, the values count again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import sqlalchemy as sa

from node.names import VETO, conflicts
from node.store.clinical_persons import identity_of
from node.store.clinical_schema import observation, person_demographics, person_identifier
from node.store.metadata import UtcDateTime

_d, _o, _i = person_demographics.c, observation.c, person_identifier.c


def of_others(c: sa.Connection, person_keys: Iterable[int], known_at: dt.datetime | None = None) -> frozenset[int]:
    """Observations of these persons that came while demographics stood that contradict those known at `known_at`.

    None: now. A value counts as come when its first version was recorded, be it before anything was stated of the
    person: then it is the first bearer's.
    """
    found: set[int] = set()
    for person_key, (*former, now) in _statements(c, person_keys, known_at).items():
        foreign = [r for r in former if conflicts(identity_of(r), identity_of(now)) >= VETO]
        spans = [(None if r is former[0] else r.recorded_at, r.superseded_at) for r in foreign]
        if spans:
            found.update(c.execute(_first_recorded(person_key, spans)).scalars())
    return frozenset(found)


_CHANGED = _d.person_id.in_(sa.bindparam("persons", expanding=True)), _d.superseded_at.is_not(None)
_STATEMENTS = (
    sa.select(person_demographics).where(_d.person_id.in_(sa.select(_d.person_id).where(*_CHANGED))).order_by(_d.id)
)
_KNOWN_STATEMENTS = _STATEMENTS.where(_d.recorded_at <= sa.bindparam("known_at", type_=UtcDateTime))


def _statements(
    c: sa.Connection, person_keys: Iterable[int], known_at: dt.datetime | None
) -> dict[int, list[sa.Row[tuple[object, ...]]]]:
    """Everything stated of those of these persons of whom more than one thing was, oldest first."""
    statements = _STATEMENTS if known_at is None else _KNOWN_STATEMENTS
    rows = c.execute(statements, {"persons": list(person_keys), "known_at": known_at}).all()
    found: dict[int, list[sa.Row[tuple[object, ...]]]] = {}
    for row in rows:
        found.setdefault(row.person_id, []).append(row)
    return found


def _first_recorded(person_key: int, spans: Iterable[tuple[dt.datetime | None, dt.datetime]]) -> sa.Select[int]:
    """Every version of the person's observations whose first version was recorded within one of these spans."""
    earlier = observation.alias()
    same = sa.and_(earlier.c.key == _o.key, earlier.c.identifier_id == _o.identifier_id)
    first = sa.select(sa.func.min(earlier.c.recorded_at)).where(same).scalar_subquery()
    within = [sa.and_(first < until, sa.true() if since is None else first >= since) for since, until in spans]
    theirs = sa.select(_i.id).where(_i.person_id == person_key)
    return sa.select(_o.id).where(_o.identifier_id.in_(theirs), sa.or_(*within))
