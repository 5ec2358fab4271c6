"""Restricted maximum likelihood of the bivariate model of `meta_analysis`: what differs between studies, and the means.

Sigma, 2 x 2, is searched as L L' with L lower triangular and its three numbers free. So it can be of rank one (the
studies differ along one line, a correlation of -1 or 1) or 0 without the search running off to infinity: with standard
deviations on a log scale and a correlation on an atanh scale it stops on the ridges there, at too small a Sigma.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Floats = npt.NDArray[np.float64]

_STARTS = ((0.5, 0.0, 0.5), (0.5, 0.4, 0.1), (0.5, -0.4, 0.1))
"""L11, L21, L22: uncorrelated studies, and nearly rank one in both directions; the best of the three is taken."""
_TIGHT = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 20_000, "maxfev": 20_000}
_NOTHING = 1e-6
"""A between-study SD below this is 0: its correlation with anything is then 0 as well, not noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemlFit:
    """The fit of p coefficients to k studies."""

    tau: tuple[float, float]
    rho: float
    log_likelihood: float
    """Restricted, with the constant -(2k - p)/2 log(2 pi)."""
    mean: Floats = field(repr=False)
    """(p,) coefficients by generalised least squares."""
    covariance: Floats = field(repr=False)
    """(p, p), given Sigma."""


def fit_reml(y: Floats, d: Floats, design: Floats) -> RemlFit:
    """Find Sigma and the coefficients.

    Args:
        y: (k, 2) logits.
        d: (k, 2) their sampling variances.
        design: (k, 2, p).

    """

    def loss(at: Floats) -> float:
        return -_restricted(y, d, design, _sigma(at))

    fits = [minimize(loss, np.array(start), method="Nelder-Mead", options=_TIGHT) for start in _STARTS]
    best = min(fits, key=lambda fit: float(fit.fun))
    sigma = _sigma(best.x)
    mean, covariance = _gls(y, _inverse(d, sigma), design)
    tau, rho = _natural(sigma)
    return RemlFit(tau=tau, rho=rho, log_likelihood=-float(best.fun), mean=mean, covariance=covariance)


def _sigma(at: Floats) -> Floats:
    lower = np.array([[at[0], 0.0], [at[1], at[2]]])
    return np.asarray(lower @ lower.T)


def _natural(sigma: Floats) -> tuple[tuple[float, float], float]:
    first, second = (tau if (tau := math.sqrt(own)) >= _NOTHING else 0.0 for own in np.diag(sigma))
    rho = float(sigma[0, 1]) / (first * second) if first and second else 0.0
    return (first, second), max(-1.0, min(1.0, rho))


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
