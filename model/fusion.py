"""Calibration, probability fusion and the decision (model.md 8 and 9). Serving form: numbers in, numbers out.

The default is the logit stack p = sigmoid(a * l_img + b * l_clin + c) with a, b >= 0 on calibrated logits; a bundle
may name the linear pool p = w * p_img + (1 - w) * p_clin instead. The image-only mode has its own coefficients and
operating points: the fused ones without their clinical part would shift every probability. No fitting here.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from model.domain import Category

_LOGIT_LIMIT = 30.0
"""Beyond this a float64 probability is 0 or 1 to 13 digits; clamping keeps every later logit finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoints:
    """Two thresholds on the probability scale of one mode."""

    t_low: float
    """Largest threshold that kept the target sensitivity on the calibration data."""
    t_high: float
    """Smallest threshold that reached the target specificity on the calibration data."""

    def __post_init__(self) -> None:
        """Refuse anything but two probabilities. t_low >= t_high is legal: the zone between is then empty."""
        if not all(math.isfinite(t) and 0.0 <= t <= 1.0 for t in (self.t_low, self.t_high)):
            msg = f"thresholds must be probabilities, got t_low={self.t_low}, t_high={self.t_high}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """Calibrations, stack coefficients and operating points of a bundle."""

    temperature: float
    """The raw image logit is divided by it."""
    platt_slope: float
    platt_intercept: float
    image_weight: float
    """a of the stack."""
    clinical_weight: float
    """b of the stack."""
    intercept: float
    """c of the stack."""
    image_only_weight: float
    image_only_intercept: float
    fused_points: OperatingPoints
    image_points: OperatingPoints
    linear_weight: float | None = None
    """w of the linear pool; None: the logit stack fuses."""

    def __post_init__(self) -> None:
        """Refuse a fusion that is not finite or not monotone in both inputs."""
        values = {n: v for n, v in asdict(self).items() if isinstance(v, float)}
        if self.linear_weight is not None and not 0.0 <= self.linear_weight <= 1.0:
            msg = f"the weight of a linear pool fusion lies between 0 and 1, got {self.linear_weight}"
            raise ValueError(msg)
        if not all(map(math.isfinite, values.values())) or self.temperature <= 0:
            msg = f"fusion needs finite numbers and a positive temperature, got {values}"
            raise ValueError(msg)
        if min(self.image_weight, self.clinical_weight, self.image_only_weight, self.platt_slope) < 0:
            msg = f"fusion must not decrease in an input, got {values}"
            raise ValueError(msg)

    def image_only(self, image_logit: float) -> float:
        """Calibrated probability from the raw logit of the image network alone."""
        return sigmoid(self.image_only_weight * self._image(image_logit) + self.image_only_intercept)

    def clinical_only(self, p_clinical: float) -> float:
        """Calibrated probability from the clinical model's own probability."""
        return sigmoid(self._clinical(p_clinical))

    def fused(self, image_logit: float, p_clinical: float) -> float:
        """Probability of both, from the raw image logit and the clinical model's own probability."""
        if self.linear_weight is not None:
            own, other = self.image_only(image_logit), self.clinical_only(p_clinical)
            return other + self.linear_weight * (own - other)
        z = self.image_weight * self._image(image_logit) + self.clinical_weight * self._clinical(p_clinical)
        return sigmoid(z + self.intercept)

    @property
    def calibration_id(self) -> str:
        """Names these numbers and no others: the first 16 hex digits of the SHA-256 of `to_dict`."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def describe(self) -> str:
        """Rule and weights in words, for `ModelFacts.fusion`."""
        both = f"logit stack a={self.image_weight:.3f} b={self.clinical_weight:.3f} c={self.intercept:.3f}"
        if self.linear_weight is not None:
            both = f"linear pool w={self.linear_weight:.2f}"
        return f"{both}; image only a={self.image_only_weight:.3f} c={self.image_only_intercept:.3f}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able form. A stack is written without the pool's weight, so that its id is what it always was."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises:
            ValueError: the numbers do not form a fusion.
            TypeError: a field is missing or unknown.
            KeyError: an operating point is missing.

        """
        points = {name: OperatingPoints(**values[name]) for name in ("fused_points", "image_points")}
        return cls(**{**values, **points})

    def _image(self, image_logit: float) -> float:
        return _bounded(image_logit / self.temperature)

    def _clinical(self, p_clinical: float) -> float:
        return self.platt_slope * logit(p_clinical) + self.platt_intercept


def shift(p: float, *, fitted: float, site: float) -> float:
    """`p` at another prevalence: logit p + logit `site` - logit `fitted` (all strictly between 0 and 1 but `p`).

    Label shift is assumed: the ill and the others look at the site as they did in the calibration data, only their
    shares differ. Strictly increasing, 0 and 1 stay; a probability and its thresholds are shifted together or not at
    all.
    """
    if p <= 0.0 or p >= 1.0:
        return p
    return sigmoid(math.log(p) - math.log1p(-p) + logit(site) - logit(fitted))


def decide(probability: float, points: OperatingPoints) -> Category:
    """Where the probability lies. At a threshold counts as reached; t_high alone decides when the zone is empty."""
    if probability >= points.t_high:
        return Category.ABOVE
    return Category.BETWEEN if probability >= points.t_low else Category.BELOW


def sigmoid(z: float) -> float:
    """1 / (1 + exp(-z)) without overflow."""
    z = _bounded(z)
    return 1.0 / (1.0 + math.exp(-z)) if z >= 0 else math.exp(z) / (1.0 + math.exp(z))


def logit(p: float) -> float:
    """log(p / (1 - p)), finite for p = 0 and p = 1 too."""
    if p <= 0.0 or p >= 1.0:
        return math.copysign(_LOGIT_LIMIT, p - 0.5)
    return _bounded(math.log(p) - math.log1p(-p))


def _bounded(z: float) -> float:
    return min(max(z, -_LOGIT_LIMIT), _LOGIT_LIMIT)
