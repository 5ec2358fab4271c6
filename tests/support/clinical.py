"""Builders and look-ups for tests of the clinical store. The fixture `ledger` stands in tests/conftest.py."""

from __future__ import annotations

import dataclasses
import datetime as dt

import sqlalchemy as sa
from support.hl7 import HOSP, RULES, identity, when

from model.asof import Question
from model.domain import Identifier, PatientIdentity
from node.facts import MergeFact, PersonFact
from node.feeds.er7 import parse
from node.feeds.hl7_messages import read_message
from node.intake import sound
from node.store import clinical_persons as persons
from node.store.clinical_asof import observations_as_of
from node.store.clinical_message import Applied
from node.store.clinical_schema import observation
from node.store.clinical_writer import Writer

KNOWN = Identifier(value="100001", authority=HOSP)


def person_fact(who: PatientIdentity | None = None, since: dt.datetime | None = None) -> PersonFact:
    return PersonFact(identity=who or identity(), valid_since=since or when(1))


def merge(survivor: str, prior: str) -> MergeFact:
    return MergeFact(survivor=Identifier(value=survivor, authority=HOSP), prior=Identifier(value=prior, authority=HOSP))


def deliver(
    c: sa.Connection, *frames: bytes, at: dt.datetime | None = None, trusted: tuple[str, ...] = ()
) -> list[Applied]:
    """Take messages as the consumer of the inbox does, in one batch; what each did."""
    writer = Writer(c, trusted=trusted)
    done = []
    last = c.execute(sa.select(sa.func.max(observation.c.seq))).scalar_one() or 0
    for seq, frame in enumerate(frames, last + 1):
        reading = read_message(parse(frame), RULES, received_at=at or when(11))
        facts, refused = sound(writer.people, reading.facts)
        applied = writer.apply(facts, at or when(11), seq=seq)
        codes = (*filter(None, [reading.quarantine]), *refused, *applied.refused)
        done.append(dataclasses.replace(applied, refused=codes))
    writer.flush()
    return done


def key_of(c: sa.Connection, value: str = "100001") -> int:
    """The person that an identifier is read as."""
    return persons.root(c, persons.find(c, value)[0].person_key)


def own_key(c: sa.Connection, value: str = "100001") -> int:
    """The identifier's own person, before any merge."""
    return persons.find(c, value)[0].person_key


def weights(
    c: sa.Connection, value: str = "100001", *, t0: dt.datetime | None = None, known_at: dt.datetime | None = None
) -> list[float]:
    question = Question(t0=t0 or when(20), known_at=known_at or when(20), lookback_days={"weight": 365.0})
    keys = persons.group(c, key_of(c, value))
    return [o.value for o in observations_as_of(c, keys, question)]


def count(c: sa.Connection, table: sa.Table) -> int:
    return int(c.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
