"""What the literature found, as a ruler for a site's own figures; constants with their source, nothing estimated here.

Zhao et al. 2026 pooled 60 studies with the bivariate model of `meta_analysis`. Their per-study tables are not published
in a form that may be shipped, so their between-study spread is derived from the published intervals and marked so. A
pooled point is no promise for a site: the prediction interval is what the next site may look like.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from scipy import stats
from scipy.special import expit

from model.evaluation.metrics import Z95, Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPool:
    """Pooled sensitivity and specificity of one imaging modality with 95 % confidence intervals, as published."""

    source: str
    modality: str
    studies: int
    sensitivity: Interval
    specificity: Interval
    tau: tuple[float, float]
    """Between-study SDs of logit SEN and SPC, derived by us from the widths of the intervals; not published."""

    def predicted(self, *, normal: bool = False) -> tuple[Interval, Interval]:
        """Derived 95 % prediction intervals for a new site: t with k - 2 degrees of freedom, or the Normal."""
        width = Z95 if normal else float(stats.t.ppf(0.975, self.studies - 2))
        return (
            _predicted(self.sensitivity, self.tau[0], self.studies, width),
            _predicted(self.specificity, self.tau[1], self.studies, width),
        )


ZHAO_2026_XRAY = PublishedPool(
    source="Zhao et al., J Med Internet Res 2026;28:e75965",
    modality="X-ray",
    studies=22,
    sensitivity=Interval(value=0.92, low=0.88, high=0.94),
    specificity=Interval(value=0.83, low=0.76, high=0.88),
    tau=(0.9, 1.0),
)
"""The ruler for this product. The abstract does not say which threshold or spectrum each study used."""


class Place(enum.StrEnum):
    """Where a site's proportion lies on the ruler."""

    BELOW = "below the prediction interval"
    LOWER = "within the prediction interval, below the pooled confidence interval"
    WITHIN = "within the pooled confidence interval"
    UPPER = "within the prediction interval, above the pooled confidence interval"
    ABOVE = "above the prediction interval"


def place(value: float, pooled: Interval, predicted: Interval) -> Place:
    """Place a proportion. A high place is no merit by itself: spectrum and threshold differ between studies."""
    if value < predicted.low:
        return Place.BELOW
    if value < pooled.low:
        return Place.LOWER
    if value <= pooled.high:
        return Place.WITHIN
    return Place.UPPER if value <= predicted.high else Place.ABOVE


def _predicted(pooled: Interval, tau: float, studies: int, width: float) -> Interval:
    """The standard error of the mean is taken as tau / sqrt(k): the published intervals are rounded to two digits."""
    centre = math.log(pooled.value / (1 - pooled.value))
    spread = width * math.hypot(tau, tau / math.sqrt(studies))
    return Interval(value=pooled.value, low=float(expit(centre - spread)), high=float(expit(centre + spread)))
