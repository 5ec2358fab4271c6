"""How good a probability is: discrimination, operating point, calibration (model.md 13). Numbers in, values out.

AUC is Mann-Whitney with DeLong's variance in the mid-rank form (Sun & Xu 2014), so ties count one half. Proportions
carry Wilson intervals. All intervals are 95 %. Scores and labels are (n,); labels 0/1, 1 = osteoporosis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata

from model.logistic import Floats, fit_logistic

Z95 = float(norm.ppf(0.975))
LEAST_OF_A_CLASS = 10
"""Cases of either class below which an AUC has no interval: DeLong's of a handful covers far less than 95 %."""
_SLOPE_LIMITS = 1e-12
"""Probabilities are kept this far from 0 and 1 before a logit is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value with its 95 % confidence interval; NaN when it is not defined (no cases)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AucEstimate:
    """Area under the ROC curve, DeLong standard error, interval on the logit scale.

    The interval is NaN with fewer than ten cases of a class, and for a score that is the same for everybody. Of a
    score that separates the classes, where DeLong's variance is 0, it is the bound of `auc`.
    """

    value: float
    se: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedAuc:
    """Difference of two AUCs on the same patients, first minus second; p is two-sided.

    The interval is NaN with fewer than ten cases of a class, and where DeLong's variance is 0: the scores rank alike,
    or each separates the classes or says nothing.
    """

    difference: float
    se: float
    low: float
    high: float
    z: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """A 2x2 table at one threshold."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def sensitivity(self) -> Interval:
        """TP / (TP + FN)."""
        return wilson(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> Interval:
        """TN / (TN + FP)."""
        return wilson(self.tn, self.tn + self.fp)

    @property
    def ppv(self) -> Interval:
        """TP / (TP + FP), at the prevalence of these data only."""
        return wilson(self.tp, self.tp + self.fp)

    @property
    def npv(self) -> Interval:
        """TN / (TN + FN), at the prevalence of these data only."""
        return wilson(self.tn, self.tn + self.fn)

    @property
    def accuracy(self) -> Interval:
        """(TP + TN) / n."""
        return wilson(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationLine:
    """logit P(y) = intercept + slope * logit p; a perfect model has 0 and 1."""

    intercept: float
    slope: float


def auc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> AucEstimate:
    """AUC with DeLong's standard error.

    Where all pairs are in order, so are any k = min(positives, negatives) of them that share no patient, and these are
    independent: a true AUC of A shows that with probability A^k at most. The lower bound solves A^k = .025, as Clopper
    and Pearson do for k of k successes. An AUC of 0 has the mirrored upper bound.

    Raises:
        ValueError: a class is missing.

    """
    value, parts = _placements(scores, labels)
    se = math.sqrt(_variance(parts, parts))
    low, high = _auc_limits(value, se, _fewer(parts))
    return AucEstimate(value=value, se=se, low=low, high=high)


def paired_auc_test(first: npt.ArrayLike, second: npt.ArrayLike, labels: npt.ArrayLike) -> PairedAuc:
    """DeLong's test that two scores of the same patients have the same AUC.

    Where its variance is 0 although the AUCs differ (a score that separates the classes against one that says nothing),
    z is infinite and p is bounded as in `auc`: one of them had to beat, or lose, k independent comparisons by chance.

    Raises:
        ValueError: a class is missing.

    """
    value_a, parts_a = _placements(first, labels)
    value_b, parts_b = _placements(second, labels)
    variance = _variance(parts_a, parts_a) + _variance(parts_b, parts_b) - 2 * _variance(parts_a, parts_b)
    se = math.sqrt(max(variance, 0.0))
    difference, fewer = value_a - value_b, _fewer(parts_a)
    half = Z95 * se if se > 0 and fewer >= LEAST_OF_A_CLASS else math.nan
    if se > 0 or difference == 0:
        z = difference / se if se > 0 else 0.0
        p = float(2 * norm.sf(abs(z)))
    else:
        z, p = math.copysign(math.inf, difference), min(1.0, 2 * 0.5**fewer)
    return PairedAuc(difference=difference, se=se, low=difference - half, high=difference + half, z=z, p=p)


def wilson(successes: int, trials: int) -> Interval:
    """Wilson score interval of a proportion."""
    if trials == 0:
        return Interval(value=math.nan, low=math.nan, high=math.nan)
    share, z2 = successes / trials, Z95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return Interval(value=share, low=max(0.0, centre - half), high=min(1.0, centre + half))


def confusion(probabilities: npt.ArrayLike, labels: npt.ArrayLike, threshold: float) -> Confusion:
    """The 2x2 table with positive meaning p >= threshold."""
    p, y = _pair(probabilities, labels)
    flagged, ill = p >= threshold, y == 1
    return Confusion(
        tp=int((flagged & ill).sum()),
        fp=int((flagged & ~ill).sum()),
        fn=int((~flagged & ill).sum()),
        tn=int((~flagged & ~ill).sum()),
    )


def equal_mass_bins(probabilities: npt.ArrayLike, bins: int = 10) -> tuple[npt.NDArray[np.intp], ...]:
    """Indices of the patients in each bin, by rising probability; bins of equal size where no values are tied.

    Equal probabilities stay in one bin, the upper one of the two they would be split over, so that the order of the
    rows decides nothing. There may be fewer than `bins`.
    """
    p = np.asarray(probabilities, dtype=np.float64).ravel()
    order = np.argsort(p, kind="stable")
    cuts = np.cumsum([part.size for part in np.array_split(order, bins)])[:-1]
    cuts = np.unique(np.searchsorted(p[order], p[order][cuts[cuts < p.size]], side="left"))
    return tuple(part for part in np.split(order, cuts) if part.size)


def calibration_error(probabilities: npt.ArrayLike, labels: npt.ArrayLike, bins: int = 10) -> float:
    """Expected calibration error over bins of equal mass, ties kept together."""
    p, y = _pair(probabilities, labels)
    return float(sum(part.size * abs(p[part].mean() - y[part].mean()) for part in equal_mass_bins(p, bins)) / p.size)


def calibration_line(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> CalibrationLine:
    """Recalibration intercept and slope.

    Raises:
        ValueError: a class is missing.

    """
    p, y = _pair(probabilities, labels)
    p = np.clip(p, _SLOPE_LIMITS, 1 - _SLOPE_LIMITS)
    line = fit_logistic((np.log(p) - np.log1p(-p))[:, None], y)
    return CalibrationLine(intercept=line.intercept, slope=float(line.coefficients[0]))


def brier(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Mean squared difference of probability and label."""
    p, y = _pair(probabilities, labels)
    return float(np.mean((p - y) ** 2))


def _placements(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[float, tuple[Floats, Floats]]:
    """AUC and DeLong's structural components: per positive, and per negative, the share of the others it beats."""
    s, y = _pair(scores, labels)
    ill, well = s[y == 1], s[y == 0]
    if not ill.size or not well.size:
        msg = "an AUC needs both classes"
        raise ValueError(msg)
    ranks = rankdata(np.concatenate([ill, well]))
    v10 = (ranks[: ill.size] - rankdata(ill)) / well.size
    v01 = 1.0 - (ranks[ill.size :] - rankdata(well)) / ill.size
    return float(v10.mean()), (v10, v01)


def _fewer(parts: tuple[Floats, Floats]) -> int:
    """Cases of the smaller class."""
    return min(part.size for part in parts)


def _auc_limits(value: float, se: float, fewer: int) -> tuple[float, float]:
    if fewer < LEAST_OF_A_CLASS:
        return math.nan, math.nan
    if value in (0.0, 1.0):
        bound = 0.025 ** (1 / fewer)
        return (bound, 1.0) if value else (0.0, 1 - bound)
    if se == 0.0:
        return math.nan, math.nan
    centre, half = math.log(value / (1 - value)), Z95 * se / (value * (1 - value))
    return _expit(centre - half), _expit(centre + half)


def _variance(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> float:
    """Covariance of two AUCs from their structural components; 0 where one class has a single case."""
    return sum(
        float((x - x.mean()) @ (y - y.mean())) / (x.size - 1) / x.size for x, y in zip(a, b, strict=True) if x.size > 1
    )


def _pair(values: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Floats]:
    v, y = np.asarray(values, dtype=np.float64).ravel(), np.asarray(labels, dtype=np.float64).ravel()
    if v.shape != y.shape or not np.isfinite(v).all():
        msg = f"need finite values for every label, got {v.size} values and {y.size} labels"
        raise ValueError(msg)
    return v, y


def _expit(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z))
