"""Many new persons at once: what a first import of a large file would spend most of its time on.

Only the plain case is taken here, one statement about an identifier that nobody knows. Everything else is the writer's,
statement by statement, so the tables end the same either way; a test compares them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import sqlalchemy as sa

from node.facts import Change, ChangeKind, PersonFact
from node.store import clinical_persons as persons
from node.store.clinical_people import People, demographic_columns
from node.store.clinical_schema import person, person_demographics, person_identifier


def introduce(
    c: sa.Connection, people: People, statements: Iterable[PersonFact], at: dt.datetime
) -> dict[PersonFact, Change]:
    """Insert the persons whom nobody knows yet: one identifier and one demographic row each.

    Args:
        c: a write transaction.
        people: of this transaction; it must not have looked up these persons yet.
        statements: of a batch, in order.
        at: when the node learned of them.

    Returns:
        What was taken in full, with the change it is.

    """
    stated: dict[str, PersonFact | None] = {}
    for statement in statements:
        for identifier in statement.identity.identifiers:
            value = identifier.value.strip()
            first = stated.setdefault(value, statement)
            if (first is not statement and first != statement) or len(statement.identity.identifiers) > 1:
                stated[value] = None  # said in two ways, or under two numbers: the order matters
    alone = {v: s for v, s in stated.items() if s is not None and people.trusts(s.identity.identifiers[0])}
    for known in persons.find_all(c, alone):
        alone.pop(known.identifier.value, None)
    return _insert(c, alone, at) if alone else {}


def _insert(c: sa.Connection, alone: dict[str, PersonFact], at: dt.datetime) -> dict[PersonFact, Change]:
    numbered = sa.insert(person).returning(person.c.id, sort_by_parameter_order=True)
    keys = c.execute(numbered, [{"recorded_at": at} for _ in alone]).scalars().all()
    identifiers, demographics = [], []
    for key, (value, statement) in zip(keys, alone.items(), strict=True):
        authority = statement.identity.identifiers[0].authority
        row = {
            "person_id": key,
            "value": value,
            "namespace": authority.namespace,
            "universal_id": authority.universal_id,
            "universal_id_type": authority.universal_id_type,
            "recorded_at": at,
        }
        identifiers.append(row)
        dated = {"person_id": key, "valid_since": statement.valid_since, "recorded_at": at}
        demographics.append(demographic_columns(statement) | dated)
    c.execute(sa.insert(person_identifier), identifiers)
    c.execute(sa.insert(person_demographics), demographics)
    changes = (Change(kind=ChangeKind.DEMOGRAPHICS, person_key=key) for key in keys)
    return dict(zip(alone.values(), changes, strict=True))
