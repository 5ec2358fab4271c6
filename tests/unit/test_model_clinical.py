"""The clinical model: golden numbers of model.md section 7, missing and extreme inputs."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from support.model_parts import CLINICAL
from support.shared_data import BONE_QUALITY, needs_table

from model.clinical import COLUMNS, REQUIRED, ClinicalModel, restricted_cubic_spline
from model.clinical_fit import fit_clinical
from model.domain import ClinicalRecord, Observation, Reason, Sex
from model.evaluation.metrics import auc, calibration_line
from model.logistic import fit_logistic

GOLDEN = [
    (Sex.FEMALE, 55, 60, 0.131),
    (Sex.FEMALE, 70, 55, 0.478),
    (Sex.FEMALE, 80, 45, 0.803),
    (Sex.MALE, 70, 65, 0.115),
    (Sex.MALE, 80, 55, 0.375),
]
AGES = st.none() | st.floats(allow_nan=True, allow_infinity=True)


@pytest.mark.parametrize(("sex", "age", "weight", "expected"), GOLDEN)
def test_golden_probabilities(sex, age, weight, expected):
    assert CLINICAL.probability(age_years=age, sex=sex, weight_kg=weight) == (pytest.approx(expected, abs=2e-3), ())


@needs_table
def test_fit_reproduces_the_golden_coefficients():
    model = fit_clinical(BONE_QUALITY)
    assert model.coefficients == pytest.approx([-0.782, 0.831, -1.034, -0.149, 0.103, 0.588, 0.774], abs=2e-3)
    assert model.intercept == pytest.approx(-1.660, abs=2e-3)
    assert model.age_knots == (54, 65, 78)
    assert model.weight_knots == pytest.approx((50, 63, 78.1))
    assert (model.age_range, model.weight_range) == ((50, 93), (33.6, 107))
    assert "969 South Koreans" in model.provenance
    for sex, age, weight, expected in GOLDEN:
        p, _ = model.probability(age_years=age, sex=sex, weight_kg=weight)
        assert p == pytest.approx(expected, abs=2e-3)


@needs_table
def test_apparent_performance_by_sex_on_the_table():
    rows = np.genfromtxt(BONE_QUALITY, delimiter=",", names=True)
    sexes = [Sex.FEMALE if f else Sex.MALE for f in rows["female"]]
    p = np.array(
        [
            CLINICAL.probability(age_years=a, sex=s, weight_kg=w)[0]
            for a, s, w in zip(rows["age"], sexes, rows["weight"], strict=True)
        ]
    )
    women = rows["female"] == 1
    assert p[women].mean() == pytest.approx(0.366, abs=2e-3)
    assert p[~women].mean() == pytest.approx(0.101, abs=2e-3)
    assert 0.82 <= auc(p, rows["op"]).value <= 0.84
    assert 0.95 <= calibration_line(p, rows["op"]).slope <= 1.1
    assert auc(-0.2 * (rows["weight"] - rows["age"]), rows["op"]).value == pytest.approx(0.808, abs=1e-3)


@pytest.mark.parametrize("missing", ["age_years", "weight_kg"])
@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_any_missing_number_gives_no_probability(missing, value):
    person = {"age_years": 70.0, "weight_kg": 60.0, missing: value}
    assert CLINICAL.probability(sex=Sex.FEMALE, **person) is None


@pytest.mark.parametrize("sex", [Sex.OTHER, Sex.UNKNOWN])
def test_a_sex_the_model_does_not_know_gives_no_probability(sex):
    assert CLINICAL.probability(age_years=70, sex=sex, weight_kg=60) is None


def test_outside_the_training_range_is_clamped_and_said():
    edge = CLINICAL.probability(age_years=93, sex=Sex.MALE, weight_kg=107)
    beyond = CLINICAL.probability(age_years=101, sex=Sex.MALE, weight_kg=140)
    assert edge[1] == ()
    assert beyond == (edge[0], (Reason.OUTSIDE_TRAINING,))


@given(age=AGES, sex=st.sampled_from(Sex), weight=AGES)
def test_every_input_gives_a_probability_or_none(age, sex, weight):
    result = CLINICAL.probability(age_years=age, sex=sex, weight_kg=weight)
    assert result is None or 0 < result[0] < 1


@given(age=st.floats(50, 93), weight=st.floats(33.6, 107))
def test_older_and_lighter_never_lowers_a_womans_probability(age, weight):
    p, _ = CLINICAL.probability(age_years=age, sex=Sex.FEMALE, weight_kg=weight)
    older, _ = CLINICAL.probability(age_years=min(age + 1, 93), sex=Sex.FEMALE, weight_kg=weight)
    lighter, _ = CLINICAL.probability(age_years=age, sex=Sex.FEMALE, weight_kg=max(weight - 1, 33.6))
    assert older >= p
    assert lighter >= p


def test_spline_is_zero_before_and_linear_after_its_knots():
    knots = (54.0, 65.0, 78.0)
    assert restricted_cubic_spline(54, knots) == 0
    first, second, third = (restricted_cubic_spline(x, knots) for x in (80, 90, 100))
    assert second - first == pytest.approx(third - second)
    assert restricted_cubic_spline(65, knots) == pytest.approx(11**3 / 24**2)


def test_json_round_trip():
    assert ClinicalModel.from_dict(json.loads(json.dumps(CLINICAL.to_dict()))) == CLINICAL


@pytest.mark.parametrize(
    "broken",
    [{"coefficients": (1.0,)}, {"intercept": math.nan}, {"sds": (0.0,) * 7}, {"age_knots": (65.0, 54.0, 78.0)}],
)
def test_numbers_that_form_no_model_are_refused(broken):
    with pytest.raises(ValueError, match=r"clinical model|must increase"):
        replace(CLINICAL, **broken)


def test_an_unknown_field_is_refused():
    with pytest.raises(TypeError):
        ClinicalModel.from_dict({**CLINICAL.to_dict(), "pickle": "x"})


def test_neither_dxa_nor_frax_can_reach_a_feature():
    assert REQUIRED == ("age", "sex", "weight")
    assert {part for column in COLUMNS for part in column.replace("rcs(", "").replace(")", "").split("*")} == {
        "female",
        "age",
        "weight",
    }
    names = {f.name for t in (ClinicalRecord, Observation) for f in fields(t)}
    assert not any(word in name for name in names for word in ("dxa", "t_score", "frax", "bmd", "drug"))


@pytest.mark.parametrize("penalty", [0.05, 1.0, 30.0])
def test_own_logistic_fit_equals_scikit_learn(penalty):
    rng = np.random.default_rng(4)
    columns = rng.normal(size=(300, 4)) @ np.diag([1, 2, 0.5, 1])
    labels = (columns @ [1, -0.5, 0.3, 0] + rng.logistic(size=300) > 0.5).astype(float)
    own = fit_logistic(columns, labels, penalty_c=penalty)
    other = LogisticRegression(C=penalty, tol=1e-10, max_iter=1000).fit(columns, labels)
    assert own.coefficients == pytest.approx(other.coef_[0], abs=1e-5)
    assert own.intercept == pytest.approx(other.intercept_[0], abs=1e-5)


def test_a_fit_on_one_class_is_refused():
    with pytest.raises(ValueError, match="both classes"):
        fit_logistic(np.ones((5, 1)), np.ones(5))
