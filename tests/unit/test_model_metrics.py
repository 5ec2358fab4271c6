"""Metrics against scikit-learn, hand tables and the bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from model.evaluation.metrics import (
    auc,
    brier,
    calibration_error,
    calibration_line,
    confusion,
    equal_mass_bins,
    paired_auc_test,
    wilson,
)


def _scores(count=400, seed=3, decimals=None):
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.3).astype(int)
    first = labels + rng.normal(size=count)
    second = 0.7 * labels + 0.6 * first + rng.normal(size=count)
    return (first, second, labels) if decimals is None else (first.round(decimals), second.round(decimals), labels)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 1, 0]))
def test_auc_equals_scikit_learn_with_and_without_ties(seed, decimals):
    first, _, labels = _scores(60, seed, decimals)
    labels[:2] = (0, 1)
    assert auc(first, labels).value == pytest.approx(roc_auc_score(labels, first))


def test_delong_standard_errors_agree_with_the_bootstrap():
    first, second, labels = _scores()
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(labels), (600, len(labels)))
    values = np.array([[auc(s[d], labels[d]).value for s in (first, second)] for d in draws])
    assert auc(first, labels).se == pytest.approx(values[:, 0].std(), rel=0.15)
    paired = paired_auc_test(first, second, labels)
    assert paired.se == pytest.approx((values[:, 0] - values[:, 1]).std(), rel=0.15)
    assert paired.difference == pytest.approx(auc(first, labels).value - auc(second, labels).value)


def test_delong_by_hand():
    # Positives 3, 5; negatives 1, 2, 4: 3 beats two of three, 5 beats all; placements of negatives 1, 1, 1/2.
    result = auc([3, 5, 1, 2, 4], [1, 1, 0, 0, 0])
    assert result.value == pytest.approx(5 / 6)
    assert result.se == pytest.approx(math.sqrt((1 / 18) / 2 + (1 / 12) / 3))
    many = auc(np.tile([3, 5, 1, 2, 4], 10), np.tile([1, 1, 0, 0, 0], 10))
    assert many.low < many.value < many.high < 1


def test_auc_of_a_handful_has_no_interval():
    for ill, well in ((2, 100), (100, 9)):
        found = auc(np.arange(ill + well) % 7, np.r_[np.ones(ill, int), np.zeros(well, int)])
        assert math.isnan(found.low)
        assert math.isnan(found.high)
    assert not math.isnan(auc(np.arange(20) % 7, np.arange(20) % 2).low)


def test_auc_of_a_score_that_separates_the_classes_has_an_exact_bound():
    labels = np.r_[np.zeros(30, int), np.ones(12, int)]
    found, mirrored = auc(np.arange(42), labels), auc(-np.arange(42), labels)
    assert (found.value, found.high) == (1, 1)
    assert found.low**12 == pytest.approx(0.025)  # Clopper and Pearson, 12 of 12
    assert (mirrored.low, mirrored.value) == (0, 0)
    assert mirrored.high == pytest.approx(1 - found.low)


def test_a_score_that_is_the_same_for_all_has_no_interval():
    found = auc(np.zeros(40), np.arange(40) % 2)
    assert found.value == 0.5
    assert math.isnan(found.low)


def test_a_perfect_score_differs_from_one_that_says_nothing():
    labels = np.r_[np.ones(50, int), np.zeros(50, int)]
    found = paired_auc_test(labels, np.zeros(100), labels)
    assert found.difference == 0.5
    assert found.p == pytest.approx(2 * 0.5**50)
    assert math.isnan(found.low)
    few = paired_auc_test([1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0])
    assert few.p == 0.5  # two pairs in order by chance: a quarter, and as much the other way


def test_a_score_does_not_differ_from_itself():
    first, _, labels = _scores()
    assert paired_auc_test(first, 2 * first + 1, labels).p == 1
    assert math.isnan(paired_auc_test(first, 2 * first + 1, labels).low)


def test_one_class_or_a_nan_is_refused():
    with pytest.raises(ValueError, match="both classes"):
        auc([0.1, 0.2], [1, 1])
    with pytest.raises(ValueError, match="finite"):
        auc([0.1, math.nan], [1, 0])


def test_wilson_known_values():
    # Newcombe 1998, Table I, method 3.
    for k, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        interval = wilson(k, n)
        assert (interval.low, interval.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert math.isnan(wilson(0, 0).value)


def test_confusion_by_hand_and_ties_count_as_flagged():
    table = confusion([0.9, 0.5, 0.4, 0.5, 0.1], [1, 1, 1, 0, 0], 0.5)
    assert (table.tp, table.fp, table.fn, table.tn) == (2, 1, 1, 1)
    assert table.sensitivity.value == pytest.approx(2 / 3)
    assert table.specificity.value == 0.5
    assert table.ppv.value == pytest.approx(2 / 3)
    assert table.npv.value == 0.5
    assert table.accuracy.value == 0.6


def test_calibration_of_a_calibrated_sample():
    rng = np.random.default_rng(5)
    p = rng.beta(1.5, 3, 20_000)
    y = (rng.random(20_000) < p).astype(int)
    assert calibration_error(p, y) < 0.012
    line = calibration_line(p, y)
    assert line.slope == pytest.approx(1, abs=0.05)
    assert line.intercept == pytest.approx(0, abs=0.06)
    sharpened = 1 / (1 + ((1 - p) / p) ** 2)
    assert calibration_line(sharpened, y).slope == pytest.approx(0.5, abs=0.03)
    assert calibration_error(sharpened, y) > 0.08


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_calibration_error_does_not_depend_on_the_order_of_the_rows(seed, count):
    rng = np.random.default_rng(seed)
    p, y = rng.integers(0, 6, count) / 7, rng.integers(0, 2, count)
    turned = rng.permutation(count)
    assert calibration_error(p[turned], y[turned]) == pytest.approx(calibration_error(p, y))


def test_equal_probabilities_are_one_bin():
    p, y = np.full(200, 0.3), np.r_[np.ones(60), np.zeros(140)]
    assert calibration_error(p, y) == pytest.approx(0.0)
    assert [part.size for part in equal_mass_bins(np.r_[np.arange(5), np.full(5, 9)], bins=4)] == [3, 2, 5]


def test_bins_without_ties_are_of_equal_size():
    p = np.random.default_rng(2).random(103)
    own = [part.tolist() for part in equal_mass_bins(p)]
    assert own == [part.tolist() for part in np.array_split(np.argsort(p), 10)]


def test_calibration_error_by_hand():
    assert calibration_error([0.1, 0.3, 0.6, 1.0], [0, 0, 1, 1], bins=2) == pytest.approx(0.5 * 0.2 + 0.5 * 0.2)


def test_brier_equals_scikit_learn():
    rng = np.random.default_rng(6)
    p, y = rng.random(200), rng.integers(0, 2, 200)
    assert brier(p, y) == pytest.approx(brier_score_loss(y, p))
