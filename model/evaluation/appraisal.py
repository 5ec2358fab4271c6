"""All figures of one evaluation, as plain data for JSON, Markdown and HTML; nothing is measured elsewhere.

Every spectrum, both sexes, both modes: a pooled AUC alone flatters (model.md sections 1 and 13).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from model.domain import Sex
from model.evaluation.calibration import calibration_in_the_large, calibration_slope, recalibration
from model.evaluation.cohort import NORMAL_T, OSTEOPOROSIS_T, Cohort, Floats
from model.evaluation.decision import decision_curve, half_added, likelihoods, predictive_intervals, three_way
from model.evaluation.literature import ZHAO_2026_XRAY, place
from model.evaluation.metrics import (
    Confusion,
    Interval,
    auc,
    brier,
    calibration_error,
    confusion,
    equal_mass_bins,
    paired_auc_test,
)
from model.evaluation.subgroups import Subgroup, age_matched, subgroups
from model.fusion import OperatingPoints

FORMAT = 2
"""Of these figures as JSON; a card takes no other."""
PREVALENCES = (0.039, 0.10, 0.126, 0.25, 0.58)
"""Of a health check, two screening settings, these virtual patients, and Tang et al.'s test data."""
MODES = ("image", "fused")
"""What a node answers with; clinical data alone are measured beside them and never answered with."""
MEASURED = (*MODES, "clinical")
_RESAMPLES = 500
_PAIRS = (
    ("fused", "image"), ("wide", "image"), ("clinical", "image"),
    ("ceiling", "image"), ("ceiling", "fused"), ("ceiling", "wide"),
)  # fmt: skip

Labels = npt.NDArray[np.int64]


def appraise(cohort: Cohort, points: dict[str, OperatingPoints], *, seed: int = 1) -> dict[str, Any]:
    """Measure everything.

    Args:
        cohort: assessed patients with both classes present.
        points: frozen operating points by mode, `image` and `fused`.
        seed: of the bootstrap and of the age matching.

    Raises:
        ValueError: a class is missing.

    """
    scores = {name: cohort.column(f"p_{name}") for name in (*MEASURED, "wide")} | {"ceiling": cohort.column("ceiling")}
    scores |= {"age alone": cohort.column("age_years"), "sex alone": _female(cohort)}  # shortcuts to beat
    scores = {name: values for name, values in scores.items() if np.isfinite(values).any()}
    return {
        "format": FORMAT,
        "population": cohort.population,
        "simulated": cohort.simulated,
        "flow": _flow(cohort),
        "auc": {name: _auc_row(cohort, values) for name, values in scores.items()},
        "differences": _differences(cohort, scores),
        "spectra": {name: _spectra(cohort, scores[name]) for name in MEASURED if name in scores},
        "operating_points": {
            mode: {label: _point(cohort, scores[mode], t) for label, t in _thresholds(points[mode]).items()}
            for mode in MODES
            if mode in scores
        },
        "zone": {mode: _zone(cohort, scores[mode], points[mode]) for mode in MODES if mode in scores},
        "calibration": {name: _calibration(cohort, scores[name], seed) for name in MEASURED if name in scores},
        "decision_curve": {name: _curve(cohort, scores[name]) for name in MEASURED if name in scores},
        "subgroups": _subgroups(cohort, scores, points),
        "age_matched": _matched(cohort, scores, seed),
    }


def _female(cohort: Cohort) -> Floats:
    return np.array([float(p.sex is Sex.FEMALE) for p in cohort.patients])


def _flow(cohort: Cohort) -> dict[str, Any]:
    positives = int(cohort.truth.sum())
    return {
        "assessed": len(cohort.patients),
        "positives": positives,
        "negatives": len(cohort.patients) - positives,
        "not_assessed": dict(sorted(cohort.not_assessed.items())),
    }


def _auc_row(cohort: Cohort, scores: Floats) -> dict[str, Any]:
    rows = {"all": np.ones(len(scores), np.bool_)}
    rows |= {name: mask for name, mask in cohort.groups().items() if name in ("women", "men")}
    known = np.isfinite(scores)
    return {name: _area(scores[mask & known], cohort.truth[mask & known]) for name, mask in rows.items()}


def _area(scores: Floats, truth: Labels) -> dict[str, Any] | None:
    if not 0 < truth.sum() < truth.size:
        return None
    found = auc(scores, truth)
    return {"value": found.value, "low": found.low, "high": found.high, "n": truth.size, "positives": int(truth.sum())}


def _differences(cohort: Cohort, scores: dict[str, Floats]) -> dict[str, Any]:
    """Paired DeLong tests against the image alone and against the ceiling, on the patients that have both."""
    found = {}
    for first, second in _PAIRS:
        if first in scores and second in scores:
            known = np.isfinite(scores[first]) & np.isfinite(scores[second])
            test = paired_auc_test(scores[first][known], scores[second][known], cohort.truth[known])
            limits = {"low": test.low, "high": test.high}
            found[f"{first} minus {second}"] = {"value": test.difference, **limits, "p": test.p}
    return found


