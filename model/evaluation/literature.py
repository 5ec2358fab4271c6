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

from model.evaluation.meta_analysis import region_bound
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

    def within_prediction_region(self, sensitivity: float, specificity: float) -> bool:
        """Whether a pair lies in the 95 % prediction ellipse of a new site, as `meta_analysis.Pooled` has it.

        Derived: the correlation between the studies is not published and taken as 0, which makes the ellipse larger
        where it is negative. A proportion of 0 or 1 lies outside.
        """
        if not (0 < sensitivity < 1 and 0 < specificity < 1):
            return False
        away = 0.0
        for own, pooled, tau in (
            (sensitivity, self.sensitivity, self.tau[0]),
            (specificity, self.specificity, self.tau[1]),
        ):
            spread = tau * math.sqrt(1 + 1 / self.studies)
            away += ((_logit(own) - _logit(pooled.value)) / spread) ** 2
        return away <= region_bound(self.studies)


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
    centre = _logit(pooled.value)
    spread = width * math.hypot(tau, tau / math.sqrt(studies))
    return Interval(value=pooled.value, low=float(expit(centre - spread)), high=float(expit(centre + spread)))


def _logit(p: float) -> float:
    return math.log(p / (1 - p))
