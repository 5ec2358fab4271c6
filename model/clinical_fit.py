"""Fits the shipped clinical model on the BoneQuality table (Kim & Kim, PLOS ONE 2022;17(1):e0260924).

The table itself never enters the product; only coefficients, knots, means and ranges do, with their provenance.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

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


@dataclass(frozen=True, slots=True, kw_only=True)
class DxaTable:
    """The columns of the table that the shipped model and its comparators use, one row per person."""

    female: Floats
    """1 or 0."""
    age_years: Floats
    weight_kg: Floats
    t_lowest: Floats
    """Lowest T-score of the sites that were measured."""

    @property
    def label(self) -> Floats:
        """1 = lowest T-score at or below -2.5."""
        return (self.t_lowest <= OSTEOPOROSIS_T).astype(np.float64)

    def rows(self, chosen: npt.NDArray[np.int64]) -> DxaTable:
        """Some of the people."""
        return DxaTable(
            female=self.female[chosen],
            age_years=self.age_years[chosen],
            weight_kg=self.weight_kg[chosen],
            t_lowest=self.t_lowest[chosen],
        )


def read_table(path: Path) -> DxaTable:
    """Read the cleaned CSV table with columns female (0/1), age (years), weight (kg), ls_t, th_t, fn_t.

    Raises:
        OSError: the table cannot be read.
        KeyError, ValueError: it lacks a column or a number.

    """
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    lowest = np.array([min(float(r[c]) for c in ("ls_t", "th_t", "fn_t") if r[c]) for r in rows])
    female, age, weight = (np.array([float(r[c]) for r in rows]) for c in ("female", "age", "weight"))
    return DxaTable(female=female, age_years=age, weight_kg=weight, t_lowest=lowest)


def fit_clinical(path: Path) -> ClinicalModel:
    """Fit on the table at `path`; raises as `read_table`."""
    return fit_table(read_table(path))


def fit_table(table: DxaTable, provenance: str = "") -> ClinicalModel:
    """Fit age, sex and weight with splines and sex interactions by L2 logistic regression.

    `provenance` names the people where they are not those of the published table.

    Raises:
        ValueError: one class only, or ages or weights that hardly differ.

    """
    age, weight, label = table.age_years, table.weight_kg, table.label
    age_knots, weight_knots = _knots("ages", age), _knots("weights", weight)
    columns = np.array(
        [design_row(f, a, w, age_knots, weight_knots) for f, a, w in zip(table.female, age, weight, strict=True)]
    )
    means, sds = columns.mean(axis=0), columns.std(axis=0)
    sds = np.where(sds > 0, sds, 1.0)  # people of one sex have columns that do not vary
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
        provenance=provenance
        or _PROVENANCE.format(
            n=len(age), low=age.min(), high=age.max(), women=int(table.female.sum()), share=label.mean()
        ),
    )


def _knots(name: str, values: Floats) -> tuple[float, float, float]:
    low, middle, high = np.percentile(values, KNOT_PERCENTILES)
    if not low < middle < high:
        msg = f"too many of the {name} are the same"
        raise ValueError(msg)
    return float(low), float(middle), float(high)
