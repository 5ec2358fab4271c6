"""The clinical side of the ledger: the HL7 inbox, facts in, and what is known out.

Every function takes an open connection first; the caller owns the transaction. Facts are written so that identical
content writes nothing, a correction inserts a version and closes the old one, and nothing is updated in place. Which
person an image belongs to is decided in `node.matching`; here are only the look-ups it needs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from model import asof
from model.domain import Identifier, Observation
from node.facts import DxaFact, Fact, MergeFact, ObservationFact, OrderFact, PersonFact
from node.store import clinical_persons as persons
from node.store.clinical_persons import Refused
from node.store.clinical_schema import csv_file, dxa_result, hl7_frame, observation, order_link, person_identifier
from node.store.upsert import insert


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFrame:
    """A received frame, to be stored before it is answered."""

    received_at: dt.datetime
    peer: str
    sending_app: str
    sending_facility: str
    message_type: str
    control_id: str
    sha256: str
    body: bytes
    ack_code: str
    """MSA-1 of the answer; empty when none is sent."""
    reason: str = ""
    """Why it was refused; empty when it is to be processed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFrame:
    """A frame that waits to be processed."""

    seq: int
    received_at: dt.datetime
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a batch of facts did."""

    written: int = 0
    """New versions; 0 when everything was known."""
    refused: tuple[str, ...] = ()
    """Codes of facts that were not taken; a person must look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """An observation version as `model.asof` reads it."""

    id: int
    variable: str
    value: float
    unit: str
    code: str
    source: str
    usable: bool
    start_at: dt.datetime
    end_at: dt.datetime
    recorded_at: dt.datetime
    superseded_at: dt.datetime | None


def store_frame(c: sa.Connection, frame: NewFrame) -> int | None:
    """Store a frame; its number, or None for one that is already here (same sender, control ID and bytes)."""
    values = {name: getattr(frame, name) for name in NewFrame.__dataclass_fields__}
    values["state"] = "refused" if frame.reason else "new"
    statement = insert(c, hl7_frame).values(values).on_conflict_do_nothing().returning(hl7_frame.c.seq)
    return c.execute(statement).scalar_one_or_none()


def unprocessed_frames(c: sa.Connection, limit: int = 20) -> tuple[StoredFrame, ...]:
    """The oldest frames not processed yet, in the order of receipt; one consumer takes them one after the other."""
    t = hl7_frame.c
    rows = c.execute(sa.select(t.seq, t.received_at, t.body).where(t.state == "new").order_by(t.seq).limit(limit)).all()
    return tuple(StoredFrame(seq=r.seq, received_at=r.received_at, body=r.body) for r in rows)


def finish_frame(c: sa.Connection, seq: int, *, quarantine: str = "") -> None:
    """Mark a frame as processed, or with a code for a person to look at; in the transaction that wrote its facts."""
    state = "quarantined" if quarantine else "done"
    c.execute(sa.update(hl7_frame).where(hl7_frame.c.seq == seq).values(state=state, reason=quarantine))


def open_csv(c: sa.Connection, sha256: str, at: dt.datetime) -> int | None:
    """Number of the import of a file with this content; None when it was imported before."""
    known = c.execute(sa.select(csv_file.c.id, csv_file.c.state).where(csv_file.c.sha256 == sha256)).one_or_none()
    if known is not None:
        return None if known.state == "done" else int(known.id)
    values = {"sha256": sha256, "recorded_at": at, "state": "importing", "rows": 0, "bad_rows": 0}
    return int(c.execute(sa.insert(csv_file).values(values).returning(csv_file.c.id)).scalar_one())


def close_csv(c: sa.Connection, import_id: int, *, accepted: bool, rows: int, bad_rows: int) -> None:
    """Record how a file ended."""
    state = "done" if accepted else "rejected"
    c.execute(sa.update(csv_file).where(csv_file.c.id == import_id).values(state=state, rows=rows, bad_rows=bad_rows))


def apply(
    c: sa.Connection, facts: Iterable[Fact], recorded_at: dt.datetime, *, trusted: tuple[str, ...] = ()
) -> Applied:
    """Write facts as known since `recorded_at` (aware).

    Args:
        c: a write transaction.
        facts: in the order of the message.
        recorded_at: when the node learned of them.
        trusted: assigning authorities (namespace or universal ID) that may be inserted; empty means all.

    """
    written = 0
    refused: list[str] = []
    doubtful: set[Identifier] = set()
    for fact in facts:
        try:
            if _patient(fact) not in doubtful:
                written += _apply_one(c, fact, recorded_at, trusted)
        except Refused as why:
            refused.append(str(why))
            if isinstance(fact, PersonFact):  # whoever is meant is not known, so nothing that follows is taken either
                doubtful.update(fact.identity.identifiers)
    return Applied(written=written, refused=tuple(refused))


def order_persons(c: sa.Connection, accession: str) -> frozenset[int]:
    """Persons (as read through merges) whose orders carry the accession number."""
    t = order_link.c
    rows = c.execute(
        sa.select(person_identifier.c.person_id)
        .join_from(order_link, person_identifier, person_identifier.c.id == t.identifier_id)
        .where(t.accession == accession, t.superseded_at.is_(None))
    ).scalars()
    return frozenset(persons.root(c, p) for p in rows.all())


