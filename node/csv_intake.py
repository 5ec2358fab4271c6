"""The CSV feed's way into the ledger: one short transaction per batch of rows, and the cases that wait are told.

Rows go through the same writer as HL7 messages, each as a message of its own; what a batch needs is looked up together.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Sequence

import structlog

from model.domain import Identifier
from node.facts import Change, DxaFact, Fact, ObservationFact, PersonFact, replaces
from node.feeds.csv_header import described
from node.feeds.csv_import import Absent, Opened, Outcome
from node.feeds.csv_layout import Layout
from node.feeds.csv_rows import RowFacts
from node.feeds.csv_rules import FileRule
from node.intake import sound
from node.store import alerts, csv_files
from node.store.clinical_bulk import introduce
from node.store.clinical_message import Message
from node.store.clinical_persons import Known
from node.store.clinical_writer import Writer
from node.store.csv_files import CsvState, Offered, OpenValue, Overtaken
from node.store.engine import Connection, Ledger

_END = {"done": CsvState.DONE, "held": CsvState.HELD, "rejected": CsvState.REJECTED}

_log = structlog.get_logger()


class LedgerSink:
    """Writes the rows of CSV files.

    Args:
        ledger: where to.
        changed: told, in the transaction that did it, what changed.
        trusted: assigning authorities that may be inserted; empty means all.
        now: the time at which rows become known to the node.

    """

    def __init__(
        self,
        ledger: Ledger,
        changed: Callable[[Connection, Sequence[Change]], object],
        *,
        trusted: tuple[str, ...] = (),
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._ledger = ledger
        self._changed = changed
        self._trusted = trusted
        self._now = now

    def opened(self, digest: str, layout: Layout | None) -> Opened | None:
        """Take up an import; None when this content was imported before and still holds."""
        with self._ledger.begin() as c:
            file = csv_files.open_file(c, _offered(digest, layout), self._now())
            overtaken = csv_files.overtaken(c, file)
        if file.state == CsvState.DONE:
            _log.info("csv_already_imported", import_id=file.id)
            return None
        return Opened(
            import_id=file.id,
            opened_at=file.recorded_at,
            rows_done=file.rows_done,
            released=file.state == CsvState.RELEASED,
            outdated=overtaken is not Overtaken.NO,
            replaced=overtaken is Overtaken.WHOLLY,
        )

    def write(self, import_id: int, rows: Sequence[RowFacts]) -> Sequence[tuple[int, str]]:
        """Write the facts of these rows; (row, code) of those that were refused."""
        refusals: list[tuple[int, str]] = []
        at = self._now()
        with self._ledger.begin() as c:
            batch = _Batch(c, self._trusted, import_id, rows, at)
            for row in rows:
                refusals += [(row.row, code) for code in batch.take(row)]
            changes = batch.end()
            csv_files.advance(c, import_id, rows_done=rows[-1].row, written=batch.written)
            self._changed(c, changes)
        return refusals

    def known(self, keys: Collection[str]) -> Collection[str]:
        """Those of the keys under which something stands, or stood once."""
        with self._ledger.read() as c:
            return csv_files.known(c, keys)

    def absent(self, opened: Opened, prefix: str, present: Callable[[str], bool]) -> Absent:
        """What stands under this prefix and is not present, as facts that take it back."""
        facts: list[Fact] = []
        standing = 0
        with self._ledger.read() as c:
            for value in csv_files.open_values(c, prefix):
                standing += 1
                if not present(value.key):
                    facts.append(_void(value, opened.import_id, opened.opened_at))
        return Absent(facts=tuple(facts), standing=standing)

    def delete(self, import_id: int, facts: Sequence[Fact]) -> None:
        """Take back what a snapshot lacks."""
        with self._ledger.begin() as c:
            writer = Writer(c, trusted=self._trusted)
            applied = writer.apply(facts, self._now())
            changes = (*applied.changes, *writer.flush())
            csv_files.take_back(c, import_id, written=applied.written)
            self._changed(c, changes)

    def closed(self, import_id: int, outcome: Outcome) -> None:
        """Record how the file ended."""
        with self._ledger.begin() as c:
            csv_files.finish(
                c,
                import_id,
                _END[outcome.where],
                reason=outcome.rule,
                rows=outcome.rows,
                bad_rows=outcome.bad_rows,
            )
        _log.info(
            "csv_import",
            import_id=import_id,
            outcome=outcome.where,
            rule=outcome.rule,
            header=described(outcome.problems),
            rows=outcome.rows,
            bad_rows=outcome.bad_rows,
            remarks=dict(outcome.remarks),
        )

    def refused(self, rule: FileRule) -> None:
        """Something lay in the inbox that is no file to be read: a person must look."""
        with self._ledger.begin() as c:
            alerts.raise_alert(c, alerts.AlertKind.QUARANTINED, "drop folder", rule)
        _log.warning("csv_refused", rule=str(rule))


def _offered(digest: str, layout: Layout | None) -> Offered:
    if layout is None:
        return Offered(sha256=digest)
    return Offered(
        sha256=digest,
        source=layout.name,
        created=layout.created,
        ordered=layout.ordered,
        snapshot=layout.snapshot,
    )


class _Batch:
    """The rows of one transaction, each a message of its own; what they need is looked up together."""

    def __init__(
        self, c: Connection, trusted: tuple[str, ...], import_id: int, rows: Sequence[RowFacts], at: dt.datetime
    ) -> None:
        self._at = at
        self._import_id = import_id
        self._writer = Writer(c, trusted=trusted)
        self._stale = csv_files.observations_at(c, {key for row in rows if not _plain(row) for key in _stale_keys(row)})
        # A statement stands once for all rows that repeat it (`RowReader`), so most of them are told by being the same.
        facts = list({id(fact): fact for row in rows for fact in row.facts}.values())
        new = introduce(c, self._writer.people, (f for f in facts if isinstance(f, PersonFact)), at)
        self._writer.prepare(facts)
        self._changes = list(new.values())
        self._said: dict[Identifier, PersonFact] = {s.identity.identifiers[0]: s for s in new}
        """The last statement about each person: said again with the next value, it says nothing new."""
        self._patient: tuple[Fact, Known | None] | None = None
        """Of the last statement, when it says nothing new: for a row that is `_plain`."""
        self.written = 2 * len(new)

    def take(self, row: RowFacts) -> tuple[str, ...]:
        """Write one row; the codes of what was refused."""
        if _plain(row):
            said, value = row.facts
            if self._patient is None or self._patient[0] is not said:
                self._patient = said, self._same_as_said(said)
            if (patient := self._patient[1]) is not None and isinstance(value, ObservationFact):
                return self._take_value(value, patient)
        self._patient = None  # what follows may change what stands of the person
        return self._take(row)

    def _same_as_said(self, said: Fact) -> Known | None:
        """The patient of a statement that was just made, where it stands as stated; else None."""
        if not isinstance(said, PersonFact) or self._said.get(said.identity.identifiers[0]) != said:
            return None
        return self._writer.known(said.identity.identifiers[0])

    def _take_value(self, value: ObservationFact, patient: Known) -> tuple[str, ...]:
        message = Message(at=self._at, seq=None)
        self._writer.take_value(value, patient, message)
        self.written += message.written
        self._changes += message.changes
        return ()

    def _take(self, row: RowFacts) -> tuple[str, ...]:
        facts, refused = row.facts, tuple[str, ...]()
        said = next((f for f in facts if isinstance(f, PersonFact)), None)
        if said is not None and self._said.get(said.identity.identifiers[0]) == said:
            facts = tuple(f for f in facts if f is not said)
        else:
            facts, refused = sound(self._writer.people, facts)
        stale = [self._stale[key] for key in _stale_keys(row) if key in self._stale]
        facts = (*facts, *(_void(value, self._import_id, self._at) for value in stale))
        applied = self._writer.apply(facts, self._at)
        self.written += applied.written
        self._changes += applied.changes
        refused = (*refused, *applied.refused)
        if said is not None and not refused:
            self._said[said.identity.identifiers[0]] = said
        return refused

    def end(self) -> tuple[Change, ...]:
        """Write what was collected; everything that the batch changed."""
        return (*self._changes, *self._writer.flush())


def _plain(row: RowFacts) -> bool:
    """Whether the row states a person and one value under one key that takes nothing back: so are nearly all."""
    if len(row.facts) != 2 or len(row.keys) != 1:  # noqa: PLR2004 - person and value
        return False
    value = row.facts[1]
    return isinstance(value, ObservationFact) and not replaces(value)


def _stale_keys(row: RowFacts) -> set[str]:
    """Own ids of a row under which it states no observation any more: an earlier one is not what the source says."""
    stated = {fact.key for fact in row.facts if isinstance(fact, ObservationFact)}
    return {key for key in row.keys if key not in stated} if row.own else set()


def _void(value: OpenValue, import_id: int, at: dt.datetime) -> ObservationFact | DxaFact:
    source = f"CSV {import_id}:0"
    if value.region:
        return DxaFact(
            patient=value.patient,
            key=value.key,
            region=value.region,
            t_score=None,
            observed_at=value.start_at,
            source=source,
            usable=False,
            reason="VOID",
        )
    return ObservationFact(
        patient=value.patient,
        key=value.key,
        variable=value.variable,
        raw_value="",
        raw_unit="",
        value=None,
        unit=value.unit,
        observed_start=value.start_at,
        observed_end=value.end_at,
        available_at=at,
        usable=False,
        reason="VOID",
        source=source,
        code=value.code,
        status="D",
    )
