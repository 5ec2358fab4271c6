"""A site's manifest as typed rows: whatever can be wrong with a line is said before any film is read.

Columns are an allow-list: a column that nobody uses is refused, not ignored, since the one that nobody thought of is
the one that leaks. Not allowed here: what a film's header says, and saying anything of a row but its line.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn
from zoneinfo import ZoneInfo

from model.domain import Sex
from model.train.dxa_label import REGIONS
from model.train.split import LeakageError

REQUIRED_COLUMNS: Final = ("patient", "file", "dxa_date", "weight", "weight_at")
TRUTH_COLUMNS: Final = tuple(f"t_{region}" for region in REGIONS)
OPTIONAL_COLUMNS: Final = ("acquired_at", "age", "sex", "weight_available_at")
_DXA_WORDS: Final = ("bmd", "bmc", "t_", "z_", "tscore", "zscore", "t-score", "z-score", "frax", "tbs", "dxa", "dexa")
_T_SCORES: Final = (-10.0, 10.0)
"""Beyond are the -99 and 999 by which tables say that there is none."""
_AGES: Final = (0.0, 130.0)
_ANY_NUMBER: Final = (-math.inf, math.inf)


class ManifestError(Exception):
    """The site's manifest cannot be used. One line: the line or column, what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedWeight:
    """One weight and when it was measured; a date without a time is its whole day."""

    kilograms: float
    start_at: dt.datetime
    end_at: dt.datetime
    available_at: dt.datetime
    """When a node could have known it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRow:
    """One film and one DXA. Times are aware."""

    line: int
    patient: str = field(repr=False)
    file: Path = field(repr=False)
    """Absolute, so that one file has one spelling."""
    dxa_at: dt.datetime
    t_scores: tuple[tuple[str, float], ...]
    """Region and T-score, of the regions that were measured."""
    acquired_at: dt.datetime | None
    age_years: float
    """NaN where the row has none."""
    sex: Sex
    weight: StatedWeight | None


def read_rows(path: Path, zone: ZoneInfo) -> tuple[SiteRow, ...]:
    """The manifest's rows; `zone` is that of times without offset.

    Raises:
        LeakageError: a column may carry the truth.
        ManifestError: a line or a column cannot be used.
        OSError: the manifest cannot be read.

    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return tuple(_rows(csv.DictReader(lines), path.parent, zone))
    except UnicodeDecodeError as error:
        msg = f"{path}: not in UTF-8; save it as CSV UTF-8"
        raise ManifestError(msg) from error
    except csv.Error as error:
        msg = f"{path}: not a CSV ({error})"
        raise ManifestError(msg) from error


def first_rows(rows: Iterable[SiteRow]) -> tuple[SiteRow, ...]:
    """Of each file the first row. Raises LeakageError where a file stands under two patients."""
    first: dict[Path, SiteRow] = {}
    for row in rows:
        refuse_two_patients(first.setdefault(row.file, row), row)
    return tuple(first.values())


def refuse_columns(names: Iterable[str]) -> None:
    """Raise LeakageError for a column that is not on the allow-list, ManifestError where a needed one is missing."""
    present = list(names)
    allowed = {*REQUIRED_COLUMNS, *TRUTH_COLUMNS, *OPTIONAL_COLUMNS}
    for name in present:
        if name not in allowed:
            known = any(word in name.lower() for word in _DXA_WORDS)
            why = "comes from DXA and would tell the model its answer" if known else "is not one that training uses"
            msg = f"column {name!r} {why}; remove it (allowed: {', '.join(sorted(allowed))})"
            raise LeakageError(msg)
    missing = [name for name in REQUIRED_COLUMNS if name not in present]
    if missing or not any(name in present for name in TRUTH_COLUMNS):
        needed = f"{', '.join(REQUIRED_COLUMNS)} and one of {', '.join(TRUTH_COLUMNS)}"
        msg = f"the manifest needs the columns {needed}; it lacks {', '.join(missing) or 'a T-score'}"
        raise ManifestError(msg)


def refuse_two_patients(first: SiteRow, again: SiteRow) -> None:
    """Raise LeakageError where two rows of one film name two patients."""
    if first.patient != again.patient:
        msg = f"line {again.line}: its film is that of line {first.line}, another patient's; one film has one patient"
        raise LeakageError(msg)


def _rows(reader: csv.DictReader[str], folder: Path, zone: ZoneInfo) -> Iterator[SiteRow]:
    refuse_columns(reader.fieldnames or ())
    for values in reader:
        if None in values:
            msg = f"line {reader.line_num} has more cells than the header has columns"
            raise ManifestError(msg)
        cells = {name: (value or "").strip() for name, value in values.items()}
        yield _row(_Line(number=reader.line_num, cells=cells, zone=zone), folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """The cells of one line by column, and what they say."""

    number: int
    cells: Mapping[str, str] = field(repr=False)
    zone: ZoneInfo

    def text(self, column: str) -> str:
        return self.cells.get(column, "")

    def figure(self, column: str, limits: tuple[float, float]) -> float:
        """NaN where the cell is empty."""
        try:
            value = float(self.text(column) or "nan")
        except ValueError as error:
            self.refuse(column, "is not a number", error)
        if value < limits[0] or value > limits[1]:
            low, high = limits
            self.refuse(column, f"is not between {low:g} and {high:g}; leave it empty where nothing is known")
        return value

    def moment(self, column: str) -> dt.datetime | None:
        """ISO 8601; without an offset it is in the site's zone."""
        if not self.text(column):
            return None
        try:
            at = dt.datetime.fromisoformat(self.text(column))
        except ValueError as error:
            self.refuse(column, "is not a date or time in ISO 8601 form", error)
        return at if at.tzinfo else at.replace(tzinfo=self.zone)

    def sex(self) -> Sex:
        stated = self.text("sex")
        if stated not in ("", *Sex):
            self.refuse("sex", f"is none of {', '.join(Sex)}; leave it empty where it is not known")
        return Sex(stated or Sex.UNKNOWN)

    def refuse(self, column: str, what: str, cause: Exception | None = None) -> NoReturn:
        msg = f"line {self.number}: {column} {what}"
        raise ManifestError(msg) from cause


def _row(line: _Line, folder: Path) -> SiteRow:
    dxa_at, file = line.moment("dxa_date"), (folder / line.text("file")).resolve()
    if dxa_at is None or not (line.text("patient") and line.text("file")):
        msg = f"line {line.number} lacks a patient, a file or a dxa_date"
        raise ManifestError(msg)
    if not file.is_file():
        line.refuse("file", "names no file that is there")
    scores = {region: line.figure(column, _T_SCORES) for region, column in zip(REGIONS, TRUTH_COLUMNS, strict=True)}
    return SiteRow(
        line=line.number,
        patient=line.text("patient"),
        file=file,
        dxa_at=dxa_at,
        t_scores=tuple((region, score) for region, score in scores.items() if not math.isnan(score)),
        acquired_at=line.moment("acquired_at"),
        age_years=line.figure("age", _AGES),
        sex=line.sex(),
        weight=_weight(line),
    )


def _weight(line: _Line) -> StatedWeight | None:
    kilograms, at = line.figure("weight", _ANY_NUMBER), line.moment("weight_at")
    available = line.moment("weight_available_at")
    if not math.isfinite(kilograms) or at is None:
        return None
    whole_day = len(line.text("weight_at")) == len("2025-01-31")
    return StatedWeight(
        kilograms=kilograms,
        start_at=at,
        end_at=at + dt.timedelta(days=1) if whole_day else at,
        available_at=available or at,
    )