def observations_as_of(
    c: sa.Connection, person_keys: Iterable[int], question: asof.Question
) -> tuple[Observation, ...]:
    """The observation to use per variable, by the rule of `model.asof`; sorted by variable."""
    t = observation.c
    found = c.execute(
        sa.select(*(t[name] for name in _Row.__dataclass_fields__))
        .join_from(observation, person_identifier, person_identifier.c.id == t.identifier_id)
        .where(
            person_identifier.c.person_id.in_(list(person_keys)),
            t.variable.in_(list(question.lookback_days)),
            t.usable,
            t.end_at <= question.t0,
            t.recorded_at <= question.known_at,
        )
    )
    chosen = asof.latest((_Row(**row) for row in found.mappings().all()), question)
    return tuple(_domain(chosen[name], question.t0) for name in sorted(chosen))


def _domain(row: _Row, t0: dt.datetime) -> Observation:
    return Observation(
        variable=row.variable,
        value=row.value,
        unit=row.unit,
        age_days=(t0 - row.end_at).total_seconds() / 86_400,
        observation_id=row.id,
        source=row.source,
        code=row.code,
        observed_at=row.start_at,
    )


def _patient(fact: Fact) -> Identifier | None:
    """The patient a fact hangs on; None for the statement about the person itself."""
    match fact:
        case PersonFact():
            return None
        case MergeFact():
            return fact.survivor
        case _:
            return fact.patient


def _apply_one(c: sa.Connection, fact: Fact, at: dt.datetime, trusted: tuple[str, ...]) -> int:
    match fact:
        case PersonFact():
            return persons.upsert(c, fact, at, trusted)
        case MergeFact():
            return persons.merge(c, fact, at, trusted)
        case OrderFact():
            return _link_order(c, fact, persons.identifier_id(c, fact.patient, at, trusted), at)
        case ObservationFact():
            return _write_observation(c, fact, persons.identifier_id(c, fact.patient, at, trusted), at)
        case DxaFact():
            return _write_dxa(c, fact, persons.identifier_id(c, fact.patient, at, trusted), at)


def _link_order(c: sa.Connection, fact: OrderFact, identifier: int, at: dt.datetime) -> int:
    """Link an accession; a new statement of the same issuer replaces its former one."""
    t, i = order_link.c, person_identifier.c
    own = c.execute(sa.select(i.namespace, i.universal_id).where(i.id == identifier)).one()
    links = c.execute(
        sa.select(t.id, t.identifier_id)
        .join_from(order_link, person_identifier, i.id == t.identifier_id)
        .where(
            t.accession == fact.accession,
            t.superseded_at.is_(None),
            i.namespace == own.namespace,
            i.universal_id == own.universal_id,
        )
    ).all()
    if any(link.identifier_id == identifier for link in links):
        return 0
    _close(c, order_link, [link.id for link in links], at)
    c.execute(sa.insert(order_link).values(accession=fact.accession, identifier_id=identifier, recorded_at=at))
    return 1


def _write_observation(c: sa.Connection, fact: ObservationFact, identifier: int, at: dt.datetime) -> int:
    content = {
        "identifier_id": identifier,
        "variable": fact.variable,
        "raw_value": fact.raw_value,
        "raw_unit": fact.raw_unit,
        "value": fact.value,
        "unit": fact.unit,
        "usable": fact.usable,
        "reason": fact.reason,
        "code": fact.code,
        "start_at": fact.observed_start,
        "stated_end_at": fact.observed_end,
    }
    extra = {
        "end_at": asof.end_in_use(fact.variable, fact.observed_start, fact.observed_end),
        "available_at": fact.available_at,
        "source": fact.source,
    }
    return _write_version(c, observation, fact.key, content, extra, at)


def _write_dxa(c: sa.Connection, fact: DxaFact, identifier: int, at: dt.datetime) -> int:
    content = {
        "identifier_id": identifier,
        "region": fact.region,
        "t_score": fact.t_score,
        "observed_at": fact.observed_at,
    }
    return _write_version(c, dxa_result, fact.key, content, {"source": fact.source}, at)


def _write_version(
    c: sa.Connection,
    table: sa.Table,
    key: str,
    content: dict[str, object],
    extra: dict[str, object],
    at: dt.datetime,
) -> int:
    """Insert a version unless the open one says the same; where it came from is no part of what it says."""
    found = c.execute(
        sa.select(table.c.id, *(table.c[name] for name in content)).where(
            table.c.key == key, table.c.superseded_at.is_(None)
        )
    )
    open_rows = found.mappings().all()
    if any(all(row[name] == value for name, value in content.items()) for row in open_rows):
        return 0
    _close(c, table, [row["id"] for row in open_rows], at)
    c.execute(sa.insert(table).values(key=key, recorded_at=at, **content, **extra))
    return 1


def _close(c: sa.Connection, table: sa.Table, ids: list[int], at: dt.datetime) -> None:
    if ids:
        c.execute(sa.update(table).where(table.c.id.in_(ids)).values(superseded_at=at))
