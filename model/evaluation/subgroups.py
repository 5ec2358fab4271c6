"""Whether the score works as well in one group of patients as in the others, and what remains when age is equal.

A gap is flagged when its 95 % interval excludes 0 and it is at least .10; groups with fewer than 30 positives or
negatives are suppressed, since their figures are noise (model.md section 13).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.evaluation.metrics import Z95, AucEstimate, Interval, auc, calibration_line, confusion

LEAST_CASES = 30
LEAST_GAP = 0.10
_AGE_WINDOW_YEARS = 2.0

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgroup:
    """Figures of one group at one threshold, and how its AUC differs from that of all others."""

    name: str
    n: int
    positives: int
    auc: AucEstimate
    sensitivity: Interval
    false_positive_rate: Interval
    slope: float
    """Of the recalibration line; 1 is perfect."""
    gap: Interval | None
    """AUC of the group minus AUC of the rest; None where the rest is too small."""

    @property
    def flagged(self) -> bool:
        """Whether the gap is large and not a matter of chance."""
        gap = self.gap
        return gap is not None and abs(gap.value) >= LEAST_GAP and not gap.low <= 0.0 <= gap.high


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
    table, area = confusion(p[mask], own, threshold), auc(p[mask], own)
    spared = table.specificity
    return Subgroup(
        name=name,
        n=own.size,
        positives=int(own.sum()),
        auc=area,
        sensitivity=table.sensitivity,
        false_positive_rate=Interval(value=1 - spared.value, low=1 - spared.high, high=1 - spared.low),
        slope=calibration_line(p[mask], own).slope,
        gap=_gap(area, auc(p[~mask], rest)) if _enough(rest) else None,
    )


def _gap(own: AucEstimate, rest: AucEstimate) -> Interval:
    """Difference of two AUCs of different patients."""
    value, half = own.value - rest.value, Z95 * math.hypot(own.se, rest.se)
    return Interval(value=value, low=value - half, high=value + half)


def _enough(labels: npt.NDArray[np.int64]) -> bool:
    positives = int(labels.sum())
    return min(positives, labels.size - positives) >= LEAST_CASES
