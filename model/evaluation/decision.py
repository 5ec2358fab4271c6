"""What a threshold costs and gives: likelihood ratios, predictive values elsewhere, net benefit, indeterminates.

Definitions of model.md section 13. Probabilities and labels are (n,); labels 0/1, 1 = osteoporosis; positive means
p >= threshold. Intervals are 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.evaluation.metrics import Z95, Confusion, Interval, confusion, wilson
from model.fusion import OperatingPoints

CURVE = tuple(round(0.05 + 0.01 * step, 2) for step in range(31))
"""Threshold probabilities of the decision curve: .05 to .35, where a person would weigh a DXA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihoods:
    """How a result changes the odds; NaN where nothing is defined: a class, or a result, that nobody has."""

    positive: Interval
    """SEN / (1 - SPC)."""
    negative: Interval
    """(1 - SEN) / SPC."""
    odds_ratio: Interval
    """Positive over negative."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictiveValues:
    """PPV and NPV at one prevalence, with sensitivity and specificity taken as they are."""

    prevalence: float
    ppv: float
    npv: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NetBenefit:
    """Net benefit per patient at one threshold probability (Vickers & Elkin 2006); treating nobody gives 0."""

    threshold: float
    model: float
    treat_all: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreeWay:
    """Results of two thresholds with a zone between them, both ways of counting the zone."""

    n: int
    indeterminate: Interval
    """Share of patients between the thresholds."""
    removed: Confusion
    """Only those with a determinate result."""
    as_errors: Confusion
    """Indeterminate positives counted as missed, indeterminate negatives as false alarms."""


def likelihoods(table: Confusion) -> Likelihoods:
    """Ratios with intervals on the log scale (Simel et al. 1991); for an empty cell see `half_added`."""
    tp, fp, fn, tn = _cells(table)
    positives, negatives = tp + fn, fp + tn
    positive = _ratio(tp / positives, fp / negatives, 1 / tp - 1 / positives + 1 / fp - 1 / negatives)
    negative = _ratio(fn / positives, tn / negatives, 1 / fn - 1 / positives + 1 / tn - 1 / negatives)
    odds = _ratio(tp * tn, fp * fn, 1 / tp + 1 / fp + 1 / fn + 1 / tn)
    flagged, spared = _results_seen(table)
    return Likelihoods(
        positive=positive if flagged else _UNDEFINED,
        negative=negative if spared else _UNDEFINED,
        odds_ratio=odds if flagged and spared else _UNDEFINED,
    )


def half_added(table: Confusion) -> bool:
    """Whether a cell is empty, so that one half is added to all four for ratios and values at another prevalence.

    Such figures differ from the plain shares of the same table, and are to be marked.
    """
    return 0 in (table.tp, table.fp, table.fn, table.tn)


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> PredictiveValues:
    """Bayes' rule; NaN where nobody would be flagged, or nobody spared."""
    hits, false_alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    missed, spared = (1 - sensitivity) * prevalence, specificity * (1 - prevalence)
    return PredictiveValues(
        prevalence=prevalence,
        ppv=hits / (hits + false_alarms) if hits + false_alarms else math.nan,
        npv=spared / (spared + missed) if spared + missed else math.nan,
    )


def predictive_intervals(table: Confusion, prevalence: float) -> tuple[Interval, Interval]:
    """PPV and NPV at `prevalence` (strictly between 0 and 1) with intervals on the logit scale.

    Mercaldo, Lau & Zhou (Stat Med 2007;26:2170); the prevalence counts as known. For an empty cell see `half_added`;
    NaN where nobody is flagged, or nobody spared, or a class is missing.
    """
    tp, fp, fn, tn = _cells(table)
    odds = prevalence / (1 - prevalence)
    sen, spc = tp / (tp + fn), tn / (tn + fp)
    ppv = _from_odds(odds * sen / (1 - spc), fn / tp / (tp + fn) + tn / fp / (tn + fp))
    npv = _from_odds(spc / (1 - sen) / odds, tp / fn / (tp + fn) + fp / tn / (tn + fp))
    flagged, spared = _results_seen(table)
    return ppv if flagged else _UNDEFINED, npv if spared else _UNDEFINED


def decision_curve(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, thresholds: Sequence[float] = CURVE
) -> tuple[NetBenefit, ...]:
    """NB(t) = TP/n - FP/n * t/(1-t) of the model and of examining everybody."""
    n = np.asarray(labels).size
    share = float(np.asarray(labels, dtype=np.float64).mean())
    found = []
    for t in thresholds:
        table, odds = confusion(probabilities, labels, t), t / (1 - t)
        found.append(
            NetBenefit(threshold=t, model=table.tp / n - table.fp / n * odds, treat_all=share - (1 - share) * odds)
        )
    return tuple(found)


def three_way(probabilities: npt.ArrayLike, labels: npt.ArrayLike, points: OperatingPoints) -> ThreeWay:
    """Both readings of a result with an indeterminate zone; without a zone they are the same."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    between = (p >= points.t_low) & (p < points.t_high)
    sure = confusion(p[~between], y[~between], points.t_high)
    missed, alarms = int((between & (y == 1)).sum()), int((between & (y != 1)).sum())
    return ThreeWay(
        n=p.size,
        indeterminate=wilson(int(between.sum()), p.size),
        removed=sure,
        as_errors=Confusion(tp=sure.tp, fp=sure.fp + alarms, fn=sure.fn + missed, tn=sure.tn),
    )


def patients_needed(share: float, half_width: float) -> int:
    """Patients of one class for a proportion known to +- `half_width` (Wald): z^2 p (1 - p) / d^2, rounded up."""
    return math.ceil(Z95**2 * share * (1 - share) / half_width**2)


_UNDEFINED = Interval(value=math.nan, low=math.nan, high=math.nan)


def _cells(table: Confusion) -> tuple[float, float, float, float]:
    """TP, FP, FN, TN, each with its half if one is empty."""
    more = 0.5 if half_added(table) else 0.0
    return table.tp + more, table.fp + more, table.fn + more, table.tn + more


def _results_seen(table: Confusion) -> tuple[bool, bool]:
    """Whether anybody was flagged, and anybody spared; neither counts where one of the two classes is missing."""
    both = table.tp + table.fn > 0 and table.fp + table.tn > 0
    return both and table.tp + table.fp > 0, both and table.fn + table.tn > 0


def _from_odds(odds: float, variance: float) -> Interval:
    factor = math.exp(Z95 * math.sqrt(variance))
    value, low, high = (o / (1 + o) for o in (odds, odds / factor, odds * factor))
    return Interval(value=value, low=low, high=high)


def _ratio(numerator: float, denominator: float, variance: float) -> Interval:
    value = numerator / denominator
    factor = math.exp(Z95 * math.sqrt(max(variance, 0.0)))
    return Interval(value=value, low=value / factor, high=value * factor)
