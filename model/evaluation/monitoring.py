"""Is what a node scores still what it was accepted on? Statistics for windows of results; numbers in, values out.

Definitions and limits of model.md section 15; the limits are proposals. A window below `LEAST` results is silent: it
has no statistic, only its size. Nothing here stops a node or re-issues a result.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

LEAST = 200
"""Results below which a window says nothing."""
PSI_WATCH, PSI_ALARM = 0.1, 0.25
VERIFICATION_BIAS = (
    "Flagged patients are sent to DXA, others seldom. Routine DXA gives the PPV, if those who return are typical of "
    "those flagged; sensitivity and specificity need weighting, or a verified sample of unflagged patients."
)
"""Stands beside every statement about what was not verified."""
_BINS = 10
_FLOOR = 1e-4
_EWMA_WEIGHT, _EWMA_SIGMAS = 0.2, 3.0
_CUSUM_SLACK, _CUSUM_LIMIT = 0.5, 5.0

Floats = npt.NDArray[np.float64]


class Signal(enum.StrEnum):
    """What a statistic asks for."""

    SILENT = "SILENT"
    """Too few results."""
    QUIET = "QUIET"
    WATCH = "WATCH"
    ALARM = "ALARM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One stream in one window against its reference."""

    n: int
    signal: Signal
    psi: float
    """Population stability index; NaN when silent."""
    p: float
    """Of the Kolmogorov-Smirnov or chi-squared test beside it; NaN when silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A control chart's path and its first alarm."""

    path: tuple[float, ...]
    first_alarm: int | None
    """Position in the series."""


def numeric_drift(reference: npt.ArrayLike, window: npt.ArrayLike) -> Drift:
    """PSI over ten quantile bins of the reference, and the two-sample KS test.

    Raises:
        ValueError: the reference has fewer than `LEAST` values, or a value is not finite.

    """
    known, seen = _finite(reference), _finite(window)
    if known.size < LEAST:
        msg = f"a reference needs at least {LEAST} values, got {known.size}"
        raise ValueError(msg)
    if seen.size < LEAST:
        return Drift(n=seen.size, signal=Signal.SILENT, psi=math.nan, p=math.nan)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1]))
    expected, actual = (
        np.bincount(np.searchsorted(edges, v, side="right"), minlength=edges.size + 1) for v in (known, seen)
    )
    value = psi(expected, actual)
    signal = _by_psi(value, known.size, seen.size, _BINS)
    return Drift(n=seen.size, signal=signal, psi=value, p=float(stats.ks_2samp(known, seen).pvalue))


def category_drift(reference: Sequence[str], window: Sequence[str]) -> Drift:
    """PSI over the categories of either, and the chi-squared test of their counts.

    Raises:
        ValueError: the reference has fewer than `LEAST` values.

    """
    if len(reference) < LEAST:
        msg = f"a reference needs at least {LEAST} values, got {len(reference)}"
        raise ValueError(msg)
    if len(window) < LEAST:
        return Drift(n=len(window), signal=Signal.SILENT, psi=math.nan, p=math.nan)
    names = sorted({*reference, *window})
    expected, actual = (np.array([list(v).count(name) for name in names]) for v in (reference, window))
    value = psi(expected, actual)
    p = 1.0 if len(names) == 1 else float(stats.chi2_contingency(np.vstack([expected, actual])).pvalue)
    signal = _by_psi(value, len(reference), len(window), len(names))
    return Drift(n=len(window), signal=signal, psi=value, p=p)


def psi(expected: npt.ArrayLike, actual: npt.ArrayLike) -> float:
    """Sum of (a - e) ln(a / e) over the shares of equal bins, each share at least .0001."""
    e, a = (np.maximum(np.asarray(v, np.float64) / np.sum(v), _FLOOR) for v in (expected, actual))
    return float(np.sum((a - e) * np.log(a / e)))


def ewma(values: npt.ArrayLike, *, mean: float, sd: float) -> Chart:
    """Exponentially weighted moving average (lambda .2, 3 sigma, exact limits) of a rate or score per period."""
    level, path, alarm = mean, [], None
    for i, value in enumerate(_finite(values)):
        level = _EWMA_WEIGHT * float(value) + (1 - _EWMA_WEIGHT) * level
        spread = _EWMA_WEIGHT / (2 - _EWMA_WEIGHT) * (1 - (1 - _EWMA_WEIGHT) ** (2 * (i + 1)))
        path.append(level)
        if alarm is None and abs(level - mean) > _EWMA_SIGMAS * sd * math.sqrt(spread):
            alarm = i
    return Chart(path=tuple(path), first_alarm=alarm)


def cusum(values: npt.ArrayLike, *, mean: float, sd: float) -> Chart:
    """Two-sided tabular CUSUM (k .5 sigma, h 5 sigma); the path is the larger side in sigmas."""
    high, low, path, alarm = 0.0, 0.0, [], None
    for i, value in enumerate(_finite(values)):
        z = (float(value) - mean) / sd
        high, low = max(0.0, high + z - _CUSUM_SLACK), max(0.0, low - z - _CUSUM_SLACK)
        path.append(max(high, low))
        if alarm is None and path[-1] > _CUSUM_LIMIT:
            alarm = i
    return Chart(path=tuple(path), first_alarm=alarm)


def _by_psi(value: float, known: int, seen: int, cells: int) -> Signal:
    """Of two samples of one population the PSI over so many cells is about (cells - 1)(1/n + 1/m) on average.

    More by chance alone the smaller they are; the limits of model.md section 15 hold for what is beyond.
    """
    beyond = value - (cells - 1) * (1 / known + 1 / seen)
    if beyond >= PSI_ALARM:
        return Signal.ALARM
    return Signal.WATCH if beyond >= PSI_WATCH else Signal.QUIET


def _finite(values: npt.ArrayLike) -> Floats:
    found = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(found).all():
        msg = "a stream holds finite values only; count missing ones as a category"
        raise ValueError(msg)
    return found
