"""The results table of an archive run: one row per file, an honest head, and the same bytes for the same input.

The head names the model and the settings that every row was made with, each row the input it rests on: a row goes on
standing only while all of these are what they were, so that no score outlives what it was made from.

While a run goes on, rows are appended to `<name>.part` as they become ready; a run that was stopped goes on from there.
The finished table is sorted by file and replaces the old one at once. No patient's name or number stands in it.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import operator
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, TextIO, cast

from config.settings import SettingsError

SCREENED: Final = "screened"
NOT_ASSESSED: Final = "not-assessed"
FAILED: Final = "failed"
_FIRST: Final = "# Osteon "
"""How the head of every results table begins."""
_SYNC_EVERY: Final = 50
"""Rows; a power cut costs at most so many images, which the next run screens again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of one file. Probabilities are empty where nothing was scored."""

    file: str
    status: str
    codes: str = ""
    """Why it was not assessed or failed, else what limits the result; separated by blanks."""
    category: str = ""
    mode: str = ""
    probability: str = ""
    """The decisive one, to be compared with the thresholds beside it."""
    threshold_low: str = ""
    threshold_high: str = ""
    p_image: str = ""
    p_clinical: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    input: str = ""
    """`Job.digest` of what it rests on: of another input, it is no row of this file any more."""


COLUMNS: Final = tuple(field.name for field in fields(Row))
_values: Final = operator.attrgetter(*COLUMNS)


def beside(path: Path) -> tuple[Path, Path]:
    """What lies beside the table at `path` while a run goes on: its rows so far, and the table that replaces it."""
    return path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.new")


def _opened(path: Path, mode: str) -> TextIO:
    """As text in which every file name can stand, also one that is not UTF-8."""
    return cast("TextIO", path.open(mode, encoding="utf-8", errors="surrogateescape", newline=""))


class Table:
    """The table at `path`, made by the model and under the settings that `head` names."""

    def __init__(self, path: Path, head: tuple[str, ...]) -> None:
        self._path = path
        self._part = beside(path)[0]
        self._head = [f"# {line}" for line in head]
        self._written = 0

    def known(self) -> dict[str, Row]:
        """Rows of the finished table and of a run that was stopped, by file; failed ones are left out, to be retried.

        What of the latter was being written when the power went is cut off.

        Raises:
            SettingsError: a file is no such table, or was made with another model, engine, version or setting.

        """
        self._cut_off()
        rows = [row for path in (self._path, self._part) for row in self._read(path)]
        return {row.file: row for row in rows if row.status != FAILED}

    def append(self, row: Row) -> None:
        """Keep a row. Raises SettingsError where it cannot be written."""
        fresh = not self._part.exists()
        with self._told(), _opened(self._part, "a") as file:
            if fresh:
                file.write(self._begin())
            csv.writer(file).writerow(_values(row))
            self._written += 1
            if self._written % _SYNC_EVERY == 0:
                file.flush()
                os.fsync(file.fileno())

    def finish(self, rows: Iterable[Row]) -> None:
        """Write the finished table, sorted by file. Raises SettingsError where it cannot be written."""
        new = beside(self._path)[1]
        with self._told():
            try:
                with _opened(new, "w") as file:
                    file.write(self._begin())
                    csv.writer(file).writerows(_values(row) for row in sorted(rows, key=lambda row: row.file))
                    file.flush()
                    os.fsync(file.fileno())
                new.replace(self._path)
            finally:
                new.unlink(missing_ok=True)
        self._part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            msg = f"{self._path}: cannot be written ({error.strerror}); mend that and start again: what is done is kept"
            raise SettingsError(msg) from error

    def _begin(self) -> str:
        return "".join(f"{line}\n" for line in self._head) + ",".join(COLUMNS) + "\r\n"

    def _cut_off(self) -> None:
        try:
            found = self._part.read_bytes()
        except FileNotFoundError:
            return
        begin = self._begin().encode()
        if begin.startswith(found):
            self._part.unlink()
        elif found.startswith(begin):  # else it is not ours to cut, and `_read` refuses it
            rows, end, torn = found.rpartition(b"\r\n")  # a name may hold a newline of its own
            if torn:
                os.truncate(self._part, len(rows) + len(end))

    def _read(self, path: Path) -> Iterator[Row]:
        try:
            with _opened(path, "r") as file:
                lines = file.readlines()
        except FileNotFoundError:
            return
        count = len(self._refuse_another(path, [line.rstrip("\r\n") for line in lines]))
        for values in csv.DictReader(lines[count:]):
            if None not in values and None not in values.values():
                yield Row(**values)

    def _refuse_another(self, path: Path, lines: list[str]) -> list[str]:
        """Its head, which is this one: what another model, setting or version made does not mix with these rows."""
        head = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
        columns = "".join(lines[len(head) : len(head) + 1]).rstrip("\r")
        differing = [pair for pair in itertools.zip_longest(head, self._head, fillvalue="") if pair[0] != pair[1]]
        if not head or not head[0].startswith(_FIRST):
            msg = f"{path}: is no results table of `osteon screen`; give another --out"
        elif columns != ",".join(COLUMNS):
            msg = (
                f"{path}: was made by another version of Osteon, and its rows do not say which input they rest on: "
                "none can be taken over; give another --out, where every file is screened again"
            )
        elif differing:
            msg = (
                f"{path}: was made with another model, engine, version or setting, and rows of both do not mix; give "
                f"another --out. The table says {differing[0][0]!r}, this run {differing[0][1]!r}"
            )
        else:
            return head
        raise SettingsError(msg)
