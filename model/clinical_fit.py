"""Fits the shipped clinical model on the BoneQuality table (Kim & Kim, PLOS ONE 2022;17(1):e0260924).

The table itself never enters the product; only coefficients, knots, means and ranges do, with their provenance.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from model.clinical import ClinicalModel, design_row
from model.logistic import Floats, fit_logistic

OSTEOPOROSIS_T = -2.5
"""Label: lowest T-score of lumbar spine, total hip and femoral neck at or below this (WHO)."""
KNOT_PERCENTILES = (10.0, 50.0, 90.0)
PENALTY_C = 1.0
_PROVENANCE = (
    "L2 logistic regression (C=1) on {n} South Koreans aged {low:.0f}-{high:.0f} ({women} women) with DXA, label "
    "lowest T-score <= -2.5 ({share:.1%}); Kim & Kim, PLOS ONE 2022;17(1):e0260924, supporting information"
)


def fit_clinical(table: Path) -> ClinicalModel:
    """Fit on the cleaned CSV table with columns female (0/1), age (years), weight (kg), ls_t, th_t, fn_t.

    Raises:
        OSError: the table cannot be read.
        KeyError, ValueError: it lacks a column or a number.

    """
    female, age, weight, label = _read(table)
    age_knots, weight_knots = _knots(age), _knots(weight)
    columns = np.array(
        [design_row(f, a, w, age_knots, weight_knots) for f, a, w in zip(female, age, weight, strict=True)]
    )
    means, sds = columns.mean(axis=0), columns.std(axis=0)
    line = fit_logistic((columns - means) / sds, label, penalty_c=PENALTY_C)
    return ClinicalModel(
        coefficients=tuple(map(float, line.coefficients)),
        intercept=line.intercept,
        means=tuple(map(float, means)),
        sds=tuple(map(float, sds)),
        age_knots=age_knots,
        weight_knots=weight_knots,
        age_range=(float(age.min()), float(age.max())),
        weight_range=(float(weight.min()), float(weight.max())),
        provenance=_PROVENANCE.format(
            n=len(age), low=age.min(), high=age.max(), women=int(female.sum()), share=label.mean()
        ),
    )


def _read(table: Path) -> tuple[Floats, Floats, Floats, Floats]:
    """Columns female, age, weight and the label; a site without a T-score does not take part in the lowest."""
    with table.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    lowest = np.array([min(float(r[c]) for c in ("ls_t", "th_t", "fn_t") if r[c]) for r in rows])
    female, age, weight = (np.array([float(r[c]) for r in rows]) for c in ("female", "age", "weight"))
    return female, age, weight, (lowest <= OSTEOPOROSIS_T).astype(np.float64)


def _knots(values: Floats) -> tuple[float, float, float]:
    low, middle, high = np.percentile(values, KNOT_PERCENTILES)
    return float(low), float(middle), float(high)
