"""What trained networks say about films they never saw, in numbers with intervals.

Out-of-fold predictions choose how to serve; they, or those about patients kept apart, fit calibration, fusion and
thresholds; the held-out part is only measured. Not allowed here: words for a clinical performance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from model.domain import Sex
from model.evaluation.metrics import (
    auc,
    brier,
    calibration_error,
    calibration_line,
    confusion,
    paired_auc_test,
)
from model.fusion import Fusion, OperatingPoints
from model.gate_fit import GateEvaluation
from model.manifest import Metric, Serving
from model.train.loop import OSTEOPENIA_T
from model.train.people import Person

Floats = npt.NDArray[np.float64]

_LEAST_SD: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Raw image logits, clinical probabilities and truth of one part, in the same order."""

    people: tuple[Person, ...] = field(repr=False)
    image_logits: Floats
    p_clinical: Floats
    """NaN where an input was missing."""
    population: str
    """Who they are and how the predictions came about, in the words that stand beside every figure."""

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """1 where the lowest T-score is <= -2.5."""
        return np.array([int(person.osteoporosis) for person in self.people])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How the network is served and calibrated, on what, and what was measured."""

    serving: Serving
    fusion: Fusion
    basis: Predictions
    """What it was fitted on."""
    metrics: tuple[Metric, ...]


def best_serving(
    logits: Mapping[Serving, Floats], part: tuple[Person, ...], population: str
) -> tuple[Serving, tuple[Metric, ...]]:
    """The form with the greatest AUC, and the AUC of each; all cost about the same."""
    truth = [int(person.osteoporosis) for person in part]
    found = {form: auc(own, truth) for form, own in logits.items()}
    metrics = tuple(
        Metric(
            name=f"auc.raw.crop-{form.crop}{'-mirrored' if form.mirror else ''}",
            population=population,
            value=estimate.value,
            **_limits(estimate.low, estimate.high),
            n=len(truth),
            positives=sum(truth),
        )
        for form, estimate in found.items()
    )
    return max(found, key=lambda form: found[form].value), metrics


def fitted_metrics(part: Predictions, fusion: Fusion, name: str) -> tuple[Metric, ...]:
    """AUC and calibration where calibration itself was fitted: slightly flattering, and named as what it is."""
    image = np.array([fusion.image_only(z) for z in part.image_logits])
    found = [_auc("auc.image", image, part), *_calibration("image", image, part)]
    return tuple(m.model_copy(update={"name": f"{name}.{m.name}"}) for m in found)


def folds_auc(of_folds: Predictions, own: Sequence[Floats]) -> Metric:
    """What the folds' networks reach; `own` are the logits of each, in the order of `of_folds`."""
    return _auc("out-of-fold.auc.image", np.concatenate([on_its_own_scale(logits) for logits in own]), of_folds)


def on_its_own_scale(logits: Floats) -> Floats:
    """Logits of one network at mean 0 and SD 1: so those of several can be ranked together."""
    return np.asarray((logits - logits.mean()) / max(float(logits.std()), _LEAST_SD))


def unseen_metrics(part: Predictions, fusion: Fusion, ceiling: Floats | None = None) -> tuple[Metric, ...]:
    """Every figure of the held-out part that goes into the manifest; `ceiling` as of `Material`."""
    image = np.array([fusion.image_only(z) for z in part.image_logits])
    known = np.isfinite(part.p_clinical)
    fused = image.copy()
    clinical = np.full(len(image), part.truth.mean())
    for row in np.flatnonzero(known):
        fused[row] = fusion.fused(part.image_logits[row], part.p_clinical[row])
        clinical[row] = fusion.clinical_only(part.p_clinical[row])
    scores = {"image": image, "fused": fused, "clinical": clinical}
    found = [_auc(f"auc.{name}", score, part) for name, score in scores.items()]
    if ceiling is not None:
        found.append(_auc("auc.ceiling", ceiling, part))
    found.append(_difference("auc.fused-minus-image", fused, image, part))
    for sex in (Sex.FEMALE, Sex.MALE):
        chosen = np.array([person.sex is sex for person in part.people])
        if _both_classes(part, chosen):
            found += [_auc(f"auc.{n}.sex-{sex.value.lower()}", s, part, chosen) for n, s in scores.items()]
    apart = np.array([p.osteoporosis or p.t_lowest >= OSTEOPENIA_T for p in part.people])
    if _both_classes(part, apart):
        found += [_auc(f"auc.{n}.without-osteopenia", s, part, apart) for n, s in scores.items()]
    found += _calibration("image", image, part) + _calibration("fused", fused, part)
    found += _points("image", image, part, fusion.image_points) + _points("fused", fused, part, fusion.fused_points)
    return tuple(found)


