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
from scipy.optimize import minimize
from scipy.special import expit

from model.evaluation.metrics import Z95, Confusion, Interval

Floats = npt.NDArray[np.float64]

LEAST_STUDIES = 4
"""Below, three variance parameters and two means cannot be told apart."""
_COVERAGE = 0.95
_STARTS = ((0.5, 0.5, 0.0), (1.0, 1.0, -0.3), (0.2, 0.2, 0.0))
"""Starting points (tau SEN, tau SPC, rho). The likelihood may have a ridge at tau = 0; the best of several is taken."""


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
        """Pooled sensitivity with its confidence interval."""
        return _back(self.mean[0], self.se[0], Z95)

    @property
    def specificity(self) -> Interval:
        """Pooled specificity with its confidence interval."""
        return _back(self.mean[1], self.se[1], Z95)

    def predicted(self, *, normal: bool = False) -> tuple[Interval, Interval]:
        """Sensitivity and specificity to expect at a new site: t with k - 2 degrees of freedom, or the Normal."""
        width = Z95 if normal else float(stats.t.ppf(0.5 + _COVERAGE / 2, self.studies - 2))
        first, second = (math.hypot(se, tau) for se, tau in zip(self.se, self.tau, strict=True))
        return _back(self.mean[0], first, width), _back(self.mean[1], second, width)

    def within_prediction_region(self, sensitivity: float, specificity: float) -> bool:
        """Whether a pair, each strictly between 0 and 1, lies in the 95 % prediction ellipse of a new site."""
        away = np.array([_logit(sensitivity), _logit(specificity)]) - np.array(self.mean)
        spread = self.sigma + np.array(self.covariance)
        bound = 2 * float(stats.f.ppf(_COVERAGE, 2, self.studies - 2))
        return float(away @ np.linalg.solve(spread, away)) <= bound

    def likelihood_ratios(self) -> tuple[Interval, Interval, Interval]:
        """PLR = SEN / (1 - SPC), NLR = (1 - SEN) / SPC, DOR = PLR / NLR; intervals by the delta method on the log."""
        sen, spc = float(expit(self.mean[0])), float(expit(self.mean[1]))
        positive = self._on_log(math.log(sen / (1 - spc)), (1 - sen, spc))
        negative = self._on_log(math.log((1 - sen) / spc), (-sen, spc - 1))
        return positive, negative, self._on_log(self.mean[0] + self.mean[1], (1.0, 1.0))

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

    def _on_log(self, log_value: float, gradient: tuple[float, float]) -> Interval:
        slope = np.array(gradient)
        se = math.sqrt(float(slope @ np.array(self.covariance) @ slope))
        return Interval(
            value=math.exp(log_value), low=math.exp(log_value - Z95 * se), high=math.exp(log_value + Z95 * se)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """How a subgroup differs from the reference, on the logit scale, with a common Sigma (meta-regression)."""

    group: str
    studies: int
    sensitivity: Interval
    """The subgroup's pooled value."""
    specificity: Interval
    difference: tuple[float, float]
    """Logit SEN and logit SPC, subgroup minus reference; 0 for the reference itself."""
    p: float
    """Wald test of both differences together, chi-squared with 2 degrees of freedom; NaN for the reference."""


def pool(tables: Sequence[Confusion]) -> Pooled:
    """Fit the model to one 2x2 table per study.

    Raises:
        MetaAnalysisError: fewer than four studies, or a study without positives or without negatives.

    """
    y, d = _observed(tables)
    design = np.broadcast_to(np.eye(2), (len(tables), 2, 2))
    tau, rho, likelihood = _reml(y, d, design)
    mean, covariance = _gls(y, _inverse(d, _sigma(tau, rho)), design)
    return Pooled(
        studies=len(tables),
        mean=(float(mean[0]), float(mean[1])),
        covariance=_two_by_two(covariance),
        tau=tau,
        rho=rho,
        log_likelihood=likelihood,
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
    tau, rho, _ = _reml(y, d, design)
    mean, covariance = _gls(y, _inverse(d, _sigma(tau, rho)), design)
    return tuple(_contrast(name, groups.count(name), 2 * k, mean, covariance) for k, name in enumerate(names))


def deeks_p(tables: Sequence[Confusion]) -> float:
    """Test for small-study effects: ln DOR on 1/sqrt(effective sample size), weighted by it (Deeks et al. 2005); p.

    Raises:
        MetaAnalysisError: as `pool`, or all studies have one size.

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


def _reml(y: Floats, d: Floats, design: Floats) -> tuple[tuple[float, float], float, float]:
    """Between-study SDs, correlation and restricted log-likelihood."""

    def loss(at: Floats) -> float:
        tau, rho = _natural(at)
        return -_restricted(y, d, design, _sigma(tau, rho))

    starts = [np.array([math.log(a), math.log(b), math.atanh(r)]) for a, b, r in _STARTS]
    fits = [minimize(loss, start, method="Nelder-Mead", options=_TIGHT) for start in starts]
    best = min(fits, key=lambda fit: float(fit.fun))
    tau, rho = _natural(best.x)
    return tau, rho, -float(best.fun)


_TIGHT = {"xatol": 1e-9, "fatol": 1e-11, "maxiter": 20_000, "maxfev": 20_000}
"""For the simplex: the gradient vanishes along the ridges at tau = 0 and |rho| = 1, where BFGS stops early."""


def _natural(at: Floats) -> tuple[tuple[float, float], float]:
    return (float(np.exp(at[0])), float(np.exp(at[1]))), float(np.tanh(at[2]))


def _sigma(tau: tuple[float, float], rho: float) -> Floats:
    off = rho * tau[0] * tau[1]
    return np.array([[tau[0] ** 2, off], [off, tau[1] ** 2]])


def _inverse(d: Floats, sigma: Floats) -> Floats:
    """(k, 2, 2): inverse of Sigma + D of every study."""
    total = sigma + d[:, :, None] * np.eye(2)
    return np.asarray(np.linalg.inv(total), dtype=np.float64)


def _gls(y: Floats, weight: Floats, design: Floats) -> tuple[Floats, Floats]:
    """Coefficients and their covariance by generalised least squares."""
    information = np.einsum("kij,kil,klm->jm", design, weight, design)
    score = np.einsum("kij,kil,kl->j", design, weight, y)
    covariance = np.linalg.inv(information)
    return covariance @ score, covariance


def _restricted(y: Floats, d: Floats, design: Floats, sigma: Floats) -> float:
    """Restricted log-likelihood (Harville 1974) at Sigma."""
    weight = _inverse(d, sigma)
    beta, covariance = _gls(y, weight, design)
    residual = y - np.einsum("kij,j->ki", design, beta)
    quadratic = float(np.einsum("ki,kij,kj->", residual, weight, residual))
    log_v = -float(np.linalg.slogdet(weight)[1].sum())
    log_information = -float(np.linalg.slogdet(covariance)[1])
    log_design = float(np.linalg.slogdet(np.einsum("kij,kim->jm", design, design))[1])
    constant = (y.size - beta.size) * math.log(2 * math.pi)
    return -0.5 * (constant - log_design + log_v + log_information + quadratic)


def _contrast(name: str, studies: int, at: int, mean: Floats, covariance: Floats) -> Contrast:
    own = np.zeros((2, mean.size))
    own[0, at] = own[1, at + 1] = 1.0
    away = own.copy()
    away[0, 0] -= 1.0
    away[1, 1] -= 1.0
    difference = away @ mean
    se = np.sqrt(np.diag(own @ covariance @ own.T))
    p = math.nan
    if at:
        p = float(stats.chi2.sf(difference @ np.linalg.solve(away @ covariance @ away.T, difference), 2))
    return Contrast(
        group=name,
        studies=studies,
        sensitivity=_back(float(mean[at]), float(se[0]), Z95),
        specificity=_back(float(mean[at + 1]), float(se[1]), Z95),
        difference=(float(difference[0]), float(difference[1])),
        p=p,
    )


def _two_by_two(matrix: Floats) -> tuple[tuple[float, float], tuple[float, float]]:
    return (float(matrix[0, 0]), float(matrix[0, 1])), (float(matrix[1, 0]), float(matrix[1, 1]))


def _back(logit: float, se: float, width: float) -> Interval:
    value, low, high = (float(expit(logit + step * se)) for step in (0.0, -width, width))
    return Interval(value=value, low=low, high=high)


def _logit(p: float) -> float:
    return math.log(p / (1 - p))
