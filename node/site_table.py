"""A site's scored patients with DXA, read from a table and judged.

One patient a row, columns `probability`, `sex` (F, M; O and U count for neither), and `t_lowest` or `label` (1 = lowest
T-score <= -2.5); the threshold the row was decided with as `t_high`, or as `threshold_high` as `osteon screen` writes
it, or `mode`, whose threshold it then is. Thresholds are the bundle's, as calibrated or at the prevalence that the head
of `osteon screen` names. None of a site's own is taken, since nobody could see that it was chosen before looking. A
table that goes back to `osteon screen` may keep its head, which must name the bundle, and its columns: by `status`,
films that were not assessed are counted apart. Where there is a column `patient`, none comes twice: films of one
patient are no independent findings. In the header neither case nor blanks around a name count. Nothing is mended,
guessed or skipped: the first value that cannot be meant is refused by line and column, and not repeated.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from config.settings import SettingsError
from model.domain import Category, Mode, Sex
from model.evaluation.cohort import OSTEOPOROSIS_T
from model.fusion import Fusion, shift
from model.screener import STATED_DECIMALS
from model.site_verdict import Floors, SiteFinding, SiteRows, judge_site
from node.archive_rows import FAILED, NOT_ASSESSED, SCREENED
from node.site_verdicts import LeftOut

_THRESHOLDS: Final = ("t_high", "threshold_high")
_SAME: Final = 1e-9
"""Thresholds that differ by less are one, written with fewer digits."""
_AT_PREVALENCE: Final = re.compile(r"; probabilities at model\.site_prevalence ([^;]*);")
"""In the head of `osteon screen`."""
_PREVALENCES: Final = (0.001, 0.9)
_T_SCORES: Final = (-10.0, 10.0)
"""No densitometer gives a T-score outside; -99 and 999 stand for "none" in exports."""
_HEADER: Final = (
    "the header needs probability, sex, t_lowest or label, and one of t_high, threshold_high and mode, separated by "
    "commas, each once"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a table says of a bundle."""

    finding: SiteFinding
    left_out: LeftOut
    digest: str
    """SHA-256 (hex) of the table."""
    prevalence: float | None
    """At which its probabilities and thresholds are; None: as calibrated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Film:
    truth: int
    sex: Sex
    probability: float = 0.0
    flagged: bool = False
    not_assessed: str = ""
    """Why; empty where it was scored."""


class _Unusable(Exception):
    """The value of a column cannot be meant; the table is refused."""

    def __init__(self, *, column: str, why: str) -> None:
        super().__init__(f"column {column}: {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a table has to agree with: the bundle that was measured."""

    bundle_id: str
    fusion: Fusion
    prevalence: float
    """Of the data it was calibrated on."""

    def thresholds(self, prevalence: float | None) -> dict[Mode, float]:
        """`t_high` by mode, as `osteon screen` states it at the prevalence; None: as calibrated."""
        points = {Mode.IMAGE_AND_CLINICAL: self.fusion.fused_points, Mode.IMAGE_ONLY: self.fusion.image_points}
        high = {mode: own.t_high for mode, own in points.items()}
        if prevalence is not None:
            high = {mode: shift(t, fitted=self.prevalence, site=prevalence) for mode, t in high.items()}
        return {mode: round(t, STATED_DECIMALS) for mode, t in high.items()}


def judge_table(path: Path, bundle: Measured, floors: Floors) -> Judged:
    """Judge the table at `path`.

    Raises:
        SettingsError: the table is not in the form above, with line and column; or was made with another bundle.

    """
    data = path.read_bytes()
    lines = list(io.StringIO(_text(path, data), newline=""))
    head = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    prevalence = _prevalence(path, head, bundle.bundle_id)
    films = _films(path, len(head), lines[len(head) :], bundle.thresholds(prevalence))
    scored = [film for film in films if not film.not_assessed]
    others = [film for film in films if film.not_assessed]
    rows = SiteRows(
        probability=np.array([film.probability for film in scored], np.float64),
        flagged=np.array([film.flagged for film in scored], np.bool_),
        truth=np.array([film.truth for film in scored], np.int64),
        sex=tuple(film.sex for film in scored),
    )
    codes = Counter(film.not_assessed for film in others)
    left_out = LeftOut(codes=dict(codes.most_common()), positives=sum(film.truth for film in others))
    return Judged(
        finding=judge_site(rows, floors),
        left_out=left_out,
        digest=hashlib.sha256(data).hexdigest(),
        prevalence=prevalence,
    )


def _prevalence(path: Path, head: list[str], bundle_id: str) -> float | None:
    """What the head of `osteon screen` says; None where it says nothing, or there is none."""
    if not head or not head[0].startswith("# Osteon "):
        return None
    if f" model {bundle_id} " not in head[0]:
        msg = f"{path}: line 1: was made with another model than {bundle_id}; name that one with --bundle"
        raise SettingsError(msg)
    for number, line in enumerate(head, 1):
        if found := _AT_PREVALENCE.search(line):
            try:
                return _number({"model.site_prevalence": found[1]}, "model.site_prevalence", *_PREVALENCES)
            except _Unusable as error:
                msg = f"{path}: line {number}, {error}"
                raise SettingsError(msg) from error
    return None


