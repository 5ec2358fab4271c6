"""Monitoring statistics against hand values, scipy and known run lengths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from model.evaluation.monitoring import (
    Signal,
    category_drift,
    cusum,
    ewma,
    numeric_drift,
    psi,
)

RNG = np.random.default_rng(5)
REFERENCE = RNG.normal(size=4000)


def test_psi_of_identical_samples_0_of_a_known_shift_the_hand_value():
    assert psi([10, 20, 70], [100, 200, 700]) == 0
    hand = 0.1 * math.log(0.5 / 0.4) + (-0.1) * math.log(0.5 / 0.6)
    assert psi([40, 60], [50, 50]) == pytest.approx(hand)
    assert psi([0, 100], [50, 50]) == pytest.approx((0.5 - 1e-4) * math.log(0.5 / 1e-4) + (0.5 - 1) * math.log(0.5))


def test_small_windows_silent():
    found = numeric_drift(REFERENCE, REFERENCE[:199] + 9)
    assert (found.signal, found.n) == (Signal.SILENT, 199)
    assert math.isnan(found.psi)
    assert category_drift(["PA"] * 300, ["AP"] * 199).signal is Signal.SILENT


def test_a_reference_too_small_is_refused():
    with pytest.raises(ValueError, match="at least 200"):
        numeric_drift(REFERENCE[:50], REFERENCE)


def test_the_same_distribution_is_quiet_and_a_shifted_one_alarms():
    fresh = np.random.default_rng(6).normal(size=1000)
    same, moved = numeric_drift(REFERENCE, fresh), numeric_drift(REFERENCE, fresh + 1)
    assert same.signal is Signal.QUIET
    assert moved.signal is Signal.ALARM
    assert same.p == pytest.approx(ks_2samp(REFERENCE, fresh).pvalue)
    assert numeric_drift(REFERENCE, fresh + 0.4).signal is Signal.WATCH


def test_categories_new_and_gone_count():
    assert category_drift(["PA", "AP"] * 200, ["PA", "AP"] * 150).signal is Signal.QUIET
    found = category_drift(["PA", "AP"] * 200, ["PA"] * 200 + ["LL"] * 100)
    assert found.signal is Signal.ALARM
    assert found.p < 1e-6


def test_ewma_by_hand():
    chart = ewma([1.0, 0.0], mean=0.0, sd=0.1)
    assert chart.path == pytest.approx((0.2, 0.16))
    assert chart.first_alarm == 0  # .2 > 3 * .1 * sqrt(.2 / 1.8 * (1 - .64)) = .06


def test_cusum_by_hand():
    chart = cusum([1.0, 2.0, 4.0, -9.0], mean=0.0, sd=1.0)
    assert chart.path == pytest.approx((0.5, 2.0, 5.5, 8.5))
    assert chart.first_alarm == 2


def test_cusum_run_length():
    """k .5, h 5: in control about 465 samples to an alarm, after a shift of one sigma about 10 (Montgomery, SQC)."""
    rng = np.random.default_rng(7)

    def mean_run(shift, count):
        runs = [cusum(rng.normal(shift, 1, count), mean=0, sd=1).first_alarm for _ in range(150)]
        return float(np.mean([count if r is None else r + 1 for r in runs]))

    assert 9 <= mean_run(1.0, 60) <= 12
    assert 300 <= mean_run(0.0, 1500) <= 600


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=2, max_size=8), st.integers(0, 2**16))
def test_psi_is_never_negative(counts, seed):
    other = np.random.default_rng(seed).integers(0, 50, len(counts)) + 1
    assert psi(np.array(counts) + 1, other) >= -1e-12


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_no_stream_breaks_a_statistic(seed):
    rng = np.random.default_rng(seed)
    ties = rng.integers(0, 3, 400).astype(float)
    found = numeric_drift(ties, rng.integers(0, 3, 300).astype(float))
    assert math.isfinite(found.psi)
    assert 0 <= found.p <= 1
