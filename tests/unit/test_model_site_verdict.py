"""The site verdict on simulated sites of known calibration and discrimination."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from model.domain import Sex
from model.evaluation.metrics import Confusion, Interval
from model.site_verdict import (
    LEAST_NEGATIVES,
    LEAST_POSITIVES,
    Floors,
    SiteRows,
    Verdict,
    _below_floors,
    _half,
    _miscalibrated,
    judge_site,
)

T_HIGH = 0.30


def site(count=3000, *, separation=3.0, bend=1.0, offset=0.0, men_blind=False, seed=1, share=0.25):
    """A calibrated score of Normal latents, bent and moved on the logit scale as it is reported."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(count) < share).astype(np.int64)
    sex = np.where(rng.random(count) < 0.5, "F", "M")
    x = rng.normal(size=count) + separation * truth
    z = separation * x - separation**2 / 2 + np.log(share / (1 - share))
    if men_blind:
        z = np.where(sex == "M", rng.normal(-1.2, 1.0, count), z)
    p = expit(offset + bend * z)
    return SiteRows(probability=p, flagged=p >= T_HIGH, truth=truth, sex=tuple(Sex(s) for s in sex))


def verdict(rows, **floors):
    return judge_site(rows, Floors(**floors))


def test_a_site_like_the_calibration_data_is_accepted_by_sex_as_well():
    found = verdict(site(separation=2.4))
    assert found.verdict is Verdict.ACCEPTED
    assert [g.group for g in found.groups] == ["all", "women", "men"]
    assert all(g.verdict is Verdict.ACCEPTED for g in found.groups)


def test_fewer_than_100_positives_or_150_negatives_are_insufficient():
    found = verdict(site(300))
    assert found.verdict is Verdict.INSUFFICIENT_DATA
    assert str(LEAST_POSITIVES) in found.groups[0].because[0]
    assert verdict(site(1500, share=0.93)).verdict is Verdict.INSUFFICIENT_DATA


def test_wrong_calibration_with_good_discrimination_asks_for_a_local_one():
    found = verdict(site(4000, separation=2.8, offset=-2.2))
    assert found.verdict is Verdict.LOCAL_CALIBRATION
    own = found.groups[0]
    assert any("in the large" in why for why in own.because)
    assert own.local is not None
    assert own.local.slope == pytest.approx(1, abs=0.15)
    assert own.local.intercept == pytest.approx(2.2, abs=0.3)


def test_a_bent_scale_is_straightened_by_the_local_calibration():
    found = verdict(site(4000, separation=2.8, bend=2.0))
    assert found.verdict is Verdict.LOCAL_CALIBRATION
    assert found.groups[0].local is not None
    assert found.groups[0].local.slope == pytest.approx(0.5, abs=0.1)


def of_counts(women, men, *, seed):
    """A site of so many (ill, others) of each sex, whose scale needs a local calibration."""
    counts = (*women, *men)
    truth, sex = np.repeat([1, 0, 1, 0], counts), np.repeat(["F", "F", "M", "M"], counts)
    rng = np.random.default_rng(seed)
    order, share = rng.permutation(truth.size), truth.mean()
    truth, sex = truth[order], sex[order]
    z = 2.8 * (rng.normal(size=truth.size) + 2.8 * truth) - 2.8**2 / 2 + np.log(share / (1 - share))
    p = expit(z - 2.2)
    return SiteRows(probability=p, flagged=p >= T_HIGH, truth=truth, sex=tuple(Sex(s) for s in sex))


def test_a_sex_with_enough_patients_is_never_refused_for_the_size_of_a_half():
    seen = set()
    for seed in range(20):
        found = verdict(of_counts((104, 400), (60, 400), seed=seed))
        women = found.groups[1]
        assert women.verdict is not Verdict.INSUFFICIENT_DATA
        assert not any("needed" in why for why in women.because)
        seen.add(found.verdict)
    assert Verdict.LOCAL_CALIBRATION in seen


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 260), min_size=4, max_size=4))
def test_the_verifying_half_holds_half_of_what_each_sex_is_judged_on(seed, counts):
    rows = of_counts((counts[0], counts[1] + 1), (counts[2] + 1, counts[3]), seed=seed)
    half = _half(rows)
    assert (half == _half(rows)).all()
    for sex in (Sex.FEMALE, Sex.MALE):
        own = np.array([s is sex for s in rows.sex])
        for label, least in ((1, LEAST_POSITIVES), (0, LEAST_NEGATIVES)):
            members = own & (rows.truth == label)
            if members.sum() >= least:
                assert (members & ~half).sum() >= least / 2


