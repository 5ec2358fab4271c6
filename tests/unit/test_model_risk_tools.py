"""OST and OSTA against hand-worked cases."""

from __future__ import annotations

import math

import pytest

from model.domain import Comparator, Sex
from model.risk_tools import comparators, ost, osta


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
