"""Whether the score works as well in one group of patients as in the others, and what remains when age is equal.

Gaps of AUC, sensitivity and false positive rate, each against all others, are flagged when the 95 % interval excludes 0
and the gap is at least .10; groups with fewer than 30 positives or negatives are suppressed, since their figures are
noise (model.md section 13). A group in which few are ill has a lower sensitivity and a lower false positive rate at
one threshold than a group in which many are, even where its AUC is the best: so the AUC's gap alone would hide it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from model.evaluation.calibration import calibration_slope
from model.evaluation.metrics import Z95, AucEstimate, Interval, auc, confusion

LEAST_CASES = 30
LEAST_GAP = 0.10
_AGE_WINDOW_YEARS = 2.0

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """The group's figure minus that of all others."""

    auc: Interval
    sensitivity: Interval
    false_positive_rate: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgroup:
    """Figures of one group at one threshold, and how they differ from those of all others."""

    name: str
    n: int
    positives: int
    auc: AucEstimate
    sensitivity: Interval
    false_positive_rate: Interval
    slope: Interval
    """Of the recalibration line; 1 is perfect."""
    gaps: Gaps | None
    """None where the rest is too small."""

    @property
    def flagged(self) -> tuple[str, ...]:
        """Names of the gaps that are large and not a matter of chance."""
        if self.gaps is None:
            return ()
        return tuple(field.name for field in fields(self.gaps) if _large(getattr(self.gaps, field.name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppressed:
    """A group too small for figures."""

    name: str
    n: int
    positives: int


def subgroups(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, members: Mapping[str, Flags], threshold: float
) -> tuple[Subgroup | Suppressed, ...]:
    """Figures by group. `members` holds one (n,) mask per group; groups may overlap."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    return tuple(_one(name, p, y, mask, threshold) for name, mask in members.items())


def age_matched(
    scores: npt.ArrayLike, labels: npt.ArrayLike, age_years: npt.ArrayLike, groups: npt.ArrayLike, *, seed: int = 0
) -> tuple[AucEstimate, int] | None:
    """AUC among pairs of one positive and one negative of the same group and age (+- 2 years), and the number of pairs.

    What is left of the score once age cannot tell the classes apart. Each negative serves once; greedy, in an order
    drawn by `seed`. None where fewer than 30 pairs can be formed.
    """
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    age, group = np.asarray(age_years, dtype=np.float64), np.asarray(groups)
    free = y == 0
    chosen: list[int] = []
    for i in np.random.default_rng(seed).permutation(np.flatnonzero(y == 1)):
        near = np.flatnonzero(free & (group == group[i]) & (np.abs(age - age[i]) <= _AGE_WINDOW_YEARS))
        if near.size:
            mate = near[np.argmin(np.abs(age[near] - age[i]))]
            free[mate] = False
            chosen += [int(i), int(mate)]
    pairs = len(chosen) // 2
    return (auc(s[chosen], y[chosen]), pairs) if pairs >= LEAST_CASES else None


def _one(name: str, p: Floats, y: npt.NDArray[np.int64], mask: Flags, threshold: float) -> Subgroup | Suppressed:
    own, rest = y[mask], y[~mask]
    if not _enough(own):
        return Suppressed(name=name, n=own.size, positives=int(own.sum()))
    auc_own, sensitivity, alarms = _figures(p[mask], own, threshold)
    return Subgroup(
        name=name,
        n=own.size,
        positives=int(own.sum()),
        auc=auc_own,
        sensitivity=sensitivity,
        false_positive_rate=alarms,
        slope=calibration_slope(p[mask], own),
        gaps=_gaps((auc_own, sensitivity, alarms), _figures(p[~mask], rest, threshold)) if _enough(rest) else None,
    )


def _figures(p: Floats, y: npt.NDArray[np.int64], threshold: float) -> tuple[AucEstimate, Interval, Interval]:
    """AUC, sensitivity and false positive rate."""
    table = confusion(p, y, threshold)
    spared = table.specificity
    alarms = Interval(value=1 - spared.value, low=1 - spared.high, high=1 - spared.low)
    return auc(p, y), table.sensitivity, alarms


def _gaps(own: tuple[AucEstimate, Interval, Interval], rest: tuple[AucEstimate, Interval, Interval]) -> Gaps:
    value, half = own[0].value - rest[0].value, Z95 * math.hypot(own[0].se, rest[0].se)
    return Gaps(
        auc=Interval(value=value, low=value - half, high=value + half),
        sensitivity=_share_gap(own[1], rest[1]),
        false_positive_rate=_share_gap(own[2], rest[2]),
    )


def _share_gap(own: Interval, rest: Interval) -> Interval:
    """Difference of two shares of different patients from their Wilson intervals (Newcombe 1998, method 10)."""
    value = own.value - rest.value
    return Interval(
        value=value,
        low=value - math.hypot(own.value - own.low, rest.high - rest.value),
        high=value + math.hypot(own.high - own.value, rest.value - rest.low),
    )


def _large(gap: Interval) -> bool:
    return abs(gap.value) >= LEAST_GAP and not gap.low <= 0.0 <= gap.high


def _enough(labels: npt.NDArray[np.int64]) -> bool:
    positives = int(labels.sum())
    return min(positives, labels.size - positives) >= LEAST_CASES