@pytest.mark.parametrize(("digits", "orders"), [(16, 20), (2, 3)])
def test_the_order_of_the_rows_changes_no_verdict_and_no_figure(digits, orders):
    rows = of_counts((110, 160), (10, 30), seed=7)
    p = np.round(rows.probability, digits)  # equal rows in any order are the same
    rows = SiteRows(probability=p, flagged=p >= T_HIGH, truth=rows.truth, sex=rows.sex)
    found = verdict(rows)
    assert found.groups[0].local is not None
    rng = np.random.default_rng(3)
    assert all(verdict(rows.only(rng.permutation(rows.truth.size))) == found for _ in range(orders))


def with_men(*, ill, found, others, flagged):
    """A good site with few men, so many of whom are flagged."""
    rows = site(6000, separation=2.6)
    men = np.array([s is Sex.MALE for s in rows.sex])
    kinds = (
        (rows.truth == 1, rows.flagged, found),
        (rows.truth == 1, ~rows.flagged, ill - found),
        (rows.truth == 0, rows.flagged, flagged),
        (rows.truth == 0, ~rows.flagged, others - flagged),
    )
    few = [np.flatnonzero(men & truth & decided)[:count] for truth, decided, count in kinds]
    assert [own.size for own in few] == [count for *_, count in kinds]
    return rows.only(np.concatenate([np.flatnonzero(~men), *few]))


def test_men_too_few_to_pass_who_surely_fail_are_not_unknown():
    found = verdict(with_men(ill=60, found=29, others=300, flagged=30))
    men = found.groups[2]
    assert (found.groups[0].verdict, found.groups[1].verdict) == (Verdict.ACCEPTED, Verdict.ACCEPTED)
    assert men.table == Confusion(tp=29, fp=30, fn=31, tn=270)
    assert "SEN 0.483, upper bound 0.607 below the floor 0.8" in men.because
    assert men.verdict is Verdict.NOT_ACCEPTED
    assert found.verdict is Verdict.NOT_ACCEPTED
    unspecific = verdict(with_men(ill=10, found=10, others=100, flagged=60))
    assert unspecific.groups[2].verdict is Verdict.NOT_ACCEPTED


@pytest.mark.parametrize(("ill", "found"), [(60, 45), (1, 0), (2, 0), (0, 0)])
def test_men_too_few_who_may_be_as_good_are_shown_and_not_judged(ill, found):
    said = verdict(with_men(ill=ill, found=found, others=60, flagged=6))
    assert (said.verdict, said.groups[2].verdict) == (Verdict.ACCEPTED, Verdict.INSUFFICIENT_DATA)
    assert said.groups[2].table == Confusion(tp=found, fp=6, fn=ill - found, tn=54)


def test_few_men_are_seen_as_the_local_calibration_reports_them():
    found = verdict(of_counts((400, 800), (40, 60), seed=3))
    men = found.groups[2]
    assert found.verdict is Verdict.LOCAL_CALIBRATION
    assert men.verdict is Verdict.INSUFFICIENT_DATA
    assert men.table is not None
    assert men.table.tp + men.table.fn == 20


def test_no_text_says_that_a_figure_misses_a_bar_it_equals():
    table = Confusion(tp=92, fn=13, tn=950, fp=50)
    assert _below_floors(table, Floors()) == ("SEN 0.876, lower bound 0.7996 not above the floor 0.8",)
    slope, large = Interval(value=0.7996, low=0.7, high=0.9), Interval(value=-0.3004, low=-0.4, high=-0.1)
    assert [why.split(" (")[0] for why in _miscalibrated(slope, large)] == [
        "calibration slope 0.7996",
        "calibration in the large -0.3004",
    ]


def test_weak_discrimination_is_not_accepted_and_no_calibration_is_offered():
    found = verdict(site(separation=0.8))
    assert found.verdict is Verdict.NOT_ACCEPTED
    assert found.groups[0].local is None
    assert any("cannot help" in why for why in found.groups[0].because)


def test_a_sex_that_fails_is_not_outvoted_by_the_other():
    found = verdict(site(6000, separation=3.0, men_blind=True))
    by_group = {g.group: g.verdict for g in found.groups}
    assert by_group["men"] is Verdict.NOT_ACCEPTED
    assert found.verdict is Verdict.NOT_ACCEPTED


def test_floors_are_the_sites_own():
    rows = site(separation=2.4)
    assert verdict(rows, sensitivity=0.999).verdict is Verdict.NOT_ACCEPTED


def test_a_site_far_better_than_every_study_is_not_waved_through():
    found = verdict(site(6000, separation=9.0))
    assert found.verdict is Verdict.NOT_ACCEPTED
    assert any("outside what 22 studies predict" in why for why in found.groups[0].because)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 4.0), st.floats(0.3, 2.5), st.floats(-2, 2))
def test_every_site_gets_one_of_four_verdicts(seed, separation, bend, offset):
    found = verdict(site(800, separation=separation, bend=bend, offset=offset, seed=seed))
    assert found.verdict in Verdict
    assert all(g.because for g in found.groups)
