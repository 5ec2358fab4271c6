"""Where the feeds meet the store: a frame of the inbox becomes facts. Rows of CSV files come by `csv_intake`.

The feeds know no store and the store knows no feed; this module knows both and decides one thing: a statement that
comes along with values and contradicts what is known of the person (two or more of birth date, family name, given
initial) is not about that person, and none of its values are taken.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from config.clinical import Clinical
from model.domain import PatientIdentity
from node.facts import Change, Fact, PersonFact, identifiers
from node.feeds.er7 import HL7Error
from node.feeds.hl7_messages import read_message
from node.feeds.hl7_rules import Reading, Rules
from node.feeds.inbox import read
from node.names import UNDATED, VETO, conflicts
from node.store import feed_remarks
from node.store.clinical_people import People
from node.store.clinical_writer import Writer
from node.store.engine import Connection
from node.store.inbox import StoredFrame

IDENTITY_CONFLICT = "IDENTITY_CONFLICT"
"""The values came with demographics of somebody else."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Processed:
    """What a frame came to."""

    quarantine: str = ""
    """Codes of what a person must look at; empty when all was taken."""
    changes: tuple[Change, ...] = ()
    """What it changed about whom: cases that it may concern are to look again."""
    remarks: tuple[str, ...] = ()
    """Codes of what the ledger had nothing for: a value to be taken back that nobody knows."""


def process_frames(
    c: Connection, frames: Sequence[StoredFrame], rules: Rules, *, at: dt.datetime | None = None, settings: Clinical
) -> tuple[Processed, ...]:
    """Read frames of the inbox in their order and write their facts in the caller's transaction; one result for each.

    What they need is looked up together and their values are written together. The rows are those that one frame at a
    time would give; should one of them fail, the caller has to take all back and go frame by frame.

    Args:
        c: a write transaction.
        frames: in the order of receipt.
        rules: what they are read by.
        at: since when their facts count as known; None: each since its receipt.
        settings: of the feed.

    """
    readings = [_read(frame, rules, settings) for frame in frames]
    writer = Writer(c, trusted=settings.trusted_issuers)
    writer.prepare(fact for reading in readings for fact in reading.facts)
    done = tuple(
        _write(writer, frame, reading, at or frame.received_at) for frame, reading in zip(frames, readings, strict=True)
    )
    writer.flush()
    met = (
        (code, count, frame.received_at)
        for frame, reading, one in zip(frames, readings, done, strict=True)
        for code, count in (*reading.remarks, *Counter(one.remarks).items())
    )
    feed_remarks.add(c, met)
    return done


def _read(frame: StoredFrame, rules: Rules, settings: Clinical) -> Reading:
    try:
        return read_message(read(frame.body, settings.mllp), rules, received_at=frame.received_at)
    except HL7Error as error:  # it was readable when it was accepted: the settings changed in between
        return Reading(quarantine=f"HL7-{error.code} {error.location}".strip())


def _write(writer: Writer, frame: StoredFrame, reading: Reading, at: dt.datetime) -> Processed:
    facts, refused = sound(writer.people, reading.facts)
    applied = writer.apply(facts, at, seq=frame.seq)
    resized = writer.settle()
    quarantine = ",".join(dict.fromkeys([*filter(None, [reading.quarantine]), *refused, *applied.refused]))
    _log.info(
        "hl7_processed",
        frame=frame.seq,
        written=applied.written,
        remarks=dict(reading.remarks),
        not_found=applied.remarks,
        warnings=applied.warnings,
        quarantine=quarantine,
    )
    return Processed(quarantine=quarantine, changes=(*applied.changes, *resized), remarks=applied.remarks)


def sound(people: People, facts: Iterable[Fact]) -> tuple[tuple[Fact, ...], tuple[str, ...]]:
    """The facts of one message or row without those that came with somebody else's demographics, and the refusals."""
    facts = tuple(facts)
    foreign = {
        i for f in facts if isinstance(f, PersonFact) and _contradicts(people, f) for i in f.identity.identifiers
    }
    kept = tuple(f for f in facts if not foreign.intersection(identifiers(f)))
    return kept, (IDENTITY_CONFLICT,) if foreign else ()


def _contradicts(people: People, fact: PersonFact) -> bool:
    """Whether a statement that is no authority on demographics contradicts the person it names."""
    if fact.valid_since != UNDATED:
        return False
    for known in (k for identifier in fact.identity.identifiers for k in people.find_issued(identifier)):
        for key in (people.root(known.person_key), known.person_key):
            stated = people.demographics(key)
            if stated is not None:
                if not _alike(fact, stated[0]) and conflicts(fact.identity, stated[0]) >= VETO:
                    return True
                break
    return False


def _alike(fact: PersonFact, stated: PatientIdentity) -> bool:
    """Whether nothing differs, as with nearly every result: comparing names by their rules costs more than the rest."""
    return fact.identity.name == stated.name and fact.identity.birth_date == stated.birth_date
