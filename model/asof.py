"""What was known about a patient at the image's time: window, eligibility and order, stated once.

Standard library only. The clinical store (serving) writes its SQL and `model.train.asof_frame` its frame operations
from `ELIGIBILITY` and `ORDER`; neither repeats the rule. A value from after the image, or one that the node could not
know yet, never passes.
"""

from __future__ import annotations

import datetime as dt
import enum
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

EVER_DAYS: Final = 43_830.0
"""Look-back of "ever before": 120 years."""
DAY_ALLOWED = frozenset({"weight", "height"})
"""Variables whose date-only value may serve an image of the same day: body size does not follow from the image.

Fixed and no setting: the end in use is stored with each row, and rows of two policies in one table could not be told
apart by whoever reads an old report. Another policy is another release, with a migration of the column.
"""

_LONGEST_DAY = dt.timedelta(hours=25)
_SHORTEST_DAY = dt.timedelta(hours=23)


class Candidate(Protocol):
    """One version of one stored observation. Times are aware."""

    @property
    def id(self) -> int:
        """Grows with the order of recording."""

    @property
    def variable(self) -> str:
        """Canonical name."""

    @property
    def usable(self) -> bool:
        """Status, unit and range allow its use."""

    @property
    def start_at(self) -> dt.datetime:
        """Begin of the interval in which it was observed."""

    @property
    def end_at(self) -> dt.datetime:
        """End in use, see `end_in_use`."""

    @property
    def recorded_at(self) -> dt.datetime:
        """When the node knew it."""

    @property
    def superseded_at(self) -> dt.datetime | None:
        """When a later version or a void replaced it; None while it stands."""


C = TypeVar("C", bound=Candidate)


class Bound(enum.Enum):
    """A moment of the question that a candidate's time is held against."""

    T0 = "t0"
    OLDEST = "oldest"
    """t0 less the look-back of the variable."""
    KNOWN_AT = "known_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """`holds(column, bound)`: the operator means the same to a datetime, an SQL column and a pandas series."""

    column: str
    holds: Callable[[Any, Any], Any]
    bound: Bound
    open_holds: bool = False
    """Whether an open (empty) time fulfils it."""


ELIGIBILITY = (
    Condition(column="end_at", holds=operator.le, bound=Bound.T0),
    Condition(column="end_at", holds=operator.ge, bound=Bound.OLDEST),
    Condition(column="recorded_at", holds=operator.le, bound=Bound.KNOWN_AT),
    Condition(column="superseded_at", holds=operator.gt, bound=Bound.KNOWN_AT, open_holds=True),
)
"""What a usable version must fulfil. The look-back is tested on the end, so that one sort key serves every reader."""

ORDER = ("end_at", "start_at", "recorded_at", "id")
"""Columns by which eligible versions of one variable are sorted; the last is the one to use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """As of which moment: the image's time `t0`, the knowledge at `known_at`, and how old a value may be (days)."""

    t0: dt.datetime
    known_at: dt.datetime
    lookback_days: Mapping[str, float]
    """By variable; a variable without an entry is not asked for."""

    def bound(self, bound: Bound, lookback_days: float) -> dt.datetime:
        """The moment meant by `bound`."""
        match bound:
            case Bound.T0:
                return self.t0
            case Bound.KNOWN_AT:
                return self.known_at
            case Bound.OLDEST:
                return self.t0 - dt.timedelta(days=lookback_days)


def lookbacks(allowed: Mapping[str, float], site: Mapping[str, float], bundle: Mapping[str, float]) -> dict[str, float]:
    """How old a value of each variable may be at the image's time, days.

    Args:
        allowed: every variable that may reach a model, with the look-back of the code table. What is not named here is
            asked for by nobody, so that no DXA result, score or drug gets in by being forgotten in a filter.
        site: of the settings; replaces the table's.
        bundle: of the model bundle; may narrow what is left, never widen it.

    """
    days = {name: site.get(name, table) for name, table in allowed.items()}
    return {name: min(limit, bundle.get(name, limit)) for name, limit in days.items()}


def end_in_use(variable: str, start: dt.datetime, end: dt.datetime) -> dt.datetime:
    """The end that the window tests: a date-only value of a `DAY_ALLOWED` variable counts as ended at its start."""
    whole_day = _SHORTEST_DAY <= end - start <= _LONGEST_DAY
    return start if whole_day and variable in DAY_ALLOWED else end


def coarser_than_a_day(start: dt.datetime, end: dt.datetime) -> bool:
    """Whether the time of observation is known to a month or a year only: too vague for a value that ages."""
    return end - start > _LONGEST_DAY


def precise_enough(start: dt.datetime, end: dt.datetime, lookback_days: float) -> bool:
    """Whether the time of observation serves the variable: one coarser than a day only for "ever before"."""
    return lookback_days >= EVER_DAYS or not coarser_than_a_day(start, end)


def eligible(candidate: Candidate, question: Question) -> bool:
    """Whether `candidate` may serve: usable, ended by t0, not older than the look-back, known and not yet replaced."""
    lookback = question.lookback_days.get(candidate.variable)
    if lookback is None or not candidate.usable:
        return False
    return all(_holds(condition, candidate, question.bound(condition.bound, lookback)) for condition in ELIGIBILITY)


def order(candidate: Candidate) -> tuple[Any, ...]:
    """Sort key among eligible versions of one variable: the greatest is the one to use."""
    return tuple(getattr(candidate, column) for column in ORDER)


def latest(candidates: Iterable[C], question: Question) -> dict[str, C]:
    """The version to use per variable; a variable without an eligible version has no entry."""
    chosen: dict[str, C] = {}
    for candidate in candidates:
        if not eligible(candidate, question):
            continue
        best = chosen.get(candidate.variable)
        if best is None or order(candidate) > order(best):
            chosen[candidate.variable] = candidate
    return chosen


def _holds(condition: Condition, candidate: Candidate, bound: dt.datetime) -> bool:
    moment = getattr(candidate, condition.column)
    return condition.open_holds if moment is None else bool(condition.holds(moment, bound))
