"""One claimed file from first look to last row.

It is read three times: as raw rows (shape), row by row for judgement, and only when it is sound as a whole once more to
be written, in batches. Every pass is repeatable and each batch is committed with the number of its last row, so an
import that a crash interrupted goes on where it was, and the tables end as if nothing had happened.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar
from zoneinfo import ZoneInfo

from config.codes import CodeTable
from config.csv_feed import CsvDrop
from node.facts import Fact
from node.feeds.csv_drop import manifest_of, unread
from node.feeds.csv_judge import Judgement, judge, usable_rows
from node.feeds.csv_keys import key_prefix
from node.feeds.csv_layout import Layout, layout_of, read_manifest
from node.feeds.csv_rows import RowFacts, RowReader
from node.feeds.csv_rules import MAX_LISTED, FileHeld, FileRejected, FileRule, FileUnfit, Problem, RowRule
from node.feeds.csv_shape import Shape, Stamp, check_shape, sha256_of, stamp
from node.issuers import Issuers

BATCH_ROWS = 1_000
"""Rows per transaction: an image that is being received waits so long for the ledger, about a tenth of a second."""
PAUSE_SECONDS = 0.02
"""Between two transactions, so that whoever waits for the ledger comes first."""

T = TypeVar("T")


class Stopped(Exception):
    """The node stops; the import goes on where it was after the next start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An import that the ledger has taken up."""

    import_id: int
    opened_at: dt.datetime
    """When the file could first be known."""
    rows_done: int = 0
    released: bool = False
    """A person decided that it is to be taken although it was held."""
    outdated: bool = False
    """A file of its source that was made later is imported already: it may only add what nobody knows yet."""
    replaced: bool = False
    """It is outdated and a snapshot, or older than one: nothing of it may be taken, whoever releases it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """What stands from a source and is not in its snapshot."""

    facts: tuple[Fact, ...]
    """They take it back."""
    standing: int
    """How many values of the source stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a file ended."""

    where: str
    """`done`, `rejected` or `held`."""
    import_id: int | None = None
    """None when it was refused before the ledger knew of it, or was imported before."""
    rule: str = ""
    """Why it is rejected or held."""
    rows: int = 0
    bad_rows: int = 0
    remarks: tuple[tuple[str, int], ...] = ()
    """Why values made no fact, with their counts: codes that the table does not know, and the like."""
    problems: tuple[Problem, ...] = ()
    """At most `MAX_LISTED` of them, and the file's own."""


class Sink(Protocol):
    """Where the rows go. The feed knows no store."""

    def opened(self, digest: str, layout: Layout | None) -> Opened | None:
        """Take up an import; None when it was done before and still holds. `layout` is None where it cannot be said."""

    def write(self, import_id: int, rows: Sequence[RowFacts]) -> Sequence[tuple[int, str]]:
        """Store the facts of these rows in one transaction; (row, code) of those it refused."""

    def known(self, keys: Collection[str]) -> Collection[str]:
        """Those of the keys under which something stands, or stood once."""

    def absent(self, opened: Opened, prefix: str, present: Callable[[str], bool]) -> Absent:
        """What stands under keys that begin with `prefix` and are not `present`."""

    def delete(self, import_id: int, facts: Sequence[Fact]) -> None:
        """Store facts that take back what a snapshot lacks, in one transaction."""

    def closed(self, import_id: int, outcome: Outcome) -> None:
        """The file is finished, or held."""

    def refused(self, rule: FileRule) -> None:
        """Something in the inbox is not even a file to be read."""


