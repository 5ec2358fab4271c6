"""What was known about a patient at the image's time: window, eligibility and order, stated once.

Standard library only. The clinical store (serving) and the frame code of training and evaluation ask this module;
neither repeats the rule. A value from after the image, or one that the node could not know yet, never passes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

DAY_ALLOWED = frozenset({"weight", "height"})
"""Variables whose date-only value may serve an image of the same day: body size does not follow from the image."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """As of which moment: the image's time `t0`, the knowledge at `known_at`, and how old a value may be (days)."""

    t0: dt.datetime
    known_at: dt.datetime
    lookback_days: Mapping[str, float]
    """By variable; a variable without an entry is not asked for."""


def end_in_use(variable: str, start: dt.datetime, end: dt.datetime) -> dt.datetime:
    """The end that the window tests: a date-only value of a `DAY_ALLOWED` variable counts as ended at its start."""
    whole_day = _SHORTEST_DAY <= end - start <= _LONGEST_DAY
    return start if whole_day and variable in DAY_ALLOWED else end


def coarser_than_a_day(start: dt.datetime, end: dt.datetime) -> bool:
    """Whether the time of observation is known to a month or a year only: too vague for a value that ages."""
    return end - start > _LONGEST_DAY


def eligible(candidate: Candidate, question: Question) -> bool:
    """Whether `candidate` may serve: usable, ended by t0, not older than the look-back, known and not yet replaced."""
    lookback = question.lookback_days.get(candidate.variable)
    if lookback is None or not candidate.usable:
        return False
    known = candidate.recorded_at <= question.known_at
    replaced = candidate.superseded_at is not None and candidate.superseded_at <= question.known_at
    oldest = question.t0 - dt.timedelta(days=lookback)
    return known and not replaced and oldest <= candidate.end_at <= question.t0


def order(candidate: Candidate) -> tuple[dt.datetime, dt.datetime, dt.datetime, int]:
    """Sort key among eligible versions of one variable: the greatest is the one to use."""
    return (candidate.end_at, candidate.start_at, candidate.recorded_at, candidate.id)


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
