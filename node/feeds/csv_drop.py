"""The CSV drop folder: `inbox/` -> `processing/` -> `done/` or `rejected/`.

The rename to `processing/` is the claim. A file is read twice: first every row is judged, and only a file that is sound
as a whole is written, in batches. Both passes are repeatable, so a file found in `processing/` after a crash is simply
taken again. Writers drop atomically: write `name.csv.part`, fsync, rename to `inbox/name.csv`.
"""

from __future__ import annotations

import csv
import datetime as dt
import enum
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from config.csv_feed import CsvDrop
from model.domain import Identifier
from node.feeds.csv_rows import OPTIONAL_COLUMNS, REQUIRED_COLUMNS, BadRow, RowFacts, read_row
from node.feeds.hl7_messages import Rules

CHUNK_ROWS = 50_000
BATCH_ROWS = 500
"""Rows per transaction: the write lock is held for about a second, and an acknowledgement waits no longer."""
MAX_FILE_BYTES = 2 << 30
MAX_LISTED_ERRORS = 10_000

_ENCODING = "utf-8-sig"
_log = structlog.get_logger()


class Sink(Protocol):
    """Where the rows go. The feed knows no store."""

    def opened(self, sha256: str, at: dt.datetime) -> int | None:
        """Number of this import, or None when a file of this content has been dealt with before."""

    def write(self, rows: Sequence[RowFacts]) -> Sequence[tuple[int, str]]:
        """Store the facts in one transaction; (row, rule) of those it refused."""

    def closed(self, import_id: int, *, accepted: bool, rows: int, bad_rows: int) -> None:
        """The file is finished."""


class FileRule(enum.StrEnum):
    """What makes a file unfit as a whole."""

    SYMLINK = "SYMLINK"
    TOO_LARGE = "TOO_LARGE"
    NOT_UTF8_CSV = "NOT_UTF8_CSV"
    """A renamed workbook, UTF-16, or bytes that are no UTF-8."""
    NUL = "NUL"
    HEADER = "HEADER"
    """A column is missing, unknown or there twice."""
    FIELD_COUNT = "FIELD_COUNT"
    """A row has more or fewer fields than the header."""
    QUOTING = "QUOTING"
    """A quote that is never closed."""
    TOO_MANY_BAD_ROWS = "TOO_MANY_BAD_ROWS"


