"""Whether a patient's body sizes fit each other: what a hard range cannot see (clinical-data.md section 8).

All weights in pounds pass for kilograms by range, and two thirds of kilograms for pounds (measured). So every weight is
held against the patient's others within 30 days, every height against the others, and both against each other by the
body mass index. A value that at least half of the others do not bear out is not used. Where two contradict each other
and there is no third, neither is used: which one is wrong cannot be known, and an image-only result is the safe side.

One rule for the whole series, so that the order in which the values arrived does not matter.
"""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from node.facts import Unusable

WEIGHT: Final = "weight"
HEIGHT: Final = "height"
VERDICTS: Final = frozenset({Unusable.WEIGHT_JUMP, Unusable.HEIGHT_JUMP, Unusable.BMI})
"""What other values of the patient can say about one; taken back when later ones bear it out."""
WEIGHT_DAYS: Final = 30.0
WEIGHT_RATIO: Final = 1.3
"""Of the heavier to the lighter."""
HEIGHT_DAYS: Final = 1826.0
"""An adult's height changes by millimetres a year; over longer times vertebral fractures can take more than 6 cm."""
HEIGHT_CM: Final = 6.0
BMI_LIMITS: Final = (10.0, 80.0)
"""kg/m2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One body size of one patient that is sound by itself: kg or cm, at an aware time."""

    id: int
    at: dt.datetime
    value: float


def judge(weights: Iterable[Measured], heights: Iterable[Measured]) -> dict[int, Unusable]:
    """Which of a patient's weights (kg) and heights (cm) are not to be used, by id; the others are not named."""
    by_time = sorted(weights, key=lambda m: m.at), sorted(heights, key=lambda m: m.at)
    found = dict.fromkeys(_outvoted(by_time[0], WEIGHT_DAYS, _same_weights), Unusable.WEIGHT_JUMP)
    found |= dict.fromkeys(_outvoted(by_time[1], HEIGHT_DAYS, _same_heights), Unusable.HEIGHT_JUMP)
    sound_weights, sound_heights = ([m for m in series if m.id not in found] for series in by_time)
    kilograms, centimetres = (sorted(m.value for m in series) for series in (sound_weights, sound_heights))
    for weight in sound_weights:
        if 2 * _heights_for(centimetres, weight.value) < len(centimetres):
            found[weight.id] = Unusable.BMI
    for height in sound_heights:
        if 2 * _weights_for(kilograms, height.value) < len(kilograms):
            found[height.id] = Unusable.BMI
    return found


def _outvoted(series: Sequence[Measured], days: float, alike: Callable[[list[float], float], int]) -> list[int]:
    """Values that less than half of the others within `days` bear out; `series` is sorted by time.

    The window moves along with its values kept sorted. One message may bring 20,000 values of one patient: comparing
    each with each would hold up the feed for minutes.
    """
    window = dt.timedelta(days=days)
    near: list[float] = []
    first = end = 0
    outvoted = []
    for m in series:
        while end < len(series) and series[end].at <= m.at + window:
            bisect.insort(near, series[end].value)
            end += 1
        while series[first].at < m.at - window:
            del near[bisect.bisect_left(near, series[first].value)]
            first += 1
        if 2 * (alike(near, m.value) - 1) < len(near) - 1:  # without itself
            outvoted.append(m.id)
    return outvoted


def _same_weights(near: list[float], own: float) -> int:
    """How many of these (kg, sorted, positive) are within the ratio of `own`."""
    heavier = bisect.bisect_right(near, WEIGHT_RATIO * own)
    return heavier - bisect.bisect_left(near, own, key=lambda other: WEIGHT_RATIO * other)


def _same_heights(near: list[float], own: float) -> int:
    """How many of these (cm, sorted) are within 6 cm of `own`."""
    taller = bisect.bisect_right(near, HEIGHT_CM, key=lambda other: other - own)
    return taller - bisect.bisect_left(near, -HEIGHT_CM, key=lambda other: other - own)


def _weights_for(kilograms: list[float], height: float) -> int:
    """How many of these (sorted) make a body of this height (cm)."""
    low, high = BMI_LIMITS
    heavier = bisect.bisect_right(kilograms, high, key=lambda weight: _body_mass_index(weight, height))
    return heavier - bisect.bisect_left(kilograms, low, key=lambda weight: _body_mass_index(weight, height))


def _heights_for(centimetres: list[float], weight: float) -> int:
    """How many of these (sorted) make a body of this weight (kg). The index falls with the height."""
    low, high = BMI_LIMITS
    taller = bisect.bisect_right(centimetres, -low, key=lambda height: -_body_mass_index(weight, height))
    return taller - bisect.bisect_left(centimetres, -high, key=lambda height: -_body_mass_index(weight, height))


def _body_mass_index(weight: float, height: float) -> float:
    metres = height / 100.0
    return weight / (metres * metres)
