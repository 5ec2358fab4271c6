"""The bars of a demonstration bundle (issue 5, model.md section 16), each with its figure, interval and demand.

A bar that could not be measured is not met. Nothing here is tuned, and nothing is left out because it is missed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from model.evaluation.metrics import Interval, wilson
from model.gate import FRONTAL_POSES
from model.train.clinical_cv import LEAST_FOLD_AUC

LEAK_P: Final = 0.01
"""One-sided: a score above what the simulated bone can tell has seen the label some other way."""
_TRANSFORMS: Final = len(FRONTAL_POSES) - 2
"""Ways a frontal film must not lie: all but upright and mirrored."""
LEAST_AUC: Final = (("all", 0.93), ("women", 0.89), ("men", 0.94))
"""Demanded of the image score on simulated films."""
_SLOPE: Final = (0.9, 1.1)
_ECE: Final = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One demand on a demonstration bundle."""

    name: str
    value: float
    """NaN where it was not measured."""
    demand: str
    met: bool
    low: float = math.nan
    high: float = math.nan
    remark: str = ""
    judged: bool = True
    """False of a short run, which checks the way only."""

    @property
    def outcome(self) -> str:
        """In a word or two."""
        return ("met" if self.met else "MISSED") if self.judged else "not judged"

    @property
    def line(self) -> str:
        """Name, figure, interval, demand and remark for the terminal."""
        interval = "" if math.isnan(self.low) else f"({self.low:.4f} to {self.high:.4f})"
        shown = "not measured" if math.isnan(self.value) else f"{self.value:.4f}"
        return (
            f"{self.outcome:{6 if self.judged else 10}} {self.name:24} {shown:>12} {interval:22} {self.demand}"
            f"{'; ' if self.remark else ''}{self.remark}"
        )


def bars(figures: dict[str, Any]) -> tuple[Bar, ...]:
    """Every bar, from the figures of an evaluation on virtual patients."""
    found = (*_phantom_bars(figures), *_gate_bars(figures), *_clinical_bars(figures))
    short = figures.get("asked", {}).get("short", False)
    return tuple(replace(bar, judged=False) for bar in found) if short else found


def _phantom_bars(figures: dict[str, Any]) -> Iterable[Bar]:
    image, differences = figures["auc"]["image"], figures["differences"]
    for group, least in LEAST_AUC:
        yield _least(f"auc_image_{group}", image[group], least)
    for name, least in (("fused", -0.003), ("wide", 0.003)):
        found = differences.get(f"{name} minus image")
        yield _least(f"auc_{name}_minus_image", found, least, remark=_p(found))
    calibration = figures["calibration"].get("fused")
    yield _within("slope_fused", None if calibration is None else calibration["slope"], *_SLOPE)
    yield _calibration_error(None if calibration is None else calibration["ece"])
    for name in ("image", "fused", "wide"):
        yield _no_leak(name, differences.get(f"ceiling minus {name}"))
    changed = figures["counterfactual"]
    yield _least("monotone", _share(changed["monotone"], changed["patients"]), 0.95)


def _gate_bars(figures: dict[str, Any]) -> Iterable[Bar]:
    gate = {metric["name"]: metric for metric in figures["bundle"]["gate"]}
    remark = "held-out folds, as the manifest has them"
    upright = gate.get("gate.upright-accepted")
    share = None if upright is None else _share(round(upright["value"] * upright["n"]), upright["n"])
    yield _least("gate_upright_accepted", share, 0.97, remark=remark)
    turned = gate.get("gate.transforms-refused")
    share = None if turned is None else _alone(turned["value"])
    remark += f"; no interval: {_TRANSFORMS} ways of laying each film are no independent cases"
    yield _least("gate_transforms_refused", share, 0.995, remark=remark)
    real = figures.get("real_films")
    count = 0 if real is None else real["young"] + real["unknown_age"]
    share = _alone((real["young_scored"] + real["unknown_age_scored"]) / count) if real is not None and count else None
    remark = "below 50 years, children among them, or age withheld; no interval: the young films are asked both ways"
    yield _most("young_or_unknown_scored", share, 0.0, remark=remark)
    others = [o for o in figures.get("real_objects", ()) if not o["chest"]]
    share = _alone(sum(o["refused"] for o in others) / len(others)) if others else None
    remark = f"{len(others)} real DICOM objects that are no such film; no interval: several encode one picture"
    yield _least("other_objects_refused", share, 1.0, remark=remark)


def _calibration_error(found: dict[str, Any] | None) -> Bar:
    """Without an interval (see `appraisal`); what chance alone gives stands beside it."""
    if found is None:
        return _most("ece_fused", None, _ECE)
    remark = f"by chance alone {found['expected']:.4f} on average, {found['expected_high']:.4f} at the 97.5 % point"
    return _most("ece_fused", _alone(found["value"]), _ECE, remark=remark)


def _clinical_bars(figures: dict[str, Any]) -> Iterable[Bar]:
    table = figures.get("clinical_table")
    if table is None:
        yield _least("clinical_fold_auc", None, LEAST_FOLD_AUC)
        return
    value, sd = table["fold_auc"], table["fold_sd"]
    yield _least(
        "clinical_fold_auc", _alone(value), LEAST_FOLD_AUC, remark=f"SD over folds {sd:.3f}; {table['statement']}"
    )


def _least(name: str, found: dict[str, Any] | None, least: float, *, remark: str = "") -> Bar:
    own = found or _UNKNOWN
    return _bar(name, own, f"at least {least:g}", met=own["value"] >= least, remark=remark)


def _most(name: str, found: dict[str, Any] | None, most: float, *, remark: str = "") -> Bar:
    own = found or _UNKNOWN
    return _bar(name, own, f"at most {most:g}", met=own["value"] <= most, remark=remark)


def _within(name: str, found: dict[str, Any] | None, low: float, high: float) -> Bar:
    own = found or _UNKNOWN
    return _bar(name, own, f"{low:g} to {high:g}", met=low <= own["value"] <= high)


def _no_leak(name: str, found: dict[str, Any] | None) -> Bar:
    """The score minus the ceiling; missed when it lies above 0 beyond chance."""
    demand = f"not above 0 with P < {LEAK_P:g}"
    if found is None:
        return _bar(f"{name}_above_ceiling", _UNKNOWN, demand, met=False)
    turned = {"value": -found["value"], "low": -found["high"], "high": -found["low"]}
    above = found["value"] < 0 and found["p"] / 2 < LEAK_P
    return _bar(f"{name}_above_ceiling", turned, demand, met=not above)


_UNKNOWN: Final = {"value": math.nan, "low": math.nan, "high": math.nan}


def _bar(name: str, own: dict[str, Any], demand: str, *, met: bool, remark: str = "") -> Bar:
    return Bar(name=name, value=own["value"], low=own["low"], high=own["high"], demand=demand, met=met, remark=remark)


def _share(count: int, of: int) -> dict[str, float]:
    found: Interval = wilson(count, of)
    return {"value": found.value, "low": found.low, "high": found.high}


def _alone(value: float) -> dict[str, float]:
    """A figure without an interval."""
    return _UNKNOWN | {"value": value}


def _p(found: dict[str, Any] | None) -> str:
    return "" if found is None else f"DeLong P = {found['p']:.2g}"