class Importer:
    """Imports the files of one drop folder, one at a time.

    Args:
        settings: the feed's.
        codes: the code table.
        issuers: the site's assigning authorities.
        zone: of times without an offset where nothing else is declared.
        sink: where the rows go.
        pause: called with seconds between batches; may raise `Stopped`.

    """

    def __init__(
        self,
        settings: CsvDrop,
        codes: CodeTable,
        issuers: Issuers,
        zone: ZoneInfo,
        sink: Sink,
        pause: Callable[[float], object],
    ) -> None:
        self._settings = settings
        self._codes = codes
        self._issuers = issuers
        self._zone = zone
        self._sink = sink
        self._pause = pause
        self._current: Opened | None = None

    def take(self, path: Path) -> Outcome:
        """Import the claimed file at `path`; the caller moves it.

        Raises:
            Stopped: by `pause`; the file stays claimed.

        """
        self._current = None
        try:
            before = stamp(path)
            sha256 = sha256_of(path)
        except FileRejected as why:
            self._sink.refused(why.rule)
            return Outcome(where="rejected", rule=why.rule, problems=(Problem(rule=why.rule),))
        layout = self._layout(path, sha256)
        named = layout if isinstance(layout, Layout) else None
        opened = self._sink.opened(named.digest(sha256) if named else sha256, named)
        self._current = opened
        if opened is None:
            return Outcome(where="done")
        try:
            if not isinstance(layout, Layout):
                raise layout
            outcome = self._import(path, layout, before, opened)
        except FileUnfit as why:
            outcome = _unfit(why, opened)
        self._sink.closed(opened.import_id, outcome)
        return outcome

    def broke(self) -> Outcome:
        """What to do with the file whose import raised what nobody foresaw: a person must look, and no loop begins."""
        if self._current is None:
            self._sink.refused(FileRule.FAILED)
            return Outcome(where="rejected", rule=FileRule.FAILED, problems=(Problem(rule=FileRule.FAILED),))
        outcome = _unfit(FileHeld(FileRule.FAILED), self._current)
        self._sink.closed(self._current.import_id, outcome)
        return outcome

    def _layout(self, path: Path, sha256: str) -> Layout | FileUnfit:
        """How the file is read, or why that cannot be said."""
        try:
            if (rule := unread(path)) is not None:
                raise FileRejected(rule)
            manifest = read_manifest(manifest_of(path))
            if manifest is None and self._settings.require_manifest:
                raise FileRejected(FileRule.MANIFEST)
            if manifest is not None and manifest.sha256.lower() != sha256:
                raise FileRejected(FileRule.WRONG_HASH)
            return layout_of(path.name, manifest, self._settings, self._zone)
        except FileUnfit as why:
            return why

    def _import(self, path: Path, layout: Layout, before: Stamp, opened: Opened) -> Outcome:
        shape = check_shape(path, layout)
        if layout.manifest is not None and layout.manifest.rows not in (None, shape.rows):
            raise FileRejected(FileRule.ROW_COUNT)
        found = judge(path, layout, shape, self._reader(layout, shape, opened), lambda: self._pause(0))
        repeated = found.close()
        self._check(found, shape, opened)
        absent = self._absent(layout, found, shape, opened)
        if stamp(path) != before:
            raise FileRejected(FileRule.CHANGED)
        reader = self._reader(layout, shape, opened, repeated)
        rows = usable_rows(path, layout, shape, reader, after=opened.rows_done)
        self._write(rows, found, opened)
        for facts in _batches(absent.facts):
            self._sink.delete(opened.import_id, facts)
            self._pause(PAUSE_SECONDS)
        return Outcome(
            where="done",
            import_id=opened.import_id,
            rows=shape.rows,
            bad_rows=found.bad_rows,
            remarks=tuple(sorted(found.remarks.items())),
            problems=tuple(sorted(found.problems, key=lambda p: p.row)),
        )

    def _reader(
        self, layout: Layout, shape: Shape, opened: Opened, repeated: frozenset[int] = frozenset()
    ) -> RowReader:
        return RowReader(
            layout,
            shape.header,
            self._codes,
            self._issuers,
            available_at=opened.opened_at,
            import_id=opened.import_id,
            repeated=repeated,
        )

    def _check(self, found: Judgement, shape: Shape, opened: Opened) -> None:
        """Raise FileHeld when too many rows are bad, or the file is outdated, unless a person's release mends that."""
        if found.bad_rows * 100 > self._settings.max_bad_rows_percent * shape.rows and not opened.released:
            raise FileHeld(FileRule.TOO_MANY_BAD_ROWS, tuple(found.problems), rows=shape.rows, bad_rows=found.bad_rows)
        if opened.replaced or (opened.outdated and not opened.released):
            raise FileHeld(FileRule.OUTDATED, tuple(found.problems), rows=shape.rows, bad_rows=found.bad_rows)

    def _absent(self, layout: Layout, found: Judgement, shape: Shape, opened: Opened) -> Absent:
        """What a snapshot lacks. Raises FileHeld when it is too much and nobody released the file."""
        if not layout.snapshot:
            return Absent(facts=(), standing=0)
        absent = self._sink.absent(opened, key_prefix(layout.name), found.present())
        too_many = len(absent.facts) * 100 > self._settings.max_deletions_percent * absent.standing
        if too_many and not opened.released:
            raise FileHeld(FileRule.TOO_MANY_DELETIONS, tuple(found.problems), rows=shape.rows, bad_rows=found.bad_rows)
        return absent

    def _write(self, rows: Iterable[RowFacts], found: Judgement, opened: Opened) -> None:
        for batch in _batches(rows):
            new = self._new_only(batch, found) if opened.outdated else batch
            for row, code in self._sink.write(opened.import_id, new):
                found.note(row, code, column="patient_id")
            self._pause(PAUSE_SECONDS)

    def _new_only(self, batch: Sequence[RowFacts], found: Judgement) -> Sequence[RowFacts]:
        # Whose file a known value came with tells nothing: a later one may have stated it again, which leaves no trace.
        known = frozenset(self._sink.known([key for row in batch for key in row.keys]))
        for row in batch:
            if not known.isdisjoint(row.keys):
                found.note(row.row, RowRule.OUTDATED)
        return [_without(row, known) for row in batch]


def _without(row: RowFacts, known: frozenset[str]) -> RowFacts:
    if known.isdisjoint(row.keys):
        return row
    keys = tuple(key for key in row.keys if key not in known)
    facts = tuple(fact for fact in row.facts if getattr(fact, "key", "") not in known)
    return replace(row, keys=keys, facts=facts if keys else ())


def _unfit(why: FileUnfit, opened: Opened) -> Outcome:
    return Outcome(
        where="held" if isinstance(why, FileHeld) else "rejected",
        import_id=opened.import_id,
        rule=why.rule,
        rows=why.rows,
        bad_rows=why.bad_rows,
        problems=(Problem(rule=why.rule), *why.problems[:MAX_LISTED]),
    )


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, BATCH_ROWS)):
        yield batch
