"""Where the feeds meet the store: a frame before its answer, a frame after it, and the rows of a CSV file.

The feeds know no store and the store knows no feed; this module knows both and decides one thing: a statement that
comes along with values and contradicts what is known of the person (two or more of birth date, family name, given
initial) is not about that person, and none of its values are taken.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

import structlog

from model.domain import Identifier
from node.facts import Fact, MergeFact, PersonFact
from node.feeds.csv_rows import RowFacts
from node.feeds.er7 import HL7Error, parse
from node.feeds.hl7_messages import Rules, read_message
from node.feeds.inbox import Accepted
from node.matching import VETO
from node.names import UNDATED, conflicts
from node.store import clinical
from node.store import clinical_persons as persons
from node.store.engine import Connection, Ledger

IDENTITY_CONFLICT = "IDENTITY_CONFLICT"
"""The values came with demographics of somebody else."""

_log = structlog.get_logger()


def store_frame(c: Connection, frame: bytes, accepted: Accepted, *, peer: str, at: dt.datetime) -> int | None:
    """Put a frame into the inbox; its number, or None when it is there already. Answer only after the commit."""
    meta, error = accepted.meta, accepted.error
    new = clinical.NewFrame(
        received_at=at,
        peer=peer,
        sending_app=meta.sending_app,
        sending_facility=meta.sending_facility,
        message_type=meta.message_type,
        control_id=meta.control_id,
        sha256=meta.sha256,
        body=frame,
        ack_code="AA" if error is None else "AR" if error.reject else "AE",
        reason="" if error is None else f"HL7-{error.code} {error.location}".strip(),
    )
    return clinical.store_frame(c, new)


def process_frame(
    c: Connection,
    frame: clinical.StoredFrame,
    rules: Rules,
    *,
    at: dt.datetime,
    trusted: tuple[str, ...] = (),
    default_charset: str = "utf-8",
) -> tuple[Identifier, ...]:
    """Read one frame of the inbox, write its facts and mark it, all in the caller's transaction.

    Returns:
        Every identifier of the patients it touched: their waiting cases are to be poked.

    """
    try:
        reading = read_message(parse(frame.body, default_charset=default_charset), rules, received_at=frame.received_at)
    except HL7Error as error:  # it was readable when it was accepted: the settings changed in between
        clinical.finish_frame(c, frame.seq, quarantine=f"HL7-{error.code}")
        return ()
    facts, refused = _sound(c, reading.facts)
    applied = clinical.apply(c, facts, at, trusted=trusted)
    quarantine = ",".join(dict.fromkeys([*filter(None, [reading.quarantine]), *refused, *applied.refused]))
    clinical.finish_frame(c, frame.seq, quarantine=quarantine)
    _log.info(
        "hl7_processed", frame=frame.seq, written=applied.written, remarks=dict(reading.remarks), quarantine=quarantine
    )
    return touched(c, facts) if applied.written else ()


def touched(c: Connection, facts: Iterable[Fact]) -> tuple[Identifier, ...]:
    """Every identifier, merged ones included, of the persons the facts are about."""
    roots: set[int] = set()
    for identifier in {i for fact in facts for i in _identifiers(fact)}:
        roots.update(persons.root(c, known.person_key) for known in persons.find_issued(c, identifier))
    return tuple(i for r in sorted(roots) for i in persons.identifiers_of(c, persons.group(c, r)))


class LedgerSink:
    """The CSV feed's way into the ledger: one short transaction per batch of rows."""

    def __init__(self, ledger: Ledger, *, trusted: tuple[str, ...] = ()) -> None:
        self._ledger = ledger
        self._trusted = trusted
        self._at = dt.datetime.now(dt.UTC)

    def opened(self, sha256: str, at: dt.datetime) -> int | None:
        """Number of this import, or None when a file of this content was imported before."""
        self._at = at
        with self._ledger.begin() as c:
            return clinical.open_csv(c, sha256, at)

    def write(self, rows: Sequence[RowFacts]) -> Sequence[tuple[int, str]]:
        """Write the facts of these rows; (row, code) of those that were refused."""
        refusals: list[tuple[int, str]] = []
        with self._ledger.begin() as c:
            for row in rows:
                facts, refused = _sound(c, row.facts)
                applied = clinical.apply(c, facts, self._at, trusted=self._trusted)
                refusals += [(row.row, code) for code in (*refused, *applied.refused)]
        return refusals

    def closed(self, import_id: int, *, accepted: bool, rows: int, bad_rows: int) -> None:
        """Record how the file ended."""
        with self._ledger.begin() as c:
            clinical.close_csv(c, import_id, accepted=accepted, rows=rows, bad_rows=bad_rows)


def _sound(c: Connection, facts: Iterable[Fact]) -> tuple[tuple[Fact, ...], tuple[str, ...]]:
    """The facts without those that came with somebody else's demographics."""
    facts = tuple(facts)
    foreign = {i for f in facts if isinstance(f, PersonFact) and _contradicts(c, f) for i in f.identity.identifiers}
    kept = tuple(f for f in facts if not foreign.intersection(_identifiers(f)))
    return kept, (IDENTITY_CONFLICT,) if foreign else ()


def _contradicts(c: Connection, fact: PersonFact) -> bool:
    """Whether a statement that is no authority on demographics contradicts the person it names."""
    if fact.valid_since != UNDATED or not fact.identity.identifiers:
        return False
    for known in persons.find_issued(c, fact.identity.identifiers[0]):
        for key in (persons.root(c, known.person_key), known.person_key):
            stated = persons.demographics(c, key)
            if stated is not None:
                if conflicts(fact.identity, stated[0]) >= VETO:
                    return True
                break
    return False


def _identifiers(fact: Fact) -> tuple[Identifier, ...]:
    match fact:
        case PersonFact():
            return fact.identity.identifiers
        case MergeFact():
            return (fact.survivor, fact.prior)
        case _:
            return (fact.patient,)
