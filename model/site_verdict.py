"""May a bundle be used at a site? The site's own films with DXA decide, by rules written before they are looked at.

Thresholds are frozen: those that the rows were scored with. A group is accepted on at least 100 positives and 150
negatives; fewer can only fail, where that is no chance. The floors, the bounds of a calibration that holds and the rule
by sex are proposals of ours (model.md section 13), not a standard. The order of the rows decides nothing. Not allowed
here: choosing a threshold, or a half, after seeing the result.
"""

from __future__ import annotations

import enum
import hashlib
import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from model.domain import Sex
from model.evaluation.calibration import (
    calibration_in_the_large,
    calibration_slope,
    recalibrated,
    recalibration,
)
from model.evaluation.literature import ZHAO_2026_XRAY
from model.evaluation.metrics import AucEstimate, Confusion, Interval, auc
from model.fusion_fit import operating_points
from model.logistic import Line

LEAST_POSITIVES = 100
LEAST_NEGATIVES = 150
LEAST_AUC = 0.80
"""Lower confidence bound from which discrimination holds, so that a local calibration can help; a proposal."""
SLOPE_HOLDS = (0.8, 1.25)
LARGE_HOLDS = 0.3
"""Largest calibration in the large, in logits, that no local calibration is asked for."""
_CHANCE = 0.025
"""Of a rate so low where the floor is true, below which a few patients suffice to refuse."""

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Verdict(enum.StrEnum):
    """What a site may do with the bundle."""

    ACCEPTED = "ACCEPTED"
    LOCAL_CALIBRATION = "ACCEPTED WITH LOCAL CALIBRATION"
    NOT_ACCEPTED = "NOT ACCEPTED"
    INSUFFICIENT_DATA = "INSUFFICIENT DATA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """What the site demands; lower bounds of the Wilson intervals must lie above. Fixed before the data are seen."""

    sensitivity: float = 0.80
    specificity: float = 0.70


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRows:
    """Scored patients with DXA, one row each, in the same order."""

    probability: Floats = field(repr=False)
    """The decisive one, as it was reported."""
    flagged: Flags = field(repr=False)
    """Whether it reached the frozen threshold of its mode."""
    truth: npt.NDArray[np.int64] = field(repr=False)
    """1 = lowest T-score <= -2.5."""
    sex: tuple[Sex, ...] = field(repr=False)

    def only(self, chosen: Flags | npt.NDArray[np.intp]) -> SiteRows:
        """Some of the rows, or all in another order."""
        return SiteRows(
            probability=self.probability[chosen],
            flagged=self.flagged[chosen],
            truth=self.truth[chosen],
            sex=tuple(self.sex[i] for i in np.arange(len(self.sex))[chosen]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCalibration:
    """Fitted on one half, verified on the other: p' = sigmoid(intercept + slope * logit p), with its own thresholds."""

    intercept: float
    slope: float
    t_low: float
    t_high: float
    verified: Confusion
    """On the other half, at t_high."""
    verified_slope: Interval
    verified_large: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFinding:
    """One group's figures and what follows from them."""

    group: str
    verdict: Verdict
    because: tuple[str, ...]
    n: int
    positives: int
    auc: AucEstimate | None = None
    table: Confusion | None = None
    """At the frozen threshold; of a group of too few whom a local calibration is for, as it verifies."""
    slope: Interval | None = None
    large: Interval | None = None
    local: LocalCalibration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFinding:
    """The verdict, and what it rests on: everybody, then women and men."""

    verdict: Verdict
    groups: tuple[GroupFinding, ...]


def judge_site(rows: SiteRows, floors: Floors) -> SiteFinding:
    """Judge all patients, then each sex under what all of them lead to: there is one calibration, not one by sex.

    A sex that is not accepted is not outvoted by the other.
    """
    rows = _in_fixed_order(rows)
    everybody = _judge_all(rows, floors)
    groups = (everybody, *(_judge_sex(name, sex, rows, floors, everybody) for name, sex in _SEXES))
    fails = any(group.verdict is Verdict.NOT_ACCEPTED for group in groups)
    return SiteFinding(verdict=Verdict.NOT_ACCEPTED if fails else everybody.verdict, groups=groups)


_SEXES = (("women", Sex.FEMALE), ("men", Sex.MALE))


