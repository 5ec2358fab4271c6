"""Calibration figures against scikit-learn, a numerical Hessian and hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from model.evaluation.calibration import (
    calibration_in_the_large,
    calibration_slope,
    recalibrated,
    recalibration,
)
from model.evaluation.decision import predictive_intervals, predictive_values
from model.evaluation.literature import ZHAO_2026_XRAY
from model.evaluation.metrics import Confusion


def scores(count=4000, *, slope=1.0, offset=0.0, seed=3):
    rng = np.random.default_rng(seed)
    z = rng.normal(-1.2, 1.5, count)
    return expit(z), (rng.random(count) < expit(offset + slope * z)).astype(int)


def test_the_line_is_scikit_learns():
    p, y = scores(slope=0.7, offset=0.4)
    other = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(p)[:, None], y)
    line = recalibration(p, y)
    assert line.coefficients[0] == pytest.approx(other.coef_[0, 0], abs=1e-4)
    assert line.intercept == pytest.approx(other.intercept_[0], abs=1e-4)


def test_the_intervals_are_those_of_the_observed_information():
    p, y = scores(slope=0.8, offset=0.3)
    z, line = logit(p), recalibration(p, y)
    own = expit(line.intercept + line.coefficients[0] * z)
    design = np.column_stack([np.ones_like(z), z])
    covariance = np.linalg.inv(design.T @ ((own * (1 - own))[:, None] * design))
    slope = calibration_slope(p, y)
    assert slope.high - slope.value == pytest.approx(1.959964 * np.sqrt(covariance[1, 1]), rel=1e-5)
    large = calibration_in_the_large(p, y)
    moved = expit(z + large.value)
    assert moved.sum() == pytest.approx(y.sum(), abs=1e-6)
    assert large.high - large.value == pytest.approx(1.959964 / np.sqrt((moved * (1 - moved)).sum()), rel=1e-6)


def test_intervals_cover_the_truth_in_95_of_100_simulations():
    kept = [
        (calibration_slope(p, y), calibration_in_the_large(p, y)) for p, y in (scores(600, seed=s) for s in range(200))
    ]
    slopes = sum(s.low <= 1 <= s.high for s, _ in kept)
    large = sum(c.low <= 0 <= c.high for _, c in kept)
    assert 182 <= slopes <= 198
    assert 182 <= large <= 198


def test_recalibrated_probabilities_are_calibrated():
    p, y = scores(slope=0.6, offset=0.8)
    better = recalibrated(p, recalibration(p, y))
    assert calibration_slope(better, y).value == pytest.approx(1, abs=1e-4)
    assert better.mean() == pytest.approx(y.mean(), abs=1e-5)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="both classes"):
        calibration_in_the_large([0.1, 0.2], [0, 0])


TABLE = Confusion(tp=90, fp=40, fn=10, tn=160)


def test_predictive_intervals_hold_the_bayes_value_and_at_the_own_prevalence_the_share():
    ppv, npv = predictive_intervals(TABLE, 1 / 3)
    assert ppv.value == pytest.approx(90 / 130)
    assert npv.value == pytest.approx(160 / 170)
    other = predictive_intervals(TABLE, 0.1)[0]
    assert other.value == pytest.approx(predictive_values(0.9, 0.8, 0.1).ppv)
    assert other.low < other.value < other.high
    # By hand: logit interval, variance (1 - SEN) / (SEN n1) + SPC / ((1 - SPC) n0) = 1/900 + 4/200.
    half = 1.959964 * np.sqrt(1 / 900 + 4 / 200)
    assert other.high == pytest.approx(expit(logit(other.value) + half), abs=1e-6)


@settings(deadline=None)
@given(st.tuples(*[st.integers(0, 30)] * 4), st.floats(0.001, 0.9))
def test_predictive_intervals_are_ordered_shares(cells, prevalence):
    tp, fp, fn, tn = cells
    found = predictive_intervals(Confusion(tp=tp, fp=fp, fn=fn, tn=tn), prevalence)
    classes = tp + fn > 0 and tn + fp > 0
    for own, of in zip(found, (tp + fp, tn + fn), strict=True):
        if of and classes:
            assert 0 <= own.low <= own.value <= own.high <= 1
        else:
            assert np.isnan([own.low, own.value, own.high]).all()


def test_the_prediction_region_of_the_literature():
    assert ZHAO_2026_XRAY.within_prediction_region(0.92, 0.83)
    assert ZHAO_2026_XRAY.within_prediction_region(0.80, 0.70)
    assert not ZHAO_2026_XRAY.within_prediction_region(0.45, 0.30)
    assert not ZHAO_2026_XRAY.within_prediction_region(1.0, 0.9)
