"""What an evaluation works on: patients with a known truth and what the served model said about each.

Where they come from, virtual patients or a site's own, is written with them and stands in every report.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from model.domain import Sex, View

OSTEOPOROSIS_T = -2.5
"""Lowest T-score at or below this is osteoporosis (WHO)."""
NORMAL_T = -1.0
"""Lowest T-score at or above this is what the WHO calls the reference range."""

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """One assessed patient. Probabilities are those that would have been reported."""

    t_lowest: float
    """Lowest T-score of lumbar spine, total hip and femoral neck."""
    age_years: float
    sex: Sex
    view: View
    bmi: float
    """kg/m2; NaN when not known."""
    p_image: float
    p_clinical: float
    """NaN when an input was missing."""
    p_fused: float
    """NaN when there was no clinical probability."""
    ceiling: float = math.nan
    """Score of an observer who reads the simulated bone without error; NaN for real patients."""
    p_wide: float = math.nan
    """Of the 12-column clinical model of virtual patients; NaN for real patients."""
    number: int = 0
    """Which row of its source it is, for finding it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Assessed patients, and how many were not assessed and why."""

    population: str
    """Who they are, in the words that stand beside every figure."""
    simulated: bool
    patients: tuple[Patient, ...] = field(repr=False)
    not_assessed: dict[str, int]
    """Number by coded reason."""

    def column(self, name: str) -> Floats:
        """(n,) values of a numeric field."""
        return np.array([getattr(p, name) for p in self.patients], dtype=np.float64)

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """1 = osteoporosis."""
        return (self.column("t_lowest") <= OSTEOPOROSIS_T).astype(np.int64)

    def groups(self) -> dict[str, Flags]:
        """The subgroups of model.md section 13 that these data can tell apart, as (n,) masks."""
        age, bmi = self.column("age_years"), self.column("bmi")
        sex = np.array([p.sex.value for p in self.patients])
        view = np.array([p.view.value for p in self.patients])
        found = {"women": sex == Sex.FEMALE.value, "men": sex == Sex.MALE.value}
        found |= {f"age {low}-{low + 9}": (age >= low) & (age < low + 10) for low in (50, 60, 70)}
        found["age 80 and more"] = age >= 80  # noqa: PLR2004 - the band just named
        found |= {"BMI below 18.5": bmi < 18.5, "BMI 30 and more": bmi >= 30}  # noqa: PLR2004 - WHO's bounds
        found |= {"PA": view == View.PA.value, "AP": view == View.AP.value}
        found["clinical data present"] = np.isfinite(self.column("p_clinical"))
        return {name: mask for name, mask in found.items() if mask.any()}
