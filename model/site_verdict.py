"""May a bundle be used at a site? The site's own films with DXA decide, by rules written before they are looked at.

Thresholds are frozen: those that the rows were scored with. A group is judged on at least 100 positives and 150
negatives. The floors, the bounds of a calibration that holds and the rule by sex are proposals of ours (model.md
section 13), not a standard. Not allowed here: choosing a threshold, or a half, after seeing the result.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

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
_SEED = 20_260

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

    def only(self, chosen: Flags) -> SiteRows:
        """Some of the rows."""
        return SiteRows(
            probability=self.probability[chosen],
            flagged=self.flagged[chosen],
            truth=self.truth[chosen],
            sex=tuple(s for s, own in zip(self.sex, chosen, strict=True) if own),
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

    A sex with enough patients that is not accepted is not outvoted by the other.
    """
    everybody = _judge_all(rows, floors)
    groups = (everybody, *(_judge_sex(name, sex, rows, floors, everybody) for name, sex in _SEXES))
    verdict = everybody.verdict
    if verdict is not Verdict.INSUFFICIENT_DATA and any(g.verdict is Verdict.NOT_ACCEPTED for g in groups):
        verdict = Verdict.NOT_ACCEPTED
    return SiteFinding(verdict=verdict, groups=groups)


_SEXES = (("women", Sex.FEMALE), ("men", Sex.MALE))


def _judge_all(rows: SiteRows, floors: Floors) -> GroupFinding:
    if why := _too_few(rows):
        return _insufficient("all", rows, why)
    own = _measured("all", rows, rows.probability)
    faults = _faults(own, floors)
    if not faults:
        return replace(own, because=("floors reached, calibration holds",))
    if own.auc is None or own.auc.low < LEAST_AUC:
        low = math.nan if own.auc is None else own.auc.low
        weak = f"AUC has a lower bound of {low:.3f}, below {LEAST_AUC}: a calibration cannot help"
        return replace(own, verdict=Verdict.NOT_ACCEPTED, because=(*faults, weak))
    local = _calibrated_locally(rows)
    left = _faults(_under(local, "all", rows), floors) if local.slope > 0 else ("the score falls with the disease",)
    verdict = Verdict.NOT_ACCEPTED if left else Verdict.LOCAL_CALIBRATION
    return replace(own, verdict=verdict, because=(*faults, *map(_after, left)), local=local)


def _judge_sex(name: str, sex: Sex, rows: SiteRows, floors: Floors, everybody: GroupFinding) -> GroupFinding:
    """By the frozen thresholds; by the local calibration on its verifying half where all patients need one."""
    own = rows.only(np.array([s is sex for s in rows.sex], np.bool_))
    if why := _too_few(own):
        return _insufficient(name, own, why)
    found = _measured(name, own, own.probability)
    faults = _faults(found, floors)
    if everybody.local is not None and everybody.verdict is Verdict.LOCAL_CALIBRATION:
        left = _faults(_under(everybody.local, name, rows, sex), floors)
        verdict = Verdict.NOT_ACCEPTED if left else Verdict.LOCAL_CALIBRATION
        return replace(found, verdict=verdict, because=(*faults, *map(_after, left)) or ("as all patients",))
    if faults:
        return replace(found, verdict=Verdict.NOT_ACCEPTED, because=faults)
    return replace(found, because=("floors reached, calibration holds",))


def _under(local: LocalCalibration, name: str, rows: SiteRows, sex: Sex | None = None) -> GroupFinding:
    """Figures on the verifying half under a local calibration; of who is judged, `_half` leaves enough there."""
    other = rows.only(~_half(rows) & np.array([sex is None or s is sex for s in rows.sex]))
    p = recalibrated(other.probability, Line(coefficients=np.array([local.slope]), intercept=local.intercept))
    return _measured(name, replace(other, flagged=p >= local.t_high), p)


def _measured(name: str, rows: SiteRows, p: Floats) -> GroupFinding:
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


def _insufficient(name: str, rows: SiteRows, why: str) -> GroupFinding:
    return GroupFinding(
        group=name,
        verdict=Verdict.INSUFFICIENT_DATA,
        because=(why,),
        n=rows.truth.size,
        positives=int(rows.truth.sum()),
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


def _half(rows: SiteRows) -> Flags:
    """A fixed half, to fit on: of the ill and the others of each sex alike, the odd one left to verify.

    So the other half holds at least half of what a group was judged on: no chance of the draw makes a sex too few.
    """
    sex = np.array(rows.sex)
    rng, chosen = np.random.default_rng(_SEED), np.zeros(rows.truth.size, np.bool_)
    for label in (0, 1):
        for own in Sex:
            members = rng.permutation(np.flatnonzero((rows.truth == label) & (sex == own)))
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
        f"{name} {own.value:.3f}, lower bound {own.low:.3f} not above the floor {floor:g}"
        for name, own, floor in pairs
        if not own.low > floor
    )


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
        found.append(f"calibration slope {slope.value:.2f} ({slope.low:.2f} to {slope.high:.2f})")
    if abs(large.value) > LARGE_HOLDS and not large.low <= 0.0 <= large.high:
        found.append(f"calibration in the large {large.value:+.2f} ({large.low:+.2f} to {large.high:+.2f}) logits")
    return tuple(found)