def _films(path: Path, above: int, lines: list[str], thresholds: Mapping[Mode, float]) -> list[_Film]:
    films: list[_Film] = []
    seen: dict[str, int] = {}
    for number, row in _rows(path, above, lines):
        try:
            if "patient" in row:
                _once(row["patient"].strip(), number, seen)
            films.append(_film(row, thresholds))
        except _Unusable as error:
            msg = f"{path}: line {number}, {error}"
            raise SettingsError(msg) from error
    if not films:
        msg = f"{path}: has no rows; {_HEADER}"
        raise SettingsError(msg)
    return films


def _rows(path: Path, above: int, lines: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Every row by column, with its line in the file, where `above` lines come before these."""
    reader = csv.reader(lines, strict=True)
    try:
        columns = [name.strip().casefold() for name in next(reader, [])]
        _check_header(path, columns)
        for values in filter(None, reader):
            number = above + reader.line_num
            if len(values) != len(columns):
                first = columns[len(values)] if len(values) < len(columns) else columns[-1]
                counts = f"the line has {len(values)} values, the header {len(columns)}"
                msg = f"{path}: line {number}, column {first}: {counts}"
                raise SettingsError(msg)
            yield number, dict(zip(columns, values, strict=True))
    except csv.Error as error:
        msg = f"{path}: line {above + reader.line_num}: is no CSV ({error})"
        raise SettingsError(msg) from error


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        msg = f"{path}: line {number}: is not UTF-8; save the table as CSV in UTF-8"
        raise SettingsError(msg) from error


def _check_header(path: Path, columns: list[str]) -> None:
    names = set(columns)
    truths, thresholds = names & {"t_lowest", "label"}, names & set(_THRESHOLDS)
    decided = len(thresholds) == 1 or (not thresholds and "mode" in names)
    if not {"probability", "sex"} <= names or not truths or not decided or len(names) != len(columns):
        msg = f"{path}: {_HEADER}"
        raise SettingsError(msg)


def _once(patient: str, number: int, seen: dict[str, int]) -> None:
    if not patient:
        raise _Unusable(column="patient", why="is empty")
    if (first := seen.setdefault(patient, number)) != number:
        why = f"the patient of line {first} again; give one film of each patient, chosen by a rule that sees no score"
        raise _Unusable(column="patient", why=why)


def _film(row: Mapping[str, str], thresholds: Mapping[Mode, float]) -> _Film:
    truth, sex = _truth(row), _sex(row)
    status = row.get("status", SCREENED)
    if status in (NOT_ASSESSED, FAILED):
        return _Film(truth=truth, sex=sex, not_assessed=row.get("codes", "").partition(" ")[0] or status)
    if status != SCREENED:
        raise _Unusable(column="status", why=f"is neither {SCREENED}, {NOT_ASSESSED} nor {FAILED}")
    probability = _number(row, "probability", 0.0, 1.0)
    flagged = probability >= _threshold(row, thresholds)
    stated = row.get("category", "").strip().upper()
    if stated and stated not in set(Category):
        raise _Unusable(column="category", why=f"is none of {', '.join(Category)}")
    if stated and flagged != (stated == Category.ABOVE):
        raise _Unusable(column="category", why="says otherwise than probability and threshold; were they rounded?")
    return _Film(truth=truth, sex=sex, probability=probability, flagged=flagged)


def _truth(row: Mapping[str, str]) -> int:
    label, lowest = row.get("label", "").strip(), row.get("t_lowest", "").strip()
    if not label and not lowest:
        raise _Unusable(column="t_lowest" if "t_lowest" in row else "label", why="is empty")
    if label not in ("", "0", "1"):
        raise _Unusable(column="label", why="is neither 0 nor 1")
    if not lowest:
        return int(label)
    truth = int(_number(row, "t_lowest", *_T_SCORES) <= OSTEOPOROSIS_T)
    if label and int(label) != truth:
        raise _Unusable(
            column="label", why=f"contradicts t_lowest: 1 is a lowest T-score of {OSTEOPOROSIS_T:g} or below"
        )
    return truth


def _sex(row: Mapping[str, str]) -> Sex:
    try:
        return Sex(row["sex"].strip().upper())
    except ValueError:
        raise _Unusable(column="sex", why=f"is none of {', '.join(Sex)}") from None


def _threshold(row: Mapping[str, str], thresholds: Mapping[Mode, float]) -> float:
    """The row's own where the table has that column, which must be the bundle's of the row's mode, or of either."""
    allowed = [thresholds[_mode(row)]] if "mode" in row else list(thresholds.values())
    column = next((name for name in _THRESHOLDS if name in row), None)
    if column is None:
        return allowed[0]
    value = _number(row, column, 0.0, 1.0)
    if all(abs(value - own) >= _SAME for own in allowed):
        bundles = " or ".join(f"{own:.12g}" for own in allowed)
        why = (
            f"is not the bundle's, which is {bundles} here: no other is judged. Where results were made at "
            "model.site_prevalence, keep the head lines of `osteon screen`, which name it"
        )
        raise _Unusable(column=column, why=why)
    return value


def _mode(row: Mapping[str, str]) -> Mode:
    try:
        return Mode(row["mode"].strip().upper())
    except ValueError:
        raise _Unusable(column="mode", why=f"is none of {', '.join(Mode)}") from None


def _number(row: Mapping[str, str], column: str, low: float, high: float) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise _Unusable(column=column, why=f"is no number from {low:g} to {high:g}")
    return value
