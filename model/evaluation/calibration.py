"""Calibration in the large: is a probability right on average? Slope: is it too sure, or too hesitant? With intervals.

logit P(y) = alpha + beta logit p. The slope is beta of the free fit; calibration in the large is alpha with beta fixed
at 1. Intervals are Wald's, from the observed information. Probabilities and labels are (n,); labels 0/1.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit

from model.evaluation.metrics import Z95, Interval
from model.logistic import Floats, Line, fit_logistic

_LIMIT = 1e-12
_SURE = 60.0
"""Beyond this alpha every probability is 0 or 1."""


def recalibration(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Line:
    """Intercept and slope that make these probabilities right.

    Raises:
        ValueError: a class is missing.

    """
    z, y = _logits(probabilities), np.asarray(labels, dtype=np.float64)
    return fit_logistic(z[:, None], y)


def calibration_slope(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Interval:
    """Slope of the recalibration line; 1 is right, less is too sure.

    Raises:
        ValueError: a class is missing.

    """
    z = _logits(probabilities)
    line = recalibration(probabilities, labels)
    beta = float(line.coefficients[0])
    p = expit(line.intercept + beta * z)
    weight = p * (1 - p)
    spread = float(weight @ (z - (weight @ z) / weight.sum()) ** 2)
    half = Z95 / math.sqrt(spread) if spread > 0 else math.inf
    return Interval(value=beta, low=beta - half, high=beta + half)


def calibration_in_the_large(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Interval:
    """What must be added to every logit so that as many are ill as expected; 0 is right, more is expected too few.

    Raises:
        ValueError: a class is missing.

    """
    z, y = _logits(probabilities), np.asarray(labels, dtype=np.float64)
    if not 0 < y.sum() < y.size:
        msg = "calibration in the large needs both classes"
        raise ValueError(msg)
    alpha = float(brentq(lambda a: expit(z + a).sum() - y.sum(), -_SURE, _SURE))
    p = expit(z + alpha)
    half = Z95 / math.sqrt(float(p @ (1 - p)))
    return Interval(value=alpha, low=alpha - half, high=alpha + half)


def recalibrated(probabilities: npt.ArrayLike, line: Line) -> Floats:
    """The probabilities moved along a recalibration line."""
    moved: Floats = expit(line.intercept + float(line.coefficients[0]) * _logits(probabilities))
    return moved


def _logits(probabilities: npt.ArrayLike) -> Floats:
    p = np.clip(np.asarray(probabilities, dtype=np.float64), _LIMIT, 1 - _LIMIT)
    return np.asarray(np.log(p) - np.log1p(-p))
