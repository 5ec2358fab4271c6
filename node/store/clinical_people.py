"""Persons as the feeds state them: identifiers, demographics and deletions, written within one transaction.

What was looked up is remembered for the transaction, and `prepare` asks for many persons at once: a result with 25
values needs no statement of its own to find its patient. When a statement would fit two persons nothing is written
and the fact is refused: a guess here would join one patient's values to another.

Rules: older demographics never replace newer ones; empty leaves and an explicit delete clears; an issuer stated with
less than what is known (`HOSP` for `HOSP&1.2.3`) adds its form and replaces nothing; an untrusted issuer is not stored.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable

import sqlalchemy as sa

from model.domain import Identifier, PatientIdentity, Sex
from node.facts import Change, ChangeKind, Demographic, PersonFact
from node.names import VETO, Contradiction, agree, blocklisted, conflicts, contradictions, same_issuer
from node.store import clinical_persons as persons
from node.store.alerts import AlertKind, raise_alert
from node.store.clinical_lock import write_alone
from node.store.clinical_persons import Known
from node.store.clinical_refusal import Refusal, Refused
from node.store.clinical_schema import person, person_demographics, person_identifier

_d = person_demographics.c
_NAMES = (
    "alphabetic_family",
    "alphabetic_given",
    "ideographic_family",
    "ideographic_given",
    "phonetic_family",
    "phonetic_given",
)
_FIELDS = {
    Demographic.NAME: _NAMES,
    Demographic.BIRTH_DATE: ("birth_date",),
    Demographic.SEX: ("sex",),
    Demographic.DEATH: ("dead", "died_at"),
}
_UNSAID = ("", None, Sex.UNKNOWN.value)


class People:
    """The persons that one transaction speaks of. Not to be kept beyond it."""

    def __init__(self, c: sa.Connection, trusted: tuple[str, ...] = ()) -> None:
        self._c = c
        self._trusted = trusted
        self._by_value: dict[str, tuple[Known, ...]] = {}
        self._roots: dict[int, int] = {}
        self._stated: dict[int, sa.Row[tuple[object, ...]] | None] = {}

    def prepare(self, identifiers: Iterable[Identifier]) -> None:
        """Look up together what is known under these identifiers."""
        values = {value for i in identifiers if (value := i.value.strip()) not in self._by_value}
        if not values:
            return
        found: dict[str, list[Known]] = {value: [] for value in values}
        for known in persons.find_all(self._c, values):
            found[known.identifier.value].append(known)
        self._by_value.update({value: tuple(known) for value, known in found.items()})
        keys = {k.person_key for known in found.values() for k in known}
        self._look_up_roots(keys)
        self._look_up_demographics(keys | {self._roots[k] for k in keys})

    def find_issued(self, identifier: Identifier) -> tuple[Known, ...]:
        """Stored identifiers that are this one: same value, same issuer."""
        self.prepare((identifier,))
        return persons.issued(self._by_value[identifier.value.strip()], identifier)

    def root(self, person_key: int) -> int:
        """The person that `person_key` is read as."""
        if person_key not in self._roots:
            self._look_up_roots((person_key,))
        return self._roots[person_key]

    def demographics(self, person_key: int) -> tuple[PatientIdentity, dt.datetime] | None:
        """As `clinical_persons.demographics`, now."""
        row = self._row(person_key)
        return None if row is None else (persons.identity_of(row), row.valid_since)

    def merged(self) -> None:
        """Forget where persons lead to: an edge was added or taken away."""
        self._roots.clear()

    def kin(self, person_key: int) -> tuple[Known, ...]:
        """Every identifier of the person, those of persons merged with it included."""
        return persons.known_of(self._c, persons.groups(self._c, (self.root(person_key),)))

    def trusts(self, identifier: Identifier) -> bool:
        """Whether the identifier may be stored: issued by somebody known and trusted, and not a stand-in."""
        authority = identifier.authority
        allowed = not self._trusted or authority.namespace in self._trusted or authority.universal_id in self._trusted
        return authority.stated and allowed and not blocklisted(identifier.value)

    def known(self, identifier: Identifier, at: dt.datetime) -> Known:
        """The stored identifier, inserted with a new person when nobody knows it yet.

        Raises:
            Refused: it identifies nobody, its issuer is not trusted, or it fits two persons.

        """
        if not self.trusts(identifier):
            raise Refused(Refusal.NO_ID if blocklisted(identifier.value) else Refusal.UNTRUSTED_ISSUER)
        found = self.find_issued(identifier)
        if len({self.root(k.person_key) for k in found}) > 1:
            raise Refused(Refusal.IDENTIFIER_CONFLICT)
        exact = next((k for k in found if k.identifier.authority == identifier.authority), None)
        if exact is not None:
            return exact
        return self._insert(identifier, found[0].person_key if found else self._new_person(at), at)

    def upsert(self, fact: PersonFact, at: dt.datetime) -> tuple[int, tuple[Change, ...]]:
        """Insert or extend a person. (rows written, changes).

        Raises:
            Refused: no usable identifier, or they fit two persons.

        """
        usable = [i for i in fact.identity.identifiers if self.trusts(i)]
        if not usable:
            raise Refused(Refusal.UNTRUSTED_ISSUER if fact.identity.identifiers else Refusal.NO_ID)
        target = self._target(usable, fact.identity, at)
        written = 0
        for identifier in usable:
            forms = self.find_issued(identifier)
            if not any(k.identifier.authority == identifier.authority for k in forms):
                self._insert(identifier, target, at)
                written += 1
        rows, differs = self._write_demographics(target, fact, at)
        changes = (Change(kind=ChangeKind.DEMOGRAPHICS, person_key=target),) if written or differs else ()
        return written + rows, changes

    def delete(self, identifier: Identifier, at: dt.datetime) -> tuple[int, tuple[Change, ...]]:
        """Set the tombstone of a person: from now on nothing joins, also when nobody knew it before.

        Raises:
            Refused: as `known`.

        """
        key = self.known(identifier, at).person_key
        if persons.blocked(self._c, key):
            return 0, ()
        self._c.execute(sa.update(person).where(person.c.id == key).values(blocked=True))
        return 1, (Change(kind=ChangeKind.TOMBSTONE, person_key=key),)

    def _target(self, usable: list[Identifier], stated: PatientIdentity, at: dt.datetime) -> int:
        """The person that a list of identifiers speaks of; a new one when none of them is known."""
        self.prepare(usable)
        found = {i: self.find_issued(i) for i in usable}
        keys = {k.person_key for forms in found.values() for k in forms}
        roots = {self.root(key) for key in keys}
        if not roots:
            return self._new_person(at)
        if len(roots) > 1:
            # The list names two persons whom nobody has merged. That is for a person to decide, not for a feed.
            raise Refused(Refusal.IDENTIFIER_CONFLICT)
        # Who names only a merged-away identifier speaks of that person's row; the survivor's stays as it is.
        target = min(roots & keys or keys)
        new = [i for i, forms in found.items() if not forms]
        if new and not self._may_gain(target, new, usable, stated):
            raise Refused(Refusal.IDENTIFIER_CONFLICT)
        return target

    def _may_gain(self, key: int, new: list[Identifier], usable: list[Identifier], stated: PatientIdentity) -> bool:
        """Whether the numbers of a statement that nobody knows yet (`new`) may become those of the person it names too.

        One shared number (an insurance's, a stand-in) would make two patients one. So nothing but the family name,
        which a marriage changes, may contradict what is known. And who has another number of the issuer already, which
        the statement does not list, must be named by its first number, the medical record's, or agree in demographics.
        """
        known = self.demographics(key) or self.demographics(self.root(key))
        if known is not None and set(contradictions(known[0], stated)) - {Contradiction.FAMILY_NAME}:
            return False
        if usable[0] not in new or (known is not None and agree(known[0], stated)):
            return True
        listed = [i.authority for i in usable if i not in new]
        issuers = [i.authority for i in new if not any(same_issuer(i.authority, one) for one in listed)]
        return not any(same_issuer(k.identifier.authority, one) for k in self.kin(key) for one in issuers)

    def _look_up_roots(self, keys: Collection[int]) -> None:
        self._roots.update(persons.roots(self._c, keys))

    def _look_up_demographics(self, keys: Collection[int]) -> None:
        self._stated.update(dict.fromkeys(keys))
        wanted = sa.select(person_demographics).where(_d.person_id.in_(list(keys)), _d.superseded_at.is_(None))
        self._stated.update({r.person_id: r for r in self._c.execute(wanted.order_by(_d.id)).all()})

    def _row(self, person_key: int) -> sa.Row[tuple[object, ...]] | None:
        if person_key not in self._stated:
            self._look_up_demographics((person_key,))
        return self._stated[person_key]

    def _new_person(self, at: dt.datetime) -> int:
        return int(self._c.execute(sa.insert(person).values(recorded_at=at).returning(person.c.id)).scalar_one())

    def _insert(self, identifier: Identifier, person_key: int, at: dt.datetime) -> Known:
        """Insert the identifier as sent. The caller has seen that this form is not there."""
        authority, value = identifier.authority, identifier.value.strip()
        row = {
            "person_id": person_key,
            "value": value,
            "namespace": authority.namespace,
            "universal_id": authority.universal_id,
            "universal_id_type": authority.universal_id_type,
            "recorded_at": at,
        }
        added = sa.insert(person_identifier).values(row).returning(person_identifier.c.id)
        known = Known(
            row=int(self._c.execute(added).scalar_one()),
            person_key=person_key,
            identifier=Identifier(value=value, authority=authority),
        )
        self._by_value[value] = (*self._by_value.get(value, ()), known)
        return known

    def _write_demographics(self, person_key: int, fact: PersonFact, at: dt.datetime) -> tuple[int, bool]:
        """Write a version unless what is stored is newer or the same. (rows written, whether it says something new)."""
        stored = self._row(person_key)
        new = demographic_columns(fact)
        differs = True
        if stored is not None:
            if stored.valid_since > fact.valid_since:
                return 0, False
            old = {name: getattr(stored, name) for name in new}
            cleared = {name for field in fact.cleared for name in _FIELDS[field]}
            new = {n: v if v not in _UNSAID or n in cleared else old[n] for n, v in new.items()}
            differs = new != old
            if not differs and stored.valid_since == fact.valid_since:
                return 0, False
            if differs and conflicts(persons.identity_of(stored), fact.identity) >= VETO:
                raise_alert(self._c, AlertKind.IDENTITY_REPLACED, f"person {person_key}", "ADT")
            closed = sa.update(person_demographics).where(_d.id == stored.id)
            self._c.execute(closed.values(superseded_at=at))
        values = {**new, "person_id": person_key, "valid_since": fact.valid_since, "recorded_at": at}
        self._c.execute(sa.insert(person_demographics).values(values))
        self._stated.pop(person_key, None)
        return 1, differs


def deleted(c: sa.Connection, limit: int = 200) -> tuple[int, ...]:
    """Persons with a tombstone, latest first."""
    return tuple(
        c.execute(sa.select(person.c.id).where(person.c.blocked).order_by(person.c.id.desc()).limit(limit)).scalars()
    )


def restore(c: sa.Connection, person_key: int) -> tuple[Change, ...]:
    """Take a tombstone away: the deletion was a mistake. Nothing where there is none."""
    write_alone(c)
    standing = sa.update(person).where(person.c.id == person_key, person.c.blocked).values(blocked=False)
    if c.execute(standing.returning(person.c.id)).first() is None:
        return ()
    return (Change(kind=ChangeKind.DEMOGRAPHICS, person_key=person_key),)


def demographic_columns(fact: PersonFact) -> dict[str, object]:
    """What a statement says of a person, by column."""
    name = fact.identity.name
    parts = [part for g in (name.alphabetic, name.ideographic, name.phonetic) for part in (g.family, g.given)]
    return {
        **dict(zip(_NAMES, parts, strict=True)),
        "birth_date": fact.identity.birth_date,
        "sex": fact.identity.sex.value,
        "dead": fact.dead,
        "died_at": fact.died_at,
    }