def _spectra(cohort: Cohort, scores: Floats) -> dict[str, Any]:
    """AUC against everybody else, against the reference range only, and of any loss against the reference range."""
    t, known = cohort.column("t_lowest"), np.isfinite(scores)
    apart = known & ((t <= OSTEOPOROSIS_T) | (t >= NORMAL_T))
    loss = (t < NORMAL_T).astype(np.int64)
    return {
        "T <= -2.5 against all others": _area(scores[known], cohort.truth[known]),
        "T <= -2.5 against T >= -1": _area(scores[apart], cohort.truth[apart]),
        "T < -1 against T >= -1": _area(scores[known], loss[known]),
    }


def _thresholds(points: OperatingPoints) -> dict[str, float]:
    return {"t_high": points.t_high, "t_low": points.t_low}


def _point(cohort: Cohort, scores: Floats, threshold: float) -> dict[str, Any]:
    known = np.isfinite(scores)
    table = confusion(scores[known], cohort.truth[known], threshold)
    ratios = likelihoods(table)
    sensitivity, specificity = table.sensitivity, table.specificity
    predicted = ZHAO_2026_XRAY.predicted()
    return {
        "threshold": threshold,
        "table": asdict(table),
        "half_added": half_added(table),
        "sensitivity": asdict(sensitivity),
        "specificity": asdict(specificity),
        "ppv": asdict(table.ppv),
        "npv": asdict(table.npv),
        "plr": asdict(ratios.positive),
        "nlr": asdict(ratios.negative),
        "dor": asdict(ratios.odds_ratio),
        "at_prevalence": [_at_prevalence(table, p) for p in PREVALENCES],
        "literature": {
            "sensitivity": str(place(sensitivity.value, ZHAO_2026_XRAY.sensitivity, predicted[0])),
            "specificity": str(place(specificity.value, ZHAO_2026_XRAY.specificity, predicted[1])),
        },
    }


def _at_prevalence(table: Confusion, prevalence: float) -> dict[str, Any]:
    ppv, npv = predictive_intervals(table, prevalence)
    return {"prevalence": prevalence, "ppv": asdict(ppv), "npv": asdict(npv)}


def _zone(cohort: Cohort, scores: Floats, points: OperatingPoints) -> dict[str, Any]:
    known = np.isfinite(scores)
    found = three_way(scores[known], cohort.truth[known], points)
    return {
        "indeterminate": asdict(found.indeterminate),
        "removed": _rates(found.removed.sensitivity, found.removed.specificity),
        "as_errors": _rates(found.as_errors.sensitivity, found.as_errors.specificity),
    }


def _rates(sensitivity: Interval, specificity: Interval) -> dict[str, Any]:
    return {"sensitivity": asdict(sensitivity), "specificity": asdict(specificity)}


def _calibration(cohort: Cohort, scores: Floats, seed: int) -> dict[str, Any]:
    known = np.isfinite(scores)
    p, y = scores[known], cohort.truth[known]
    line, share = recalibration(p, y), float(y.mean())
    loss = brier(p, y)
    bins = equal_mass_bins(p)
    return {
        "ece": _ece(p, y, seed),
        "brier": loss,
        "brier_scaled": 1 - loss / (share * (1 - share)),
        "slope": asdict(calibration_slope(p, y)),
        "intercept": line.intercept,
        "in_the_large": asdict(calibration_in_the_large(p, y)),
        "mean_predicted": float(p.mean()),
        "observed": share,
        "bins": [{"predicted": float(p[b].mean()), "observed": float(y[b].mean()), "n": b.size} for b in bins],
    }


def _ece(p: Floats, y: Labels, seed: int) -> dict[str, float]:
    """Beside what chance alone gives: mean and 97.5 % point where every probability is right, so y is drawn from p.

    No interval: an ECE is never below 0 and noise only adds to it, so a bootstrap's lies above the truth; a calibrated
    model's would hold it in none of 100 samples.
    """
    rng = np.random.default_rng(seed)
    by_chance = [calibration_error(p, rng.random(p.size) < p) for _ in range(_RESAMPLES)]
    return {
        "value": calibration_error(p, y),
        "expected": float(np.mean(by_chance)),
        "expected_high": float(np.percentile(by_chance, 97.5)),
    }


def _curve(cohort: Cohort, scores: Floats) -> list[dict[str, float]]:
    known = np.isfinite(scores)
    return [asdict(point) for point in decision_curve(scores[known], cohort.truth[known])]


def _subgroups(cohort: Cohort, scores: dict[str, Floats], points: dict[str, OperatingPoints]) -> list[dict[str, Any]]:
    """For the image alone: every patient has it, so that groups are compared like with like."""
    found = subgroups(scores["image"], cohort.truth, cohort.groups(), points["image"].t_high)
    return [
        asdict(g) | ({"flagged": list(g.flagged)} if isinstance(g, Subgroup) else {"suppressed": True}) for g in found
    ]


def _matched(cohort: Cohort, scores: dict[str, Floats], seed: int) -> dict[str, Any]:
    sex = np.array([p.sex.value for p in cohort.patients])
    found: dict[str, Any] = {}
    for name in ("image", "fused", "clinical"):
        if name in scores and np.isfinite(scores[name]).all():
            matched = age_matched(scores[name], cohort.truth, cohort.column("age_years"), sex, seed=seed)
            if matched is not None:
                area, pairs = matched
                found[name] = {"value": area.value, "low": area.low, "high": area.high, "pairs": pairs}
    return found
