"""Persons, their identifiers and demographics, and the merges between them.

A merge is an edge `prior -> survivor` that is followed when reading; no row is rewritten for it, so it can be undone.
Two identifiers are one when value and issuer agree (`node.names.same_issuer`); when a statement would fit two persons
nothing is written and the fact is refused: a guess here would join one patient's values to another.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass

import sqlalchemy as sa

from model.domain import AssigningAuthority, Identifier, NameGroup, PatientIdentity, PersonName, Sex
from node.facts import MergeFact, PersonFact
from node.names import blocklisted, same_issuer
from node.store.clinical_schema import person, person_alias, person_demographics, person_identifier

_i, _a, _d = person_identifier.c, person_alias.c, person_demographics.c


class Refusal(enum.StrEnum):
    """Why a fact was not written; a person must look."""

    NO_ID = "NO_ID"
    """The identifier identifies nobody."""
    UNTRUSTED_ISSUER = "UNTRUSTED_ISSUER"
    IDENTIFIER_CONFLICT = "IDENTIFIER_CONFLICT"
    """One statement names identifiers of two persons, or a half-stated issuer fits two."""
    SELF_MERGE = "SELF_MERGE"
    MERGE_CYCLE = "MERGE_CYCLE"
    MERGE_CONFLICT = "MERGE_CONFLICT"
    """The prior patient was merged into someone else before."""


class Refused(Exception):
    """A fact that must not be written. The message is its code, without patient data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An identifier as stored, and its person before any merge is followed."""

    row: int
    person_key: int
    identifier: Identifier


def find(c: sa.Connection, value: str) -> tuple[Known, ...]:
    """Every stored identifier with this value, whoever issued it."""
    rows = c.execute(sa.select(person_identifier).where(_i.value == value.strip()).order_by(_i.id)).all()
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
        for r in rows
    )


def find_issued(c: sa.Connection, identifier: Identifier) -> tuple[Known, ...]:
    """Stored identifiers that are this one: same value, same issuer."""
    return tuple(k for k in find(c, identifier.value) if same_issuer(k.identifier.authority, identifier.authority))


def root(c: sa.Connection, person_key: int, known_at: dt.datetime | None = None) -> int:
    """The person that `person_key` is read as, through every merge known at `known_at` (None: now)."""
    seen = {person_key}
    while True:
        after = c.execute(
            sa.select(_a.survivor_person_id).where(_a.prior_person_id == person_key, _standing(known_at))
        ).scalar()
        if after is None or after in seen:
            return person_key
        seen.add(after)
        person_key = int(after)


def group(c: sa.Connection, person_key: int, known_at: dt.datetime | None = None) -> tuple[int, ...]:
    """All persons that are read as this one, itself first. `person_key` is a root."""
    members, new = [person_key], [person_key]
    while new:
        found = c.execute(
            sa.select(_a.prior_person_id).where(_a.survivor_person_id.in_(new), _standing(known_at))
        ).scalars()
        new = [p for p in found.all() if p not in members]
        members += new
    return tuple(members)


def blocked(c: sa.Connection, person_key: int) -> bool:
    """Whether the person is deleted or a test patient."""
    return bool(c.execute(sa.select(person.c.blocked).where(person.c.id == person_key)).scalar_one())


def demographics(
    c: sa.Connection, person_key: int, known_at: dt.datetime | None = None
) -> tuple[PatientIdentity, dt.datetime] | None:
    """Name, birth date and sex as known at `known_at` (None: now), and since when they hold; None when never stated."""
    until: sa.ColumnElement[bool] = _d.superseded_at.is_(None)
    known: sa.ColumnElement[bool] = sa.true()
    if known_at is not None:
        until = sa.or_(until, _d.superseded_at > known_at)
        known = _d.recorded_at <= known_at
    r = c.execute(
        sa.select(person_demographics).where(_d.person_id == person_key, known, until).order_by(_d.id.desc()).limit(1)
    ).one_or_none()
    if r is None:
        return None
    name = PersonName(
        alphabetic=NameGroup(family=r.alphabetic_family, given=r.alphabetic_given),
        ideographic=NameGroup(family=r.ideographic_family, given=r.ideographic_given),
        phonetic=NameGroup(family=r.phonetic_family, given=r.phonetic_given),
    )
    return PatientIdentity(name=name, birth_date=r.birth_date, sex=Sex(r.sex)), r.valid_since


def identifiers_of(c: sa.Connection, person_keys: tuple[int, ...]) -> tuple[Identifier, ...]:
    """Every identifier of these persons."""
    values = c.execute(sa.select(_i.value).where(_i.person_id.in_(person_keys)).distinct()).scalars().all()
    return tuple(k.identifier for v in values for k in find(c, v) if k.person_key in person_keys)


def upsert(c: sa.Connection, fact: PersonFact, at: dt.datetime, trusted: tuple[str, ...]) -> int:
    """Insert or extend a person; older demographics never replace newer ones. Number of rows written.

    Raises:
        Refused: no usable identifier, or the principal one fits two persons.

    """
    usable = [i for i in fact.identity.identifiers if _usable(i, trusted)]
    if not usable:
        raise Refused(Refusal.UNTRUSTED_ISSUER if fact.identity.identifiers else Refusal.NO_ID)
    known = {i: find_issued(c, i) for i in usable}
    roots = {root(c, k.person_key) for found in known.values() for k in found}
    if not roots:
        return _insert_person(c, usable, fact, at)
    if len(roots) > 1:
        # The list names two persons whom nobody has merged. That is for a person to decide, not for a feed.
        raise Refused(Refusal.IDENTIFIER_CONFLICT)
    keys = {k.person_key for found in known.values() for k in found}
    # A message that names only a merged-away identifier speaks of that person's row; the survivor's stays as it is.
    target = min(roots & keys or keys)
    written = sum(_insert_identifier(c, i, target, at) for i in usable)
    return written + _write_demographics(c, target, fact, at)


def identifier_id(c: sa.Connection, identifier: Identifier, at: dt.datetime, trusted: tuple[str, ...]) -> int:
    """The stored identifier, inserted with a new person when nobody knows it yet.

    Raises:
        Refused: it identifies nobody, its issuer is not trusted, or it fits two persons.

    """
    if not _usable(identifier, trusted):
        raise Refused(Refusal.NO_ID if blocklisted(identifier.value) else Refusal.UNTRUSTED_ISSUER)
    found = find_issued(c, identifier)
    if len({root(c, k.person_key) for k in found}) > 1:
        raise Refused(Refusal.IDENTIFIER_CONFLICT)
    exact = next((k for k in found if k.identifier.authority == identifier.authority), None)
    if exact is not None:
        return exact.row
    _insert_identifier(c, identifier, found[0].person_key if found else _new_person(c, at), at)
    return next(k.row for k in find(c, identifier.value) if k.identifier.authority == identifier.authority)


def merge(c: sa.Connection, fact: MergeFact, at: dt.datetime, trusted: tuple[str, ...]) -> int:
    """Read `prior` as `survivor` from now on; an unknown prior gets its alias all the same.

    Raises:
        Refused: SELF_MERGE, MERGE_CYCLE, MERGE_CONFLICT (the prior is merged into someone else), or as `identifier_id`.

    """
    if fact.prior.value == fact.survivor.value and same_issuer(fact.prior.authority, fact.survivor.authority):
        raise Refused(Refusal.SELF_MERGE)
    prior, survivor = (_person_of(c, identifier_id(c, i, at, trusted)) for i in (fact.prior, fact.survivor))
    if prior == survivor:
        return 0
    end = root(c, survivor)
    if end == prior:
        raise Refused(Refusal.MERGE_CYCLE)
    if root(c, prior) == end:
        return 0
    if root(c, prior) != prior:
        raise Refused(Refusal.MERGE_CONFLICT)
    c.execute(sa.insert(person_alias).values(prior_person_id=prior, survivor_person_id=survivor, recorded_at=at))
    return 1


def _standing(known_at: dt.datetime | None) -> sa.ColumnElement[bool]:
    if known_at is None:
        return _a.undone_at.is_(None)
    return sa.and_(_a.recorded_at <= known_at, sa.or_(_a.undone_at.is_(None), _a.undone_at > known_at))


def _usable(identifier: Identifier, trusted: tuple[str, ...]) -> bool:
    authority = identifier.authority
    allowed = not trusted or authority.namespace in trusted or authority.universal_id in trusted
    return authority.stated and allowed and not blocklisted(identifier.value)


def _person_of(c: sa.Connection, row: int) -> int:
    return int(c.execute(sa.select(_i.person_id).where(_i.id == row)).scalar_one())


def _insert_person(c: sa.Connection, identifiers: list[Identifier], fact: PersonFact, at: dt.datetime) -> int:
    key = _new_person(c, at)
    written = sum(_insert_identifier(c, i, key, at) for i in identifiers)
    return written + _write_demographics(c, key, fact, at)


def _new_person(c: sa.Connection, at: dt.datetime) -> int:
    return int(c.execute(sa.insert(person).values(recorded_at=at).returning(person.c.id)).scalar_one())


def _insert_identifier(c: sa.Connection, identifier: Identifier, person_key: int, at: dt.datetime) -> int:
    """Insert the identifier as sent unless exactly this form is there."""
    authority = identifier.authority
    value = identifier.value.strip()
    if any(k.identifier.authority == authority for k in find(c, value)):
        return 0
    c.execute(
        sa.insert(person_identifier).values(
            person_id=person_key,
            value=value,
            namespace=authority.namespace,
            universal_id=authority.universal_id,
            universal_id_type=authority.universal_id_type,
            recorded_at=at,
        )
    )
    return 1


def _write_demographics(c: sa.Connection, person_key: int, fact: PersonFact, at: dt.datetime) -> int:
    """Write a version unless what is stored is newer or the same. What was not sent stays as it was known."""
    stored = demographics(c, person_key)
    new = _columns(fact.identity)
    if stored is not None:
        known, valid_since = stored
        if valid_since > fact.valid_since:
            return 0
        old = _columns(known)
        new = {name: value if value not in ("", None, Sex.UNKNOWN.value) else old[name] for name, value in new.items()}
        if new == old and valid_since == fact.valid_since:
            return 0
    c.execute(
        sa.update(person_demographics)
        .where(_d.person_id == person_key, _d.superseded_at.is_(None))
        .values(superseded_at=at)
    )
    values = {**new, "person_id": person_key, "valid_since": fact.valid_since, "recorded_at": at}
    c.execute(sa.insert(person_demographics).values(values))
    return 1


def _columns(identity: PatientIdentity) -> dict[str, object]:
    name = identity.name
    return {
        "alphabetic_family": name.alphabetic.family,
        "alphabetic_given": name.alphabetic.given,
        "ideographic_family": name.ideographic.family,
        "ideographic_given": name.ideographic.given,
        "phonetic_family": name.phonetic.family,
        "phonetic_given": name.phonetic.given,
        "birth_date": identity.birth_date,
        "sex": identity.sex.value,
    }
