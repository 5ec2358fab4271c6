"""What is known of persons: their identifiers and demographics, read through the merges between them.

A merge is an edge `prior -> survivor` that is followed when reading; no row is rewritten for it, so it can be undone.
Two identifiers are one when value and issuer agree (`node.names.same_issuer`). Written is in `clinical_people` and
`clinical_merges`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from model.domain import AssigningAuthority, Identifier, NameGroup, PatientIdentity, PersonName, Sex
from node.names import same_issuer
from node.store.clinical_schema import person, person_alias, person_demographics, person_identifier
from node.store.metadata import UtcDateTime

_i, _a, _d = person_identifier.c, person_alias.c, person_demographics.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An identifier as stored, and its person before any merge is followed."""

    row: int
    person_key: int
    identifier: Identifier


def find(c: sa.Connection, value: str) -> tuple[Known, ...]:
    """Every stored identifier with this value, whoever issued it."""
    return find_all(c, (value.strip(),))


def find_all(c: sa.Connection, values: Iterable[str]) -> tuple[Known, ...]:
    """Every stored identifier with one of these (trimmed) values, oldest first."""
    return _known(c, _WITH_VALUE, list(values))


def find_issued(c: sa.Connection, identifier: Identifier) -> tuple[Known, ...]:
    """Stored identifiers that are this one: same value, same issuer."""
    return issued(find(c, identifier.value), identifier)


def issued(found: Iterable[Known], identifier: Identifier) -> tuple[Known, ...]:
    """Of the identifiers with one value those of the same issuer.

    A form stated by namespace alone is its person's: it matches no other universal ID than that person's own, although
    the namespace is equal. Else the second of two hospitals that call themselves `HOSP` would find the first's patient.
    """
    found, authority = tuple(found), identifier.authority
    others = {
        k.person_key
        for k in found
        if k.identifier.authority.namespace == authority.namespace
        and authority.universal_id
        and k.identifier.authority.universal_id not in ("", authority.universal_id)
    }
    return tuple(
        k
        for k in found
        if same_issuer(k.identifier.authority, authority)
        and (k.person_key not in others or k.identifier.authority.universal_id == authority.universal_id)
    )


def is_prior(c: sa.Connection, identifier: Identifier) -> bool:
    """Whether the identifier's person was merged into another."""
    return any(root(c, known.person_key) != known.person_key for known in find_issued(c, identifier))


def root(c: sa.Connection, person_key: int, known_at: dt.datetime | None = None) -> int:
    """The person that `person_key` is read as, through every merge known at `known_at` (None: now)."""
    return roots(c, (person_key,), known_at)[person_key]


def roots(c: sa.Connection, person_keys: Collection[int], known_at: dt.datetime | None = None) -> dict[int, int]:
    """`root` of many persons."""
    edges: dict[int, int] = {}
    new = set(person_keys)
    while new:
        found = c.execute(_SURVIVORS.at(known_at), {"wanted": list(new), "known_at": known_at}).all()
        edges.update({r.prior_person_id: r.survivor_person_id for r in found})
        new = {r.survivor_person_id for r in found} - edges.keys()
    return {key: _end(edges, key) for key in person_keys}


def group(c: sa.Connection, person_key: int, known_at: dt.datetime | None = None) -> tuple[int, ...]:
    """All persons that are read as this one, itself first. `person_key` is a root."""
    return groups(c, (person_key,), known_at)


def groups(c: sa.Connection, person_keys: Collection[int], known_at: dt.datetime | None = None) -> tuple[int, ...]:
    """All persons that are read as one of these roots, the roots first."""
    members, new = list(person_keys), list(person_keys)
    while new:
        found = c.execute(_PRIORS.at(known_at), {"wanted": new, "known_at": known_at}).scalars()
        new = [p for p in found.all() if p not in members]
        members += new
    return tuple(members)


def blocked(c: sa.Connection, person_key: int) -> bool:
    """Whether the person is deleted or a test patient."""
    return bool(c.execute(_BLOCKED, {"person": person_key}).scalar_one())


