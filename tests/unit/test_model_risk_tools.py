"""Every risk tool against hand-worked cases."""

from __future__ import annotations

import math

import pytest

from model.domain import Comparator, Sex
from model.risk_tools import comparators, orai, osiris, ost, osta, score


@pytest.mark.parametrize(
    ("sex", "age", "weight", "index", "band"),
    [
        (Sex.FEMALE, 50, 60, 2, "not below cut-off 2"),
        (Sex.FEMALE, 51, 60, 1, "below cut-off 2"),  # 1.8
        (Sex.FEMALE, 70, 55, -3, "below cut-off 2"),
        (Sex.FEMALE, 70, 66, 0, "below cut-off 2"),  # -0.8 truncates toward zero
        (Sex.FEMALE, 70, 64.9, -1, "below cut-off 2"),  # -1.02
        (Sex.MALE, 50, 70, 4, "not below cut-off 4"),
        (Sex.MALE, 50, 69, 3, "below cut-off 4"),  # 3.8
        (Sex.MALE, 64.9, 59.9, -1, "below cut-off 4"),  # exactly -1, whatever binary fractions say
    ],
)
def test_ost(sex, age, weight, index, band):
    assert ost(age_years=age, sex=sex, weight_kg=weight) == Comparator(tool="OST", value=index, band=band)


@pytest.mark.parametrize(
    ("age", "weight", "index", "band"),
    [
        (60, 60, 0, "low risk band"),
        (65, 60, -1, "moderate risk band"),
        (80, 60, -4, "moderate risk band"),
        (84, 60, -4, "moderate risk band"),  # -4.8
        (85, 60, -5, "high risk band"),
    ],
)
def test_osta(age, weight, index, band):
    assert osta(age_years=age, weight_kg=weight) == Comparator(tool="OSTA", value=index, band=band)


@pytest.mark.parametrize(("age", "weight"), [(None, 60), (70, None), (math.nan, 60), (70, math.inf)])
def test_a_missing_input_is_not_computable(age, weight):
    assert comparators(age_years=age, sex=Sex.FEMALE, weight_kg=weight) == ()


def test_without_a_sex_only_osta_is_computable():
    assert [c.tool for c in comparators(age_years=70, sex=Sex.UNKNOWN, weight_kg=60)] == ["OSTA"]
    assert [c.tool for c in comparators(age_years=70, sex=Sex.MALE, weight_kg=60)] == ["OST", "OSTA"]


@pytest.mark.parametrize(
    ("age", "weight", "oestrogen", "points", "band"),
    [
        (45, 70, True, 0, "below cut-off 9"),
        (54, 70, False, 2, "below cut-off 9"),
        (54.9, 69.9, True, 3, "below cut-off 9"),
        (55, 60, False, 10, "at or above cut-off 9"),  # 5 + 3 + 2
        (64, 59.9, True, 14, "at or above cut-off 9"),  # 5 + 9
        (65, 70, True, 9, "at or above cut-off 9"),
        (74, 69.9, True, 12, "at or above cut-off 9"),
        (75, 80, True, 15, "at or above cut-off 9"),
        (75, 59.9, False, 26, "at or above cut-off 9"),  # the largest
    ],
)
def test_orai(age, weight, oestrogen, points, band):
    found = orai(age_years=age, sex=Sex.FEMALE, weight_kg=weight, oestrogen_current=oestrogen)
    assert found == Comparator(tool="ORAI", value=points, band=band)


@pytest.mark.parametrize(
    ("age", "weight", "black", "arthritis", "sites", "oestrogen", "points"),
    [
        (62, 60, False, False, set(), False, 11),  # 5 + 18 + 1 - 13 (132.3 lb)
        (70, 60, True, False, set(), True, 8),  # 21 - 13
        (79, 45.4, False, True, {"hip", "rib"}, False, 29),  # 5 + 4 + 8 + 21 + 1 - 10 (100.09 lb)
        (50, 90.6, True, False, {"ankle"}, True, -4),  # 15 - 19 (199.7 lb); an ankle does not count
        (50, 90.718474, True, False, set(), True, -5),  # 15 - 20: exactly 200 lb, whatever binary fractions say
    ],
)
def test_score(age, weight, black, arthritis, sites, oestrogen, points):
    found = score(
        age_years=age,
        sex=Sex.FEMALE,
        weight_kg=weight,
        black=black,
        rheumatoid_arthritis=arthritis,
        fracture_sites=frozenset(sites),
        oestrogen_ever=oestrogen,
    )
    assert found is not None
    assert found.value == points
    assert found.band == f"{'at or above' if points >= 6 else 'below'} cut-off 6"


@pytest.mark.parametrize(
    ("age", "weight", "oestrogen", "fracture", "index", "band"),
    [
        (60, 60, True, False, 2.0, "low risk band"),
        (60, 65, False, False, 1.0, "moderate risk band"),
        (75, 60, False, False, -3.0, "moderate risk band"),
        (70, 64, False, True, -3.2, "high risk band"),  # -1.2 - 2
    ],
)
def test_osiris(age, weight, oestrogen, fracture, index, band):
    found = osiris(
        age_years=age, sex=Sex.FEMALE, weight_kg=weight, oestrogen_current=oestrogen, low_impact_fracture=fracture
    )
    assert found == Comparator(tool="OSIRIS", value=pytest.approx(index), band=band)


def test_tools_for_women_refuse_men_and_the_unknown():
    for sex in (Sex.MALE, Sex.UNKNOWN, Sex.OTHER):
        assert orai(age_years=70, sex=sex, weight_kg=60, oestrogen_current=False) is None
        assert osiris(age_years=70, sex=sex, weight_kg=60, oestrogen_current=False, low_impact_fracture=False) is None
        assert score(**SCORE_INPUTS | {"sex": sex}) is None


@pytest.mark.parametrize(
    "missing", ["age_years", "weight_kg", "black", "rheumatoid_arthritis", "fracture_sites", "oestrogen_ever"]
)
def test_a_missing_answer_is_never_guessed(missing):
    assert score(**SCORE_INPUTS) is not None
    assert score(**SCORE_INPUTS | {missing: None}) is None


def test_orai_is_not_made_for_women_under_45():
    assert orai(age_years=44.9, sex=Sex.FEMALE, weight_kg=60, oestrogen_current=False) is None


SCORE_INPUTS = {
    "age_years": 70.0,
    "sex": Sex.FEMALE,
    "weight_kg": 60.0,
    "black": False,
    "rheumatoid_arthritis": False,
    "fracture_sites": frozenset(),
    "oestrogen_ever": True,
}