def gate_metrics(gate: GateEvaluation) -> tuple[Metric, ...]:
    """The gate's rates on folds that share no patient."""
    films = f"{gate.patients} adult patients of the NIH films, patient-grouped folds"
    rates = {
        "gate.upright-accepted": gate.upright_accepted,
        "gate.transforms-refused": gate.transforms_refused,
        "gate.mirrored-found": gate.mirrored_found,
        "gate.mirrored-false-warnings": gate.mirrored_false,
    }
    found = [Metric(name=name, population=films, value=value, n=gate.films) for name, value in rates.items()]
    if gate.phantoms:
        accepted = gate.phantoms_accepted
        held = Metric(name="gate.phantoms-accepted", population="held-out phantoms", value=accepted, n=gate.phantoms)
        found.append(held)
    if gate.own:
        own = "the site's own training films, one of each patient, folds that share no patient"
        accepted = gate.own_accepted
        found.append(Metric(name="gate.own-films-accepted", population=own, value=accepted, n=gate.own))
    if gate.unfit:
        refused = {"laterals": gate.laterals_refused, "others": gate.others_refused}
        found += [
            Metric(name=f"gate.{what}-refused", population=f"held-out phantoms, {what}", value=share, n=gate.unfit // 2)
            for what, share in refused.items()
        ]
    return tuple(found)


def _both_classes(part: Predictions, chosen: npt.NDArray[np.bool_]) -> bool:
    return len(set(part.truth[chosen])) == 2  # noqa: PLR2004 - an AUC needs both


def _auc(name: str, scores: Floats, part: Predictions, chosen: npt.NDArray[np.bool_] | None = None) -> Metric:
    chosen = np.ones(len(scores), np.bool_) if chosen is None else chosen
    truth = part.truth[chosen]
    found = auc(scores[chosen], truth)
    return _metric(part, name, found.value, len(truth), int(truth.sum()), (found.low, found.high))


def _difference(name: str, first: Floats, second: Floats, part: Predictions) -> Metric:
    found = paired_auc_test(first, second, part.truth)
    return _metric(part, name, found.difference, len(first), int(part.truth.sum()), (found.low, found.high))


def _calibration(mode: str, p: Floats, part: Predictions) -> list[Metric]:
    counts = len(p), int(part.truth.sum())
    return [
        _metric(part, f"calibration-error.{mode}", calibration_error(p, part.truth), *counts),
        _metric(part, f"calibration-slope.{mode}", calibration_line(p, part.truth).slope, *counts),
        _metric(part, f"brier.{mode}", brier(p, part.truth), *counts),
    ]


def _points(mode: str, p: Floats, part: Predictions, points: OperatingPoints) -> list[Metric]:
    found = []
    for name, threshold in (("t-high", points.t_high), ("t-low", points.t_low)):
        table = confusion(p, part.truth, threshold)
        found += [
            _metric(part, f"{kind}.{mode}.{name}", rate.value, len(p), int(part.truth.sum()), (rate.low, rate.high))
            for kind, rate in (("sensitivity", table.sensitivity), ("specificity", table.specificity))
        ]
    between = float(np.mean((p >= points.t_low) & (p < points.t_high)))
    return [*found, _metric(part, f"indeterminate.{mode}", between, len(p), int(part.truth.sum()))]


def _metric(
    part: Predictions,
    name: str,
    value: float,
    n: int,
    positives: int,
    limits: tuple[float, float] = (math.nan, math.nan),
) -> Metric:
    own = _limits(*limits)
    return Metric(name=name, population=part.population, value=value, n=n, positives=positives, **own)


def _limits(low: float, high: float) -> dict[str, float | None]:
    """As the manifest has them: null where there is no interval."""
    return {"low": None, "high": None} if math.isnan(low) else {"low": low, "high": high}