def _judge_all(rows: SiteRows, floors: Floors) -> GroupFinding:
    if why := _too_few(rows):
        return _of_too_few("all", rows, why, rows, floors)
    own = _measured("all", rows)
    faults = _faults(own, floors)
    if not faults:
        return replace(own, because=("floors reached, calibration holds",))
    if own.auc is None or own.auc.low < LEAST_AUC:
        low = math.nan if own.auc is None else own.auc.low
        digits = _digits(low, LEAST_AUC)
        weak = f"AUC has a lower bound of {low:.{digits}f}, below {LEAST_AUC}: a calibration cannot help"
        return replace(own, verdict=Verdict.NOT_ACCEPTED, because=(*faults, weak))
    local = _calibrated_locally(rows)
    left = (
        _faults(_measured("all", _verifying(local, rows)), floors)
        if local.slope > 0
        else ("the score falls with the disease",)
    )
    verdict = Verdict.NOT_ACCEPTED if left else Verdict.LOCAL_CALIBRATION
    return replace(own, verdict=verdict, because=(*faults, *map(_after, left)), local=local)


def _judge_sex(name: str, sex: Sex, rows: SiteRows, floors: Floors, everybody: GroupFinding) -> GroupFinding:
    """By the frozen thresholds; by the local calibration on its verifying half where all patients need one."""
    own = rows.only(np.array([s is sex for s in rows.sex], np.bool_))
    local = everybody.local if everybody.verdict is Verdict.LOCAL_CALIBRATION else None
    if why := _too_few(own):
        return _of_too_few(name, own, why, own if local is None else _verifying(local, rows, sex), floors)
    found = _measured(name, own)
    faults = _faults(found, floors)
    if local is not None:
        left = _faults(_measured(name, _verifying(local, rows, sex)), floors)
        verdict = Verdict.NOT_ACCEPTED if left else Verdict.LOCAL_CALIBRATION
        return replace(found, verdict=verdict, because=(*faults, *map(_after, left)) or ("as all patients",))
    if faults:
        return replace(found, verdict=Verdict.NOT_ACCEPTED, because=faults)
    return replace(found, because=("floors reached, calibration holds",))


def _verifying(local: LocalCalibration, rows: SiteRows, sex: Sex | None = None) -> SiteRows:
    """The verifying half as a local calibration would report it; of who is judged, `_half` leaves enough there."""
    other = rows.only(~_half(rows) & np.array([sex is None or s is sex for s in rows.sex]))
    p = recalibrated(other.probability, Line(coefficients=np.array([local.slope]), intercept=local.intercept))
    return replace(other, probability=p, flagged=p >= local.t_high)


def _measured(name: str, rows: SiteRows) -> GroupFinding:
    p = rows.probability
    return GroupFinding(
        group=name,
        verdict=Verdict.ACCEPTED,
        because=(),
        n=rows.truth.size,
        positives=int(rows.truth.sum()),
        auc=auc(p, rows.truth),
        table=_table(rows.flagged, rows.truth),
        slope=calibration_slope(p, rows.truth),
        large=calibration_in_the_large(p, rows.truth),
    )


def _faults(own: GroupFinding, floors: Floors) -> tuple[str, ...]:
    if own.table is None or own.slope is None or own.large is None:
        msg = f"{own.group} was not measured: that is no fault, and no merit"
        raise ValueError(msg)
    return (*_below_floors(own.table, floors), *_outside(own.table), *_miscalibrated(own.slope, own.large))


def _too_few(rows: SiteRows) -> str:
    positives, negatives = int(rows.truth.sum()), int((rows.truth == 0).sum())
    if positives >= LEAST_POSITIVES and negatives >= LEAST_NEGATIVES:
        return ""
    needed = f"{LEAST_POSITIVES} and {LEAST_NEGATIVES} are needed"
    return f"{positives} with and {negatives} without osteoporosis by DXA; {needed}"


def _of_too_few(name: str, rows: SiteRows, why: str, decided: SiteRows, floors: Floors) -> GroupFinding:
    """Too few to be accepted; what fails with certainty is not unknown for all that. `decided` makes the table."""
    table = _table(decided.flagged, decided.truth)
    below = _surely_below(table, floors)
    return GroupFinding(
        group=name,
        verdict=Verdict.NOT_ACCEPTED if below else Verdict.INSUFFICIENT_DATA,
        because=(why, *below),
        n=rows.truth.size,
        positives=int(rows.truth.sum()),
        table=table,
    )


def _after(why: str) -> str:
    return f"after local calibration, on the other half: {why}"


