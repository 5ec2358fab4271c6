"""Made-up patients with scores, and the figures of their evaluation: for tests of reports and cards."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from model.domain import Sex, View
from model.evaluation.appraisal import appraise
from model.evaluation.cohort import Cohort, Patient
from model.fusion import OperatingPoints

POINTS = {"image": OperatingPoints(t_low=0.2, t_high=0.4), "fused": OperatingPoints(t_low=0.2, t_high=0.4)}
BUNDLE = {"name": "Test & bundle", "id": "test-1", "calibration_id": "abc", "engine": "torch 2", "gate": []}
COUNTERFACTUAL = {"monotone": 40, "patients": 40}


@functools.cache
def cohort(count: int = 400, *, simulated: bool = True) -> Cohort:
    """Every fifth has no clinical data; four of `not_assessed` are beside them."""
    rng = np.random.default_rng(11)
    t = rng.normal(-1.6, 1.3, count)
    seen = t + rng.normal(0, 0.7, count)
    z = -2.2 * (seen + 2.3)
    clinical = 1 / (1 + np.exp(0.8 * (t + 2.3) + rng.normal(0, 1, count)))
    patients = tuple(
        Patient(
            t_lowest=float(t[i]),
            age_years=float(rng.uniform(50, 90)),
            sex=Sex.FEMALE if i % 2 else Sex.MALE,
            view=View.PA if i % 3 else View.AP,
            bmi=float(rng.normal(24, 4)),
            p_image=float(1 / (1 + np.exp(-z[i]))),
            p_clinical=math.nan if i % 5 == 0 else float(clinical[i]),
            p_fused=math.nan if i % 5 == 0 else float(1 / (1 + np.exp(-z[i]))),
            ceiling=float(-t[i]) if simulated else math.nan,
            p_wide=float(1 / (1 + np.exp(-z[i]))) if simulated else math.nan,
        )
        for i in range(count)
    )
    return Cohort(
        population="made-up patients", simulated=simulated, patients=patients, not_assessed={"INVERTED": 3, "AGE": 1}
    )


@functools.cache
def appraised(*, simulated: bool = True) -> dict[str, Any]:
    """Of the cohort; not to be changed."""
    return appraise(cohort(simulated=simulated), POINTS)


def figures(*, simulated: bool = True) -> dict[str, Any]:
    """As `osteon evaluate` has them in memory, with one bar missed and one not measured."""
    found = appraised(simulated=simulated) | {"bundle": BUNDLE, "counterfactual": COUNTERFACTUAL}
    bar = {"name": "x", "value": 0.5, "demand": "at least 0.6", "met": False, "low": 0.4, "high": 0.6, "remark": ""}
    bar |= {"outcome": "MISSED"}
    unknown = bar | {"name": "y", "value": math.nan, "low": math.nan, "high": math.nan}
    return found | {"bars": [bar, unknown]}
