"""A patient's body sizes held against each other, in the ledger: `node.plausibility` for what a transaction touched.

A verdict is a version like any other: the contradicted row is closed and stands again with its reason, and a later
value that bears it out opens it anew. What a sender stated is compared without the verdict, so that resending writes
nothing.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, Final, TypeAlias

import sqlalchemy as sa

from node.facts import Change, ChangeKind
from node.plausibility import HEIGHT, VERDICTS, WEIGHT, Measured, judge
from node.store import clinical_persons as persons
from node.store.clinical_bearers import of_others
from node.store.clinical_schema import observation, person_identifier

SIZES: Final = frozenset({WEIGHT, HEIGHT})
"""Variables that are held against each other."""
_PERSONS_AT_ONCE: Final = 500
_Size: TypeAlias = sa.Row[*tuple[Any, ...]]
"""Number, variable, end, value, reason and person of a stored body size: few columns, as a file brings many rows."""


def as_stated(columns: Sequence[str], content: Sequence[object]) -> tuple[object, ...]:
    """The content of a stored version as the sender stated it, before other values spoke against it."""
    row = dict(zip(columns, content, strict=True))
    if row["reason"] in VERDICTS:
        row |= {"usable": True, "reason": ""}
    return tuple(row.values())


def rejudge(c: sa.Connection, person_keys: Collection[int], at: dt.datetime) -> tuple[Change, ...]:
    """Judge the weights and heights of these persons, merged ones included, and write what changed. All is flushed."""
    changes: list[Change] = []
    roots = sorted(set(persons.roots(c, person_keys).values()))
    for first in range(0, len(roots), _PERSONS_AT_ONCE):
        for sizes in _series(c, roots[first : first + _PERSONS_AT_ONCE]):
            verdicts = judge(_measured(sizes, WEIGHT), _measured(sizes, HEIGHT))
            for size in sizes:
                reason = str(verdicts.get(size.id, ""))
                if size.reason != reason:
                    changes += _write(c, size, reason, at)
    return tuple(changes)


def _series(c: sa.Connection, roots: Sequence[int]) -> list[list[_Size]]:
    """Per patient the open body sizes that are sound by themselves, without those of who bore the number before."""
    of = _patients(c, roots)
    foreign = of_others(c, of)
    t, i = observation.c, person_identifier.c
    found = c.execute(
        sa.select(t.id, t.variable, t.end_at, t.value, t.reason, i.person_id)
        .join_from(observation, person_identifier, i.id == t.identifier_id)
        .where(
            i.person_id.in_(list(of)),
            t.variable.in_(sorted(SIZES)),
            t.superseded_at.is_(None),
            t.value.is_not(None),
            t.reason.in_(["", *sorted(VERDICTS)]),
        )
    )
    series: defaultdict[int, list[_Size]] = defaultdict(list)
    for size in found:
        if size.id in foreign:
            continue
        series[of[size.person_id]].append(size)
    return list(series.values())


def _patients(c: sa.Connection, roots: Sequence[int]) -> dict[int, int]:
    """Persons read as one of these, each with the one whose values it shares: as `node.matching` combines them."""
    of = persons.roots(c, persons.groups(c, roots))
    return {key: key if key != root and _born_apart(c, key, root) else root for key, root in of.items()}


def _born_apart(c: sa.Connection, *keys: int) -> bool:
    stated = [persons.demographics(c, key) for key in keys]
    return len({s[0].birth_date for s in stated if s is not None} - {None}) > 1


def _measured(sizes: Sequence[_Size], variable: str) -> list[Measured]:
    return [Measured(id=s.id, at=s.end_at, value=s.value) for s in sizes if s.variable == variable]


def _write(c: sa.Connection, size: _Size, reason: str, at: dt.datetime) -> list[Change]:
    this = observation.c.id == size.id
    row = dict(c.execute(sa.select(observation).where(this)).mappings().one())
    del row["id"]
    c.execute(sa.update(observation).where(this).values(superseded_at=at))
    c.execute(sa.insert(observation).values({**row, "usable": not reason, "reason": reason, "recorded_at": at}))
    if row["usable"]:
        return [Change(kind=ChangeKind.CORRECTED, person_key=size.person_id, observation_id=size.id)]
    return [] if reason else [Change(kind=ChangeKind.NEW_VALUE, person_key=size.person_id)]
