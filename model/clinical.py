"""Clinical probability of osteoporosis from age, sex and weight: a calibrated OSTA with a sex term (model.md 7).

Serving form: plain numbers, no fitting, no imputation. A missing input means no clinical probability at all, because
age and sex alone are worse than OSTA; the screener then answers from the image only. Fitting: `model.clinical_fit`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from model.domain import Reason, Sex

REQUIRED: tuple[str, ...] = ("age", "sex", "weight")
"""Canonical variables without which there is no clinical probability."""
COLUMNS: tuple[str, ...] = (
    "female",
    "age",
    "weight",
    "rcs(age)",
    "rcs(weight)",
    "female*age",
    "female*weight",
)
"""The columns of the linear predictor, in the order of every per-column tuple below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicalModel:
    """Penalised logistic regression on z-scored columns; ages in years, weights in kg."""

    coefficients: tuple[float, ...]
    """Per z-scored column of `COLUMNS`."""
    intercept: float
    means: tuple[float, ...]
    sds: tuple[float, ...]
    """Population SD per column."""
    age_knots: tuple[float, float, float]
    weight_knots: tuple[float, float, float]
    age_range: tuple[float, float]
    """Smallest and largest age the model was fitted on; values beyond are clamped and flagged."""
    weight_range: tuple[float, float]
    provenance: str
    """Data, citation, label and size of the fit, in one sentence for the model card."""

    def __post_init__(self) -> None:
        """Refuse a set of numbers that cannot be evaluated to a finite probability."""
        lengths = {len(self.coefficients), len(self.means), len(self.sds)}
        if lengths != {len(COLUMNS)}:
            msg = f"a clinical model needs {len(COLUMNS)} coefficients, means and SDs, got {sorted(lengths)}"
            raise ValueError(msg)
        numbers = (*self.coefficients, self.intercept, *self.means, *self.sds)
        if not all(map(math.isfinite, numbers)) or min(self.sds) <= 0:
            msg = "a clinical model needs finite numbers and positive SDs"
            raise ValueError(msg)
        for name in ("age_knots", "weight_knots", "age_range", "weight_range"):
            values = getattr(self, name)
            if not all(a < b for a, b in itertools.pairwise(values)):
                msg = f"{name} must increase, got {values}"
                raise ValueError(msg)

    def knows(self, sex: Sex) -> bool:
        """Whether the model was fitted on people of this sex: the mean of `female` is their share of women."""
        women = self.means[COLUMNS.index("female")]
        return women > 0 if sex is Sex.FEMALE else sex is Sex.MALE and women < 1

    def probability(
        self, *, age_years: float | None, sex: Sex, weight_kg: float | None
    ) -> tuple[float, tuple[Reason, ...]] | None:
        """Probability of a lowest T-score <= -2.5 and the limitations, or None when an input is missing.

        An age or weight outside the training range is clamped to it and reported as OUTSIDE_TRAINING. A sex that the
        model never saw counts as missing.
        """
        if not self.knows(sex) or not _known(age_years) or not _known(weight_kg):
            return None
        assert age_years is not None  # noqa: S101 - `_known` has seen to both
        assert weight_kg is not None  # noqa: S101
        age = _clamp(age_years, self.age_range)
        weight = _clamp(weight_kg, self.weight_range)
        outside = (age, weight) != (age_years, weight_kg)
        columns = design_row(1.0 if sex is Sex.FEMALE else 0.0, age, weight, self.age_knots, self.weight_knots)
        z = self.intercept + sum(
            b * (x - m) / s for b, x, m, s in zip(self.coefficients, columns, self.means, self.sds, strict=True)
        )
        return _sigmoid(z), (Reason.OUTSIDE_TRAINING,) if outside else ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises:
            ValueError: the numbers do not form a model.
            TypeError: a field is missing or unknown.

        """
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list | tuple) else v for name, v in values.items()}
        return cls(**fields)


def design_row(
    female: float, age: float, weight: float, age_knots: tuple[float, ...], weight_knots: tuple[float, ...]
) -> tuple[float, ...]:
    """The columns of `COLUMNS` for one person, not yet z-scored."""
    return (
        female,
        age,
        weight,
        restricted_cubic_spline(age, age_knots),
        restricted_cubic_spline(weight, weight_knots),
        female * age,
        female * weight,
    )


def restricted_cubic_spline(x: float, knots: tuple[float, ...]) -> float:
    """The one non-linear term of a restricted cubic spline with three knots, in units of x."""
    k1, k2, k3 = knots
    tails = _cubed(x - k1) - _cubed(x - k2) * (k3 - k1) / (k3 - k2) + _cubed(x - k3) * (k2 - k1) / (k3 - k2)
    return tails / (k3 - k1) ** 2


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _cubed(x: float) -> float:
    return max(x, 0.0) ** 3


def _clamp(value: float, limits: tuple[float, float]) -> float:
    return min(max(value, limits[0]), limits[1])


def _sigmoid(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z)) if z >= 0 else math.exp(z) / (1.0 + math.exp(z))
