"""The results table of an archive run: one row per file, an honest head, and the same bytes for the same input.

While a run goes on, rows are appended to `<name>.part` as they become ready; a run that was stopped goes on from there.
The finished table is sorted by file and replaces the old one at once. No patient's name or number stands in it.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from config.settings import SettingsError

SCREENED: Final = "screened"
NOT_ASSESSED: Final = "not-assessed"
FAILED: Final = "failed"
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


COLUMNS: Final = tuple(field.name for field in fields(Row))


class Table:
    """The table at `path`, made by the model that `head` names."""

    def __init__(self, path: Path, head: tuple[str, ...]) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._head = [f"# {line}" for line in head]
        self._written = 0

    def known(self) -> dict[str, Row]:
        """Rows of the finished table and of a run that was stopped, by file; failed ones are left out, to be retried.

        Raises:
            SettingsError: a file is no such table, or was made with another model, engine or version.

        """
        rows = [row for path in (self._path, self._part) for row in self._read(path)]
        return {row.file: row for row in rows if row.status != FAILED}

    def append(self, row: Row) -> None:
        """Keep a row."""
        fresh = not self._part.exists()
        with self._part.open("a", encoding="utf-8", newline="") as file:
            if fresh:
                self._begin(file)
            csv.DictWriter(file, COLUMNS).writerow(asdict(row))
            self._written += 1
            if self._written % _SYNC_EVERY == 0:
                file.flush()
                os.fsync(file.fileno())

    def finish(self, rows: Iterable[Row]) -> None:
        """Write the finished table, sorted by file."""
        new = self._path.with_name(f"{self._path.name}.new")
        with new.open("w", encoding="utf-8", newline="") as file:
            self._begin(file)
            csv.DictWriter(file, COLUMNS).writerows(asdict(row) for row in sorted(rows, key=lambda row: row.file))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        self._part.unlink(missing_ok=True)

    def _begin(self, file: Iterable[str]) -> None:
        file.write("".join(f"{line}\n" for line in self._head))  # type: ignore[attr-defined] # a text file
        csv.DictWriter(file, COLUMNS).writeheader()  # type: ignore[arg-type]

    def _read(self, path: Path) -> Iterator[Row]:
        try:
            with path.open(encoding="utf-8", newline="") as file:
                lines = file.read().split("\n")
        except FileNotFoundError:
            return
        count = len(self._head)
        if lines[:count] != self._head or lines[count].rstrip("\r") != ",".join(COLUMNS):
            msg = f"{path}: was made with another model, engine or version, or is no results table; give another --out"
            raise SettingsError(msg)
        for values in csv.DictReader(lines[count:-1]):  # a line without its end was being written when the power went
            if None not in values.values():
                yield Row(**values)
