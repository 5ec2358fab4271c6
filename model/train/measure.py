"""What a trained network says about films it never saw, in numbers with intervals. Everything here is about phantoms.

The calibration part chooses how to serve and fits calibration, fusion and thresholds; the test part is only measured.
All logits come through the runtime that serves, one image at a time. Not allowed here: words for a clinical
performance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from model.clinical import ClinicalModel
from model.domain import Sex
from model.evaluation.metrics import (
    Z95,
    auc,
    brier,
    calibration_error,
    calibration_line,
    confusion,
    paired_auc_test,
)
from model.fusion import Fusion, OperatingPoints
from model.gate_fit import GateEvaluation
from model.image_net import ImageNetwork
from model.manifest import Metric, Serving
from model.phantom.cohort import VirtualPatient
from model.runtime import TorchRuntime
from model.train.films import Films
from model.train.loop import OSTEOPENIA_T

POPULATION: Final = "simulated patients unseen in training and calibration"
CALIBRATION: Final = "simulated patients of the calibration part, where the serving form was chosen"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Raw image logits, clinical probabilities and truth of one part, in the same order."""

    patients: tuple[VirtualPatient, ...]
    image_logits: Floats
    p_clinical: Floats

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """1 where the lowest T-score is <= -2.5."""
        return np.array([int(patient.osteoporosis) for patient in self.patients])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How the network is served and calibrated, on what, and what was measured on the test part."""

    serving: Serving
    fusion: Fusion
    held: Predictions
    """The calibration part."""
    metrics: tuple[Metric, ...]


def choose_serving(
    network: ImageNetwork, films: Films, indices: Sequence[int], *, crop: int, progress: Progress
) -> tuple[Serving, Floats, tuple[Metric, ...]]:
    """The better of two forms of about equal cost on the calibration part, its logits there, and both AUCs.

    The whole square once, or the central crop together with its mirror image.
    """
    side = films.images.shape[1]
    forms = (Serving(crop=side, mirror=False), Serving(crop=crop, mirror=True))
    logits = [image_logits(network, form, films, indices, progress) for form in forms]
    truth = [int(films.patients[i].osteoporosis) for i in indices]
    found = [auc(own, truth) for own in logits]
    best = max(range(len(forms)), key=lambda row: found[row].value)
    metrics = tuple(
        Metric(
            name=f"auc.raw.crop-{form.crop}{'-mirrored' if form.mirror else ''}",
            population=CALIBRATION,
            value=estimate.value,
            low=estimate.low,
            high=estimate.high,
            n=len(truth),
            positives=sum(truth),
        )
        for form, estimate in zip(forms, found, strict=True)
    )
    return forms[best], logits[best], metrics


def image_logits(
    network: ImageNetwork, serving: Serving, films: Films, indices: Sequence[int], progress: Progress
) -> Floats:
    """Raw logits through the serving runtime."""
    runtime = TorchRuntime(network, serving)
    form = f"ask network (crop {serving.crop}{', mirrored' if serving.mirror else ''})"
    logits = [runtime.infer(films.prepared(i)).logit for i in progress.track(indices, description=form)]
    return np.array(logits, np.float64)


def predictions(films: Films, indices: Sequence[int], logits: Floats, clinical: ClinicalModel) -> Predictions:
    """Image logits joined with what the clinical model says about the same virtual patients."""
    patients = tuple(films.patients[i] for i in indices)
    answers = [clinical.probability(age_years=p.age_years, sex=p.sex, weight_kg=p.weight_kg) for p in patients]
    p_clinical = np.array([math.nan if answer is None else answer[0] for answer in answers])
    return Predictions(patients=patients, image_logits=logits, p_clinical=p_clinical)


def unseen_metrics(part: Predictions, fusion: Fusion) -> tuple[Metric, ...]:
    """Every figure of the test part that goes into the manifest."""
    image = np.array([fusion.image_only(z) for z in part.image_logits])
    fused = np.array([fusion.fused(z, p) for z, p in zip(part.image_logits, part.p_clinical, strict=True)])
    clinical = np.array([fusion.clinical_only(p) for p in part.p_clinical])
    oracle = np.array([-patient.subject.t_image for patient in part.patients])
    scores = {"image": image, "fused": fused, "clinical": clinical}
    found = [
        *(_auc(f"auc.{name}", score, part) for name, score in scores.items()),
        _auc("auc.ceiling", oracle, part),
        _difference("auc.fused-minus-image", fused, image, part),
    ]
    for sex in (Sex.FEMALE, Sex.MALE):
        chosen = np.array([patient.sex is sex for patient in part.patients])
        found += [_auc(f"auc.{n}.sex-{sex.value.lower()}", s, part, chosen) for n, s in scores.items()]
    apart = np.array([p.osteoporosis or p.t_lowest >= OSTEOPENIA_T for p in part.patients])
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
    return tuple(found)


def _auc(name: str, scores: Floats, part: Predictions, chosen: npt.NDArray[np.bool_] | None = None) -> Metric:
    chosen = np.ones(len(scores), np.bool_) if chosen is None else chosen
    truth = part.truth[chosen]
    found = auc(scores[chosen], truth)
    return _metric(name, found.value, len(truth), int(truth.sum()), (found.low, found.high))


def _difference(name: str, first: Floats, second: Floats, part: Predictions) -> Metric:
    found = paired_auc_test(first, second, part.truth)
    limits = (found.difference - Z95 * found.se, found.difference + Z95 * found.se)
    return _metric(name, found.difference, len(first), int(part.truth.sum()), limits)


def _calibration(mode: str, p: Floats, part: Predictions) -> list[Metric]:
    counts = len(p), int(part.truth.sum())
    return [
        _metric(f"calibration-error.{mode}", calibration_error(p, part.truth), *counts),
        _metric(f"calibration-slope.{mode}", calibration_line(p, part.truth).slope, *counts),
        _metric(f"brier.{mode}", brier(p, part.truth), *counts),
    ]


def _points(mode: str, p: Floats, part: Predictions, points: OperatingPoints) -> list[Metric]:
    found = []
    for name, threshold in (("t-high", points.t_high), ("t-low", points.t_low)):
        table = confusion(p, part.truth, threshold)
        found += [
            _metric(f"{kind}.{mode}.{name}", rate.value, len(p), int(part.truth.sum()), (rate.low, rate.high))
            for kind, rate in (("sensitivity", table.sensitivity), ("specificity", table.specificity))
        ]
    between = float(np.mean((p >= points.t_low) & (p < points.t_high)))
    return [*found, _metric(f"indeterminate.{mode}", between, len(p), int(part.truth.sum()))]


def _metric(
    name: str, value: float, n: int, positives: int, limits: tuple[float, float] | tuple[None, None] = (None, None)
) -> Metric:
    return Metric(
        name=name, population=POPULATION, value=value, low=limits[0], high=limits[1], n=n, positives=positives
    )