def demographics(
    c: sa.Connection, person_key: int, known_at: dt.datetime | None = None
) -> tuple[PatientIdentity, dt.datetime] | None:
    """Name, birth date and sex as known at `known_at` (None: now), and since when they hold; None when never stated."""
    r = c.execute(_STATED.at(known_at), {"person": person_key, "known_at": known_at}).one_or_none()
    return None if r is None else (identity_of(r), r.valid_since)


def identity_of(row: sa.Row[Any]) -> PatientIdentity:
    """Name, birth date and sex of a row of `person_demographics`; without identifiers."""
    name = PersonName(
        alphabetic=NameGroup(family=row.alphabetic_family, given=row.alphabetic_given),
        ideographic=NameGroup(family=row.ideographic_family, given=row.ideographic_given),
        phonetic=NameGroup(family=row.phonetic_family, given=row.phonetic_given),
    )
    return PatientIdentity(name=name, birth_date=row.birth_date, sex=Sex(row.sex))


def identifiers_of(c: sa.Connection, person_keys: Collection[int]) -> tuple[Identifier, ...]:
    """Every identifier of these persons."""
    return tuple(known.identifier for known in known_of(c, person_keys))


def known_of(c: sa.Connection, person_keys: Collection[int]) -> tuple[Known, ...]:
    """`identifiers_of` as stored, oldest first."""
    return _known(c, _OF_PERSONS, list(person_keys))


def _known(c: sa.Connection, identifiers: sa.Executable, wanted: list[str] | list[int]) -> tuple[Known, ...]:
    return tuple(
        Known(
            row=r.id,
            person_key=r.person_id,
            identifier=Identifier(
                value=r.value,
                authority=AssigningAuthority(
                    namespace=r.namespace, universal_id=r.universal_id, universal_id_type=r.universal_id_type
                ),
            ),
        )
        for r in c.execute(identifiers, {"wanted": wanted}).all()
    )


def _end(edges: dict[int, int], person_key: int) -> int:
    """The end of a chain of merges. Circles are refused when they are written; one would end here all the same."""
    seen = {person_key}
    while (after := edges.get(person_key, person_key)) not in seen:
        seen.add(after)
        person_key = after
    return person_key


_KNOWN_AT: sa.BindParameter[dt.datetime] = sa.bindparam("known_at", type_=UtcDateTime)
_PERSON: sa.BindParameter[int] = sa.bindparam("person")
_WANTED: sa.BindParameter[Any] = sa.bindparam("wanted", expanding=True)


@dataclass(frozen=True, slots=True)
class _Standing:
    """One question, built once: to build a statement costs more than to run it, and every image asks all of them."""

    now: sa.Select[Any]
    then: sa.Select[Any]

    def at(self, known_at: dt.datetime | None) -> sa.Select[Any]:
        """The statement for what was known at `known_at`, which is one of its parameters (None: now)."""
        return self.now if known_at is None else self.then


def _standing(
    rows: sa.Select[Any], recorded: sa.ColumnElement[dt.datetime], ended: sa.ColumnElement[dt.datetime | None]
) -> _Standing:
    stands = ended.is_(None)
    return _Standing(rows.where(stands), rows.where(recorded <= _KNOWN_AT, sa.or_(stands, ended > _KNOWN_AT)))


_SURVIVORS: Final = _standing(
    sa.select(_a.prior_person_id, _a.survivor_person_id).where(_a.prior_person_id.in_(_WANTED)),
    _a.recorded_at,
    _a.undone_at,
)
_PRIORS: Final = _standing(
    sa.select(_a.prior_person_id).where(_a.survivor_person_id.in_(_WANTED)), _a.recorded_at, _a.undone_at
)
_STATED: Final = _standing(
    sa.select(person_demographics).where(_d.person_id == _PERSON).order_by(_d.id.desc()).limit(1),
    _d.recorded_at,
    _d.superseded_at,
)
_BLOCKED: Final = sa.select(person.c.blocked).where(person.c.id == _PERSON)
_WITH_VALUE: Final = sa.select(person_identifier).where(_i.value.in_(_WANTED)).order_by(_i.id)
_OF_PERSONS: Final = sa.select(person_identifier).where(_i.person_id.in_(_WANTED)).order_by(_i.id)
