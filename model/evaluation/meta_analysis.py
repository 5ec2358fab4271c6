"""Bivariate random-effects meta-analysis of sensitivity and specificity (Reitsma et al., J Clin Epidemiol 2005;58:982).

A study's observed pair y = (logit SEN, logit SPC) is Normal(mu, Sigma + D): D holds its own sampling variances
1/TP + 1/FN and 1/TN + 1/FP, Sigma is what truly differs between studies. Sigma is found by restricted maximum
likelihood (REML), mu by generalised least squares. One half is added to all four cells of a table that has an empty
one, and only there. Intervals are 95 %; the prediction interval, for the next site, is the one to plan with, not the
interval of mu.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import expit

from model.evaluation.metrics import Z95, Confusion, Interval
from model.evaluation.reml import fit_reml

Floats = npt.NDArray[np.float64]

LEAST_STUDIES = 4
"""Below, three variance parameters and two means cannot be told apart."""
FEW_STUDIES = 10
"""Below, every figure of a pool is approximate and is to be named so: Sigma is hardly known."""
FEW_IN_A_GROUP = 5
"""Below, so is the P value of a comparison of subgroups."""
_COVERAGE = 0.95
_NO_SCATTER = 1e-12


class MetaAnalysisError(Exception):
    """The tables do not allow the model; the message says why in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """The fitted model. First of every pair: logit sensitivity, second: logit specificity."""

    studies: int
    mean: tuple[float, float]
    covariance: tuple[tuple[float, float], tuple[float, float]]
    """Of `mean`, given Sigma."""
    tau: tuple[float, float]
    """Between-study standard deviations on the logit scale."""
    rho: float
    """Between-study correlation; negative where studies differ by threshold."""
    log_likelihood: float
    """Restricted, with the constant -(2k - 2)/2 log(2 pi)."""

    @property
    def se(self) -> tuple[float, float]:
        """Standard errors of `mean`."""
        return math.sqrt(self.covariance[0][0]), math.sqrt(self.covariance[1][1])

    @property
    def sigma(self) -> Floats:
        """Between-study covariance, (2, 2)."""
        first, second = self.tau
        off = self.rho * first * second
        return np.array([[first**2, off], [off, second**2]])

    @property
    def sensitivity(self) -> Interval:
        """Pooled sensitivity with Wald's interval."""
        return _back(self.mean[0], self.se[0], Z95)

    @property
    def specificity(self) -> Interval:
        """Pooled specificity with Wald's interval."""
        return _back(self.mean[1], self.se[1], Z95)

    @property
    def sensitivity_t(self) -> Interval:
        """Pooled sensitivity with the interval of t with k - 2 degrees of freedom."""
        return _back(self.mean[0], self.se[0], _student(self.studies - 2))

    @property
    def specificity_t(self) -> Interval:
        """Pooled specificity with the interval of t with k - 2 degrees of freedom."""
        return _back(self.mean[1], self.se[1], _student(self.studies - 2))

    def predicted(self, *, normal: bool = False) -> tuple[Interval, Interval]:
        """Sensitivity and specificity to expect at a new site: t with k - 2 degrees of freedom, or the Normal."""
        width = Z95 if normal else _student(self.studies - 2)
        first, second = (math.hypot(se, tau) for se, tau in zip(self.se, self.tau, strict=True))
        return _back(self.mean[0], first, width), _back(self.mean[1], second, width)

    def within_prediction_region(self, sensitivity: float, specificity: float) -> bool:
        """Whether a pair, each strictly between 0 and 1, lies in the 95 % prediction ellipse of a new site."""
        away = np.array([_logit(sensitivity), _logit(specificity)]) - np.array(self.mean)
        spread = self.sigma + np.array(self.covariance)
        return float(away @ np.linalg.solve(spread, away)) <= region_bound(self.studies)

    def likelihood_ratios(self, *, normal: bool = False) -> tuple[Interval, Interval, Interval]:
        """PLR = SEN / (1 - SPC), NLR = (1 - SEN) / SPC, DOR = PLR / NLR; delta method on the log, t or the Normal."""
        width = Z95 if normal else _student(self.studies - 2)
        sen, spc = float(expit(self.mean[0])), float(expit(self.mean[1]))
        return (
            self._on_log(math.log(sen / (1 - spc)), (1 - sen, spc), width),
            self._on_log(math.log((1 - sen) / spc), (-sen, spc - 1), width),
            self._on_log(self.mean[0] + self.mean[1], (1.0, 1.0), width),
        )

    def sroc(self, one_minus_specificity: Floats) -> Floats:
        """Sensitivity along the summary ROC curve in the HSROC form (Harbord et al., Biostatistics 2007;8:239, eq. 8).

        Args:
            one_minus_specificity: (n,), strictly between 0 and 1.

        Raises:
            MetaAnalysisError: specificity does not differ between the studies, so there is no curve.

        """
        if self.tau[1] == 0.0:
            msg = "specificity does not differ between the studies: a point, no curve"
            raise MetaAnalysisError(msg)
        ratio = self.tau[0] / self.tau[1]
        fpr = np.asarray(one_minus_specificity, dtype=np.float64)
        curve: Floats = expit(self.mean[0] + ratio * (self.mean[1] + np.log(fpr / (1 - fpr))))
        return curve

    def _on_log(self, log_value: float, gradient: tuple[float, float], width: float) -> Interval:
        slope = np.array(gradient)
        se = math.sqrt(float(slope @ np.array(self.covariance) @ slope))
        value, low, high = (math.exp(log_value + step * se) for step in (0.0, -width, width))
        return Interval(value=value, low=low, high=high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """How a subgroup differs from the reference, on the logit scale, with a common Sigma (meta-regression)."""

    group: str
    studies: int
    sensitivity: Interval
    """The subgroup's pooled value, Wald's interval."""
    specificity: Interval
    sensitivity_t: Interval
    """The same with t; k - g degrees of freedom for g subgroups."""
    specificity_t: Interval
    difference: tuple[float, float]
    """Logit SEN and logit SPC, subgroup minus reference; 0 for the reference itself."""
    wald: float
    """Wald's statistic of both differences together (metafor's QM); NaN for the reference."""
    p: float
    """Of `wald` as Hotelling's T2 with k - g degrees of freedom: against chi-squared a third of comparisons of twice
    two equal groups would be below .05. NaN for the reference."""


def pool(tables: Sequence[Confusion]) -> Pooled:
    """Fit the model to one 2x2 table per study.

    Raises:
        MetaAnalysisError: fewer than four studies, or a study without positives or without negatives.

    """
    y, d = _observed(tables)
    design = np.broadcast_to(np.eye(2), (len(tables), 2, 2))
    found = fit_reml(y, d, design)
    (a, b), (c, e) = found.covariance.tolist()
    return Pooled(
        studies=len(tables),
        mean=(float(found.mean[0]), float(found.mean[1])),
        covariance=((a, b), (c, e)),
        tau=found.tau,
        rho=found.rho,
        log_likelihood=found.log_likelihood,
    )


def contrasts(tables: Sequence[Confusion], groups: Sequence[str]) -> tuple[Contrast, ...]:
    """Pooled values per subgroup and their difference from the first named one; a common Sigma is assumed.

    Args:
        tables: one per study.
        groups: the study's subgroup, e.g. the kind of validation; (len(tables),). The first study's is the reference.

    Raises:
        MetaAnalysisError: as `pool`, or fewer than two subgroups, or one with fewer than two studies.

    """
    names = list(dict.fromkeys(groups))
    if len(names) < 2 or min(groups.count(name) for name in names) < 2:  # noqa: PLR2004 - two groups of two studies
        msg = "a comparison needs at least two subgroups with at least two studies each"
        raise MetaAnalysisError(msg)
    y, d = _observed(tables)
    design = np.zeros((len(tables), 2, 2 * len(names)))
    for i, group in enumerate(groups):
        at = 2 * names.index(group)
        design[i, 0, at] = design[i, 1, at + 1] = 1.0
    found, freedom = fit_reml(y, d, design), len(tables) - len(names)
    return tuple(
        _contrast(name, groups.count(name), 2 * k, freedom, found.mean, found.covariance)
        for k, name in enumerate(names)
    )


def region_bound(studies: int) -> float:
    """Largest squared distance within a 95 % region of two figures from k studies: Hotelling, 2 (k-1)/(k-2) F(2, k-2).

    Without the factor the region of four to ten studies holds some 85 % of new sites.
    """
    return 2 * (studies - 1) / (studies - 2) * float(stats.f.ppf(_COVERAGE, 2, studies - 2))


def deeks_p(tables: Sequence[Confusion]) -> float:
    """Test for small-study effects: ln DOR on 1/sqrt(effective sample size), weighted by it (Deeks et al. 2005); p.

    Raises:
        MetaAnalysisError: as `pool`, or all studies have one size, or lie on one line.

    """
    y, _ = _observed(tables)
    positives = np.array([t.tp + t.fn for t in tables], dtype=np.float64)
    negatives = np.array([t.tn + t.fp for t in tables], dtype=np.float64)
    weight = 4 * positives * negatives / (positives + negatives)
    if np.ptp(weight) == 0:
        msg = "all studies have the same size, so small ones cannot be compared with large ones"
        raise MetaAnalysisError(msg)
    x = np.column_stack([np.ones(len(tables)), 1 / np.sqrt(weight)])
    log_dor = y.sum(axis=1)
    inverse = np.linalg.inv(x.T @ (weight[:, None] * x))
    beta = inverse @ (x.T @ (weight * log_dor))
    freedom = len(tables) - 2
    scale = float(weight @ (log_dor - x @ beta) ** 2) / freedom
    if scale < _NO_SCATTER:
        msg = "the studies lie on one line, so there is no scatter to compare with"
        raise MetaAnalysisError(msg)
    return float(2 * stats.t.sf(abs(beta[1]) / math.sqrt(scale * inverse[1, 1]), freedom))


def _observed(tables: Sequence[Confusion]) -> tuple[Floats, Floats]:
    """Logits (k, 2) and their sampling variances (k, 2)."""
    if len(tables) < LEAST_STUDIES:
        msg = f"{len(tables)} studies; the bivariate model needs at least {LEAST_STUDIES}"
        raise MetaAnalysisError(msg)
    for number, t in enumerate(tables, 1):
        if min(t.tp, t.fp, t.fn, t.tn) < 0 or t.tp + t.fn == 0 or t.tn + t.fp == 0:
            msg = f"study {number}: a table needs counts of at least 0, a positive and a negative"
            raise MetaAnalysisError(msg)
    cells = np.array([(t.tp, t.fn, t.tn, t.fp) for t in tables], dtype=np.float64)
    cells[(cells == 0).any(axis=1)] += 0.5
    tp, fn, tn, fp = cells.T
    logits = np.column_stack([np.log(tp / fn), np.log(tn / fp)])
    return logits, np.column_stack([1 / tp + 1 / fn, 1 / tn + 1 / fp])


def _contrast(name: str, studies: int, at: int, freedom: int, mean: Floats, covariance: Floats) -> Contrast:
    own = np.zeros((2, mean.size))
    own[0, at] = own[1, at + 1] = 1.0
    away = own.copy()
    away[0, 0] -= 1.0
    away[1, 1] -= 1.0
    difference = away @ mean
    sen, spc = (float(value) for value in own @ mean)
    se_sen, se_spc = (float(se) for se in np.sqrt(np.diag(own @ covariance @ own.T)))
    width, wald = _student(freedom), math.nan
    if at:
        wald = float(difference @ np.linalg.solve(away @ covariance @ away.T, difference))
    return Contrast(
        group=name,
        studies=studies,
        sensitivity=_back(sen, se_sen, Z95),
        specificity=_back(spc, se_spc, Z95),
        sensitivity_t=_back(sen, se_sen, width),
        specificity_t=_back(spc, se_spc, width),
        difference=(float(difference[0]), float(difference[1])),
        wald=wald,
        p=float(stats.f.sf(wald * (freedom - 1) / (2 * freedom), 2, freedom - 1)),
    )


def _student(freedom: int) -> float:
    return float(stats.t.ppf(0.5 + _COVERAGE / 2, freedom))


def _back(logit: float, se: float, width: float) -> Interval:
    value, low, high = (float(expit(logit + step * se)) for step in (0.0, -width, width))
    return Interval(value=value, low=low, high=high)


def _logit(p: float) -> float:
    return math.log(p / (1 - p))
