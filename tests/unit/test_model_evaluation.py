"""Decision figures and subgroups against hand-worked tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from model.evaluation.decision import (
    decision_curve,
    half_added,
    likelihoods,
    patients_needed,
    predictive_intervals,
    predictive_values,
    three_way,
)
from model.evaluation.metrics import Confusion
from model.evaluation.subgroups import Subgroup, Suppressed, age_matched, subgroups
from model.fusion import OperatingPoints


def test_likelihood_ratios_of_a_hand_worked_table() -> None:
    found = likelihoods(Confusion(tp=90, fp=40, fn=10, tn=160))  # SEN .9, SPC .8
    assert (found.positive.value, found.negative.value) == pytest.approx((4.5, 0.125))
    assert found.odds_ratio.value == pytest.approx(36.0)
    se = math.sqrt(1 / 90 - 1 / 100 + 1 / 40 - 1 / 200)
    assert found.positive.low == pytest.approx(4.5 * math.exp(-1.959964 * se), rel=1e-6)


def test_an_empty_cell_gives_a_finite_ratio() -> None:
    found = likelihoods(Confusion(tp=10, fp=0, fn=2, tn=20))
    assert math.isfinite(found.positive.value)
    assert found.positive.low > 1
    assert half_added(Confusion(tp=10, fp=0, fn=2, tn=20))
    assert not half_added(Confusion(tp=10, fp=1, fn=2, tn=20))


def test_where_nobody_is_flagged_nothing_is_said_of_the_flagged() -> None:
    table = Confusion(tp=0, fp=0, fn=20, tn=80)
    found, (ppv, npv) = likelihoods(table), predictive_intervals(table, 0.1)
    assert all(math.isnan(own.value) for own in (found.positive, found.odds_ratio, ppv))
    assert math.isfinite(found.negative.value)
    assert 0 < npv.value < 1


def test_where_a_class_is_missing_no_ratio_and_no_predictive_value_is_defined() -> None:
    table = Confusion(tp=0, fp=3, fn=0, tn=7)
    found = likelihoods(table)
    values = (found.positive, found.negative, found.odds_ratio, *predictive_intervals(table, 0.1))
    assert all(math.isnan(own.value) for own in values)


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "expected"),
    [  # model.md section 1: published operating points at other prevalences
        (0.9123, 0.9392, (0.954, 0.833, 0.684, 0.625, 0.378)),
        (0.8982, 0.8864, (0.916, 0.725, 0.533, 0.468, 0.243)),
        (0.92, 0.83, (0.882, 0.643, 0.438, 0.376, 0.180)),
    ],
)
def test_ppv_at_the_sites_prevalence_is_the_design_table(
    sensitivity: float, specificity: float, expected: tuple[float, ...]
) -> None:
    got = [predictive_values(sensitivity, specificity, p).ppv for p in (0.58, 0.25, 0.126, 0.10, 0.039)]
    assert got == pytest.approx(expected, abs=1.1e-3)


def test_npv_by_hand() -> None:
    assert predictive_values(0.9, 0.8, 0.5).npv == pytest.approx(0.8 / 0.9)


def test_net_benefit_by_hand() -> None:
    p, y = [0.9, 0.6, 0.4, 0.2, 0.1], [1, 0, 1, 0, 0]
    (half,) = decision_curve(p, y, [0.5])
    assert half.model == pytest.approx(1 / 5 - 1 / 5)
    assert half.treat_all == pytest.approx(2 / 5 - 3 / 5)
    (low,) = decision_curve(p, y, [0.2])
    assert low.model == pytest.approx(2 / 5 - 2 / 5 * 0.25)


def test_a_zone_is_counted_both_ways() -> None:
    p, y = [0.9, 0.5, 0.5, 0.5, 0.1, 0.05], [1, 1, 0, 0, 0, 1]
    found = three_way(p, y, OperatingPoints(t_low=0.3, t_high=0.7))
    assert found.indeterminate.value == pytest.approx(0.5)
    assert found.removed == Confusion(tp=1, fp=0, fn=1, tn=1)
    assert found.as_errors == Confusion(tp=1, fp=2, fn=2, tn=1)


def test_sample_sizes_of_the_design() -> None:
    assert patients_needed(0.90, 0.03) == 385
    assert patients_needed(0.85, 0.03) == 545


def test_subgroups_are_measured_flagged_and_suppressed() -> None:
    rng = np.random.default_rng(3)
    y = np.repeat([0, 1], 400)
    good = np.tile([True, False], 400)
    z = rng.normal(size=800) + np.where(good, 2.5, 0.3) * y
    p = 1 / (1 + np.exp(-z))
    few = np.zeros(800, bool)
    few[[0, 1, 799]] = True
    first, second, third = subgroups(p, y, {"good": good, "poor": ~good, "few": few}, 0.5)
    assert isinstance(first, Subgroup)
    assert isinstance(second, Subgroup)
    assert third == Suppressed(name="few", n=3, positives=1)
    assert first.auc.value == pytest.approx(roc_auc_score(y[good], p[good]))
    assert first.gaps is not None
    assert second.gaps is not None
    assert first.gaps.auc.value == pytest.approx(-second.gaps.auc.value)
    assert {"auc", "sensitivity"} <= {*first.flagged} & {*second.flagged}
    assert "false_positive_rate" not in first.flagged
    assert first.slope.low < first.slope.value < first.slope.high


def test_a_group_in_which_few_are_ill_is_flagged_for_its_sensitivity_though_its_auc_is_the_best() -> None:
    # Men and women of the shipped card: TP, FP, FN, TN of 57, 24, 40, 813 and 310, 138, 63, 547.
    tables = (57, 24, 40, 813), (310, 138, 63, 547)
    p = np.concatenate([np.repeat([0.9, 0.9, 0.1, 0.1], own) for own in tables])
    y = np.concatenate([np.repeat([1, 0, 1, 0], own) for own in tables])
    men = np.arange(p.size) < sum(tables[0])
    own, rest = subgroups(p, y, {"men": men, "women": ~men}, 0.5)
    assert isinstance(own, Subgroup)
    assert isinstance(rest, Subgroup)
    assert own.gaps is not None
    gap = own.gaps.sensitivity
    assert gap.value == pytest.approx(57 / 97 - 310 / 373)
    assert (gap.low, gap.high) == pytest.approx((-0.34879, -0.14188), abs=1e-5)  # R: of two prop.test
    assert own.flagged == rest.flagged == ("sensitivity", "false_positive_rate")


def test_equal_groups_are_not_flagged() -> None:
    rng = np.random.default_rng(4)
    y = np.repeat([0, 1], 300)
    p = 1 / (1 + np.exp(-(rng.normal(size=600) + 2 * y)))
    found = subgroups(p, y, {"a": np.tile([True, False], 300)}, 0.5)[0]
    assert isinstance(found, Subgroup)
    assert not found.flagged


def test_a_score_that_is_age_only_says_nothing_among_people_of_one_age() -> None:
    rng = np.random.default_rng(5)
    age = rng.uniform(50, 90, 2000)
    y = (rng.random(2000) < (age - 45) / 60).astype(int)
    sex = rng.integers(0, 2, 2000)
    assert roc_auc_score(y, age) > 0.7
    found = age_matched(age, y, age, sex)
    assert found is not None
    matched, pairs = found
    assert pairs > 300
    assert matched.low <= 0.5 <= matched.high


def test_a_handful_of_pairs_gives_no_age_matched_figure() -> None:
    assert age_matched([0.2, 0.9], [0, 1], [60, 61], ["F", "F"]) is None


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0.001, 0.999))
def test_predictive_values_are_probabilities(sensitivity: float, specificity: float, prevalence: float) -> None:
    found = predictive_values(sensitivity, specificity, prevalence)
    assert 0 <= found.ppv <= 1
    assert 0 <= found.npv <= 1