def _calibrated_locally(rows: SiteRows) -> LocalCalibration:
    half = _half(rows)
    fitted, other = rows.only(half), rows.only(~half)
    line = recalibration(fitted.probability, fitted.truth)
    points = operating_points(recalibrated(fitted.probability, line), fitted.truth)
    p = recalibrated(other.probability, line)
    return LocalCalibration(
        intercept=line.intercept,
        slope=float(line.coefficients[0]),
        t_low=points.t_low,
        t_high=points.t_high,
        verified=_table(p >= points.t_high, other.truth),
        verified_slope=calibration_slope(p, other.truth),
        verified_large=calibration_in_the_large(p, other.truth),
    )


def _in_fixed_order(rows: SiteRows) -> SiteRows:
    """By a digest of what each row says, so that neither a half nor a rounding hangs on how a table was sorted."""
    said = zip(rows.probability.tolist(), rows.flagged.tolist(), rows.truth.tolist(), rows.sex, strict=True)
    digests = [hashlib.sha256(f"{p!r} {flagged} {truth} {sex}".encode()).digest() for p, flagged, truth, sex in said]
    return rows.only(np.array(sorted(range(len(digests)), key=digests.__getitem__), np.intp))


def _half(rows: SiteRows) -> Flags:
    """A half, to fit on: the first of the ill and of the others of each sex alike, the odd one left to verify.

    Rows in `_in_fixed_order` come by their digests: first ones are as good as drawn, and always the same patients.
    So the other half holds at least half of what a group was judged on: no chance of the draw makes a sex too few.
    """
    sex = np.array(rows.sex)
    chosen = np.zeros(rows.truth.size, np.bool_)
    for label in (0, 1):
        for own in Sex:
            members = np.flatnonzero((rows.truth == label) & (sex == own))
            chosen[members[: members.size // 2]] = True
    return chosen


def _table(flagged: Flags, truth: npt.NDArray[np.int64]) -> Confusion:
    ill = truth == 1
    return Confusion(
        tp=int((flagged & ill).sum()),
        fp=int((flagged & ~ill).sum()),
        fn=int((~flagged & ill).sum()),
        tn=int((~flagged & ~ill).sum()),
    )


def _below_floors(table: Confusion, floors: Floors) -> tuple[str, ...]:
    pairs = (("SEN", table.sensitivity, floors.sensitivity), ("SPC", table.specificity, floors.specificity))
    return tuple(
        f"{name} {own.value:.3f}, lower bound {own.low:.{_digits(own.low, floor)}f} not above the floor {floor:g}"
        for name, own, floor in pairs
        if not own.low > floor
    )


def _surely_below(table: Confusion, floors: Floors) -> tuple[str, ...]:
    """Rates whose upper bound lies below the floor, and not by chance: Wilson's alone would refuse for one of one."""
    rates = (
        ("SEN", table.tp, table.tp + table.fn, table.sensitivity, floors.sensitivity),
        ("SPC", table.tn, table.tn + table.fp, table.specificity, floors.specificity),
    )
    return tuple(
        f"{name} {own.value:.3f}, upper bound {own.high:.{_digits(own.high, floor)}f} below the floor {floor:g}"
        for name, right, of, own, floor in rates
        if own.high < floor and binom.cdf(right, of, floor) < _CHANCE
    )


def _digits(value: float, *bars: float, least: int = 3) -> int:
    """Decimals that tell a value from the bars it misses: no text says that .800 is not above .8."""
    return next((d for d in range(least, 13) if round(value, d) not in bars), least)


def _outside(table: Confusion) -> tuple[str, ...]:
    """Worse than the literature lets expect, or so much better that a leak is likelier than merit."""
    sen, spc = table.sensitivity.value, table.specificity.value
    if ZHAO_2026_XRAY.within_prediction_region(sen, spc):
        return ()
    return (f"SEN {sen:.3f} with SPC {spc:.3f} lies outside what {ZHAO_2026_XRAY.studies} studies predict for a site",)


def _miscalibrated(slope: Interval, large: Interval) -> tuple[str, ...]:
    """Beyond the bounds, and not by chance."""
    found = []
    if not SLOPE_HOLDS[0] <= slope.value <= SLOPE_HOLDS[1] and not slope.low <= 1.0 <= slope.high:
        digits = _digits(slope.value, *SLOPE_HOLDS, least=2)
        found.append(f"calibration slope {slope.value:.{digits}f} ({slope.low:.2f} to {slope.high:.2f})")
    if abs(large.value) > LARGE_HOLDS and not large.low <= 0.0 <= large.high:
        digits = _digits(large.value, LARGE_HOLDS, -LARGE_HOLDS, least=2)
        found.append(
            f"calibration in the large {large.value:+.{digits}f} ({large.low:+.2f} to {large.high:+.2f}) logits"
        )
    return tuple(found)