class FileRejected(Exception):
    """The file as a whole cannot be taken; the message names the rule, never a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    row: int
    column: str
    rule: str


def poll(
    folder: Path, settings: CsvDrop, rules: Rules, sink: Sink, *, at: dt.datetime
) -> tuple[tuple[Identifier, ...], int]:
    """Take every settled file of `folder`/inbox; one caller at a time.

    Returns:
        The patients whose data may have changed, and how many files were dealt with.

    """
    for name in ("inbox", "processing", "done", "rejected"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    touched: dict[Identifier, None] = {}
    claimed = list(_claim(folder, settings.settle, at))
    for path in claimed:
        touched.update(dict.fromkeys(_take(path, folder, settings, rules, sink, at)))
    return tuple(touched), len(claimed)


def _claim(folder: Path, settle: float, at: dt.datetime) -> Iterator[Path]:
    yield from sorted((folder / "processing").glob("*.csv"))  # left by a crash
    for path in sorted((folder / "inbox").glob("*.csv")):
        target = folder / "processing" / path.name
        # Either side of now: a file whose writer's clock runs ahead must not lie here for ever.
        still = abs(at.timestamp() - path.lstat().st_mtime) >= settle
        if still and not path.is_dir() and not target.exists():
            yield path.rename(target)


def _take(
    path: Path, folder: Path, settings: CsvDrop, rules: Rules, sink: Sink, at: dt.datetime
) -> tuple[Identifier, ...]:
    problems: list[_Problem] = []
    import_id: int | None = None
    rows = 0
    patients: dict[Identifier, None] = {}
    try:
        digest = _examined(path)
        import_id = sink.opened(digest, at)
        if import_id is None:
            _log.info("csv_already_imported", sha256=digest)
            _move(path, folder / "done", problems)
            return ()
        rows = _check_shape(path)
        problems = [p for _, p in _read(path, rules, import_id, at) if p is not None]
        if rows and len(problems) * 100 > settings.max_bad_rows_percent * rows:
            raise FileRejected(FileRule.TOO_MANY_BAD_ROWS)  # noqa: TRY301 - judged here on purpose
        for batch in _batches(facts for facts, _ in _read(path, rules, import_id, at) if facts is not None):
            refused = sink.write(batch)
            problems += [_Problem(row=row, column="patient_id", rule=rule) for row, rule in refused]
            patients.update((i, None) for f in batch for i in _patients(f))
    except FileRejected as why:
        problems.insert(0, _Problem(row=0, column="", rule=str(why)))
        accepted = False
    else:
        accepted = True
    if import_id is not None:
        sink.closed(import_id, accepted=accepted, rows=rows, bad_rows=len(problems))
    _move(path, folder / ("done" if accepted else "rejected"), problems)
    _log.info("csv_import", import_id=import_id, accepted=accepted, rows=rows, bad_rows=len(problems))
    return tuple(patients)


def _examined(path: Path) -> str:
    """SHA-256 of the file, once it is known to be a plain text file of bearable size."""
    if path.is_symlink():
        raise FileRejected(FileRule.SYMLINK)
    if path.stat().st_size > MAX_FILE_BYTES:
        raise FileRejected(FileRule.TOO_LARGE)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if file.read(2) in (b"PK", b"\xff\xfe", b"\xfe\xff"):
            raise FileRejected(FileRule.NOT_UTF8_CSV)
        file.seek(0)
        while piece := file.read(1 << 20):
            if b"\0" in piece:
                raise FileRejected(FileRule.NUL)
            digest.update(piece)
    return digest.hexdigest()


def _check_shape(path: Path) -> int:
    """Rows below the header, once each is known to have the header's number of fields.

    pandas would shift every column when the first row is longer than the header, and pad short rows.
    """
    try:
        with path.open(encoding=_ENCODING, newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            _check_header(header)
            rows = 0
            for record in reader:
                rows += bool(record)
                if record and len(record) != len(header):
                    raise FileRejected(FileRule.FIELD_COUNT)
            return rows
    except UnicodeDecodeError as error:
        raise FileRejected(FileRule.NOT_UTF8_CSV) from error
    except csv.Error as error:
        raise FileRejected(FileRule.QUOTING) from error


def _check_header(header: list[str]) -> None:
    columns = set(header)
    if len(columns) != len(header) or columns - OPTIONAL_COLUMNS != REQUIRED_COLUMNS:
        raise FileRejected(FileRule.HEADER)


def _read(
    path: Path, rules: Rules, import_id: int, at: dt.datetime
) -> Iterator[tuple[RowFacts | None, _Problem | None]]:
    """Each row's facts (None when bad) and its problem (None when good)."""
    import pandas as pd  # noqa: PLC0415 - costs 0.5 s and 40 MB; the listener that polls an empty folder need not pay

    number = 0
    with pd.read_csv(
        path, dtype=str, keep_default_na=False, chunksize=CHUNK_ROWS, encoding=_ENCODING, index_col=False
    ) as chunks:
        for chunk in chunks:
            columns = list(chunk.columns)
            for record in chunk.itertuples(index=False, name=None):
                number += 1
                try:
                    facts = read_row(dict(zip(columns, record, strict=True)), number, rules, import_id=import_id, at=at)
                except BadRow as bad:
                    yield None, _Problem(row=number, column=bad.column, rule=bad.rule)
                    continue
                problem = facts.problem
                yield facts, _Problem(row=number, column=problem[0], rule=problem[1]) if problem else None


def _batches(rows: Iterator[RowFacts]) -> Iterator[list[RowFacts]]:
    batch: list[RowFacts] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _patients(row: RowFacts) -> Iterator[Identifier]:
    return (fact.patient for fact in row.facts if hasattr(fact, "patient"))


def _move(path: Path, folder: Path, problems: list[_Problem]) -> None:
    """Put the file where it ends, with the list of its errors beside it; never over another file."""
    stem, count = path.stem, 1
    while (folder / f"{stem}.csv").exists() or (folder / f"{stem}.errors.csv").exists():
        count += 1
        stem = f"{path.stem}-{count}"
    if problems:
        with (folder / f"{stem}.errors.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["row", "column", "rule"])
            writer.writerows((p.row, p.column, p.rule) for p in problems[:MAX_LISTED_ERRORS])
    path.rename(folder / f"{stem}.csv")
