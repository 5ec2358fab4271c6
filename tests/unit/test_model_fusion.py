"""Calibration, stack and decision: monotone, finite, exact at the thresholds; fitted on simulated scores."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.model_parts import FUSION

from model.domain import Category
from model.evaluation.metrics import auc, calibration_error, calibration_line, confusion
from model.fusion import Fusion, OperatingPoints, decide, logit, shift, sigmoid
from model.fusion_fit import fit_fusion, operating_points, with_linear_pool

LOGITS = st.floats(-1e6, 1e6)
SHARES = st.floats(0, 1)


def _simulated(count=1500, seed=7, missing=0.0):
    """Labels, raw image logits of a badly scaled network and clinical probabilities of a weaker model."""
    rng = np.random.default_rng(seed)
    t = rng.normal(size=count)
    labels = (t + 0.4 * rng.normal(size=count) > 0.9).astype(float)
    image = 5 * (t + 0.35 * rng.normal(size=count)) - 1
    clinical = 1 / (1 + np.exp(-(t + 1.2 * rng.normal(size=count) - 1)))
    clinical[rng.random(count) < missing] = math.nan
    return image, clinical, labels


@given(image=LOGITS, step=st.floats(0, 1e3), p=SHARES, rise=SHARES)
def test_probabilities_are_finite_and_monotone_in_both_inputs(image, step, p, rise):
    low, high = FUSION.fused(image, p), FUSION.fused(image + step, max(p, rise))
    assert 0 <= low <= high <= 1
    assert 0 <= FUSION.image_only(image) <= FUSION.image_only(image + step) <= 1
    assert 0 <= FUSION.clinical_only(p) <= 1


def test_the_stack_by_hand():
    z = 1.1 * (2.5 / 1.25) + 0.35 * (0.9 * math.log(0.4 / 0.6) - 0.1) - 0.21
    assert FUSION.fused(2.5, 0.4) == pytest.approx(1 / (1 + math.exp(-z)))
    assert FUSION.image_only(2.5) == pytest.approx(1 / (1 + math.exp(-(1.05 * 2 - 0.3))))


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.249999, Category.BELOW),
        (0.25, Category.BETWEEN),
        (0.319999, Category.BETWEEN),
        (0.32, Category.ABOVE),
        (1.0, Category.ABOVE),
        (0.0, Category.BELOW),
    ],
)
def test_a_probability_at_a_threshold_has_reached_it(p, expected):
    assert decide(p, FUSION.fused_points) is expected


@given(p=SHARES)
def test_crossed_thresholds_leave_no_zone_between(p):
    points = OperatingPoints(t_low=0.5, t_high=0.3)
    assert decide(p, points) is (Category.ABOVE if p >= 0.3 else Category.BELOW)


@given(st.floats(1e-9, 1 - 1e-9))
def test_logit_and_sigmoid_are_inverse(p):
    assert sigmoid(logit(p)) == pytest.approx(p, rel=1e-9)


def test_certainty_stays_finite():
    assert math.isfinite(logit(0.0))
    assert math.isfinite(logit(1.0))
    assert sigmoid(-1e9) < 1e-12 < sigmoid(1e9)


def test_json_round_trip_and_identity():
    again = Fusion.from_dict(json.loads(json.dumps(FUSION.to_dict())))
    assert again == FUSION
    assert again.calibration_id == FUSION.calibration_id
    moved = replace(FUSION, fused_points=OperatingPoints(t_low=0.25, t_high=0.33))
    assert moved.calibration_id != FUSION.calibration_id
    assert FUSION.describe() == "logit stack a=1.100 b=0.350 c=-0.210; image only a=1.050 c=-0.300"


@pytest.mark.parametrize("broken", [{"image_weight": -0.1}, {"temperature": 0.0}, {"intercept": math.nan}])
def test_a_fusion_that_is_not_monotone_or_finite_is_refused(broken):
    with pytest.raises(ValueError, match="fusion"):
        replace(FUSION, **broken)


def test_a_threshold_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="thresholds"):
        OperatingPoints(t_low=0.2, t_high=1.2)


def test_fitted_fusion_is_calibrated_and_no_worse_than_the_image():
    image, clinical, labels = _simulated()
    fusion = fit_fusion(image, clinical, labels)
    image_t, clinical_t, labels_t = _simulated(count=6000, seed=8)
    fused = [fusion.fused(i, c) for i, c in zip(image_t, clinical_t, strict=True)]
    alone = [fusion.image_only(i) for i in image_t]
    assert auc(fused, labels_t).value >= auc(alone, labels_t).value - 0.003
    for p in (fused, alone):
        assert calibration_error(p, labels_t) <= 0.03
        assert 0.9 <= calibration_line(p, labels_t).slope <= 1.1


def test_rows_without_clinical_data_serve_the_image_mode_only():
    image, clinical, labels = _simulated(missing=0.4)
    fusion = fit_fusion(image, clinical, labels)
    known = np.isfinite(clinical)
    complete = fit_fusion(image[known], clinical[known], labels[known])
    assert fusion.clinical_weight == pytest.approx(complete.clinical_weight, rel=0.2)
    assert fusion.fused_points.t_high == pytest.approx(complete.fused_points.t_high, abs=1e-3)
    p = np.array([fusion.image_only(i) for i in image])
    assert p.mean() == pytest.approx(labels.mean(), abs=2e-3)


def test_a_harmful_clinical_input_gets_no_weight():
    image, clinical, labels = _simulated()
    fusion = fit_fusion(image, 1 - clinical, labels)
    assert fusion.clinical_weight == 0
    assert fusion.fused(1.0, 0.01) == fusion.fused(1.0, 0.99)


def test_an_image_logit_that_falls_with_the_label_is_refused():
    image, clinical, labels = _simulated()
    with pytest.raises(ValueError, match="does not rise"):
        fit_fusion(-image, clinical, labels)


def test_operating_points_by_hand():
    p = np.arange(1, 21) / 20
    labels = np.array([0] * 9 + [1, 0] + [1] * 9)
    points = operating_points(p, labels)
    assert points == OperatingPoints(t_low=0.60, t_high=0.50)
    assert operating_points(p, labels, target_sensitivity=1.0, target_specificity=1.0) == OperatingPoints(
        t_low=0.50, t_high=0.60
    )


@given(st.integers(0, 2**32 - 1))
def test_operating_points_keep_their_promise_and_cannot_be_moved(seed):
    rng = np.random.default_rng(seed)
    labels = np.array([0, 1] * 30)
    p = np.round(np.clip(0.2 * labels + rng.random(60) * 0.8, 0, 1), 2)
    points = operating_points(p, labels)
    assert confusion(p, labels, points.t_low).sensitivity.value >= 0.9
    assert confusion(p, labels, np.nextafter(points.t_low, 2)).sensitivity.value < 0.9
    assert points.t_high == 1.0 or confusion(p, labels, points.t_high).specificity.value >= 0.9
    lower = p[p < points.t_high]
    assert lower.size == 0 or confusion(p, labels, lower.max()).specificity.value < 0.9


POOL = replace(FUSION, linear_weight=0.8)


def test_the_linear_pool_by_hand():
    own, other = FUSION.image_only(2.5), FUSION.clinical_only(0.4)
    assert POOL.fused(2.5, 0.4) == pytest.approx(0.8 * own + 0.2 * other)
    assert POOL.describe() == "linear pool w=0.80; image only a=1.050 c=-0.300"
    assert Fusion.from_dict(json.loads(json.dumps(POOL.to_dict()))) == POOL
    assert POOL.calibration_id != FUSION.calibration_id
    assert "linear_weight" not in FUSION.to_dict()  # bundles made before keep their id


@given(image=LOGITS, step=st.floats(0, 1e3), p=SHARES, rise=SHARES)
def test_the_linear_pool_is_monotone_in_both_inputs(image, step, p, rise):
    assert POOL.fused(image, p) <= POOL.fused(image + step, max(p, rise)) + 1e-15


@pytest.mark.parametrize("weight", [-0.05, 1.05, math.nan])
def test_a_pool_weight_that_is_no_share_is_refused(weight):
    with pytest.raises(ValueError, match="pool"):
        replace(FUSION, linear_weight=weight)


def test_the_linear_pool_takes_the_best_weight_of_the_grid():
    image, clinical, labels = _simulated(missing=0.2)
    fusion = fit_fusion(image, clinical, labels)
    pool = with_linear_pool(fusion, image, clinical, labels)
    known = np.isfinite(clinical)

    def area(weight):
        trial = replace(pool, linear_weight=weight)
        return auc([trial.fused(i, c) for i, c in zip(image[known], clinical[known], strict=True)], labels[known]).value

    assert pool.linear_weight is not None
    assert round(pool.linear_weight / 0.05, 6) % 1 == pytest.approx(0)
    assert all(area(pool.linear_weight) >= area(step / 20) - 1e-12 for step in range(21))
    assert (pool.temperature, pool.image_points) == (fusion.temperature, fusion.image_points)


INNER = st.floats(1e-6, 1 - 1e-6)


def test_label_shift_is_bayes_rule():
    # Likelihood ratio 3 at prevalence 25 % is p = .5; the same finding at 10 % is 3 * (1 / 9) odds.
    assert shift(0.5, fitted=0.25, site=0.10) == pytest.approx((3 / 9) / (1 + 3 / 9))
    assert shift(0.3, fitted=0.2, site=0.2) == pytest.approx(0.3)


@given(p=SHARES, fitted=INNER, site=INNER)
def test_category_invariant_under_prevalence_shift(p, fitted, site):
    for points in (FUSION.fused_points, OperatingPoints(t_low=0.5, t_high=0.3), OperatingPoints(t_low=0.0, t_high=1.0)):
        moved = OperatingPoints(
            t_low=shift(points.t_low, fitted=fitted, site=site), t_high=shift(points.t_high, fitted=fitted, site=site)
        )
        near = min(abs(p - points.t_low), abs(p - points.t_high))
        if near == 0 or near > 1e-9:  # closer than float rounding the shown digits are equal anyway
            assert decide(shift(p, fitted=fitted, site=site), moved) is decide(p, points)
