"""What a served bundle says about virtual patients it never saw: films made and screened in worker processes.

Every film goes the way of a served one: quality, gate, image network, clinical model, fusion. The patients' numbers
start above any that a training run draws for its seed. Nothing measured here says anything about patients.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from rich.progress import Progress
from scipy.special import expit

from model.domain import (
    ClinicalRecord,
    InstanceReference,
    MatchClass,
    NotAssessed,
    Observation,
    Radiograph,
    Scored,
    Sex,
)
from model.evaluation.cohort import Cohort, Floats, Patient
from model.logistic import fit_logistic
from model.phantom.cohort import VirtualPatient, sample
from model.phantom.render import pixel_spacing_mm, render
from model.phantom.scenario import Acquisition, draw_acquisition
from model.screener import Screener, load_screener

SEED: Final = 20_261
"""Of the default evaluation cohort; training draws its own."""
_ROWS: Final = (500, 560, 640)
"""Film heights in pixels: the shorter side is what a served film has at least, and rendering stays affordable."""
_COLUMNS_PER_ROW: Final = 0.82
_CHUNK: Final = 20
_WIDE_TRAINING: Final = 8000
_WIDE_SEED: Final = 977
_FOLDS: Final = 5
_STACK_PENALTY_C: Final = 10.0
"""Weak; keeps the stack finite where a handful of patients is separated without error."""
_COUNTERFACTUAL_T: Final = (-3.5, -2.5, -1.5, -0.5)

_screener: Screener | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """Same person, same exposure, other bones: how often the score falls at every step towards stronger bone."""

    patients: int
    monotone: int
    mean_logits: tuple[float, ...]
    """Mean logit of the image-only probability at each T-score."""
    t_scores: tuple[float, ...] = _COUNTERFACTUAL_T


def bundle_workers(folder: Path, workers: int) -> ProcessPoolExecutor:
    """Processes of one thread each that have the bundle at `folder` loaded."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_load, initargs=(folder,))


def assess_phantoms(pool: ProcessPoolExecutor, *, count: int, seed: int, progress: Progress) -> Cohort:
    """Screen `count` virtual patients in the `bundle_workers`.

    Raises:
        BrokenProcessPool: a worker died, or could not load the bundle.

    """
    patients = sample(count, seed)
    task = progress.add_task("screen virtual patients", total=count)
    rows: dict[int, tuple[Patient | None, tuple[str, ...]]] = {}
    chunks = [patients[first : first + _CHUNK] for first in range(0, count, _CHUNK)]
    for done in as_completed([pool.submit(_assess, chunk, seed) for chunk in chunks]):
        rows |= done.result()
        progress.advance(task, len(done.result()))
    refused = Counter(reason for patient, reasons in rows.values() if patient is None for reason in reasons)
    assessed = [(i, p) for i in range(count) if (p := rows[i][0]) is not None]
    wide = _wide_probabilities([patients[i] for i, _ in assessed], np.array([p.p_image for _, p in assessed]))
    return Cohort(
        population=f"{count} virtual patients (seed {seed}), films simulated; no figure describes patients",
        simulated=True,
        patients=tuple(replace(p, p_wide=float(w)) for (_, p), w in zip(assessed, wide, strict=True)),
        not_assessed=dict(refused),
    )


def counterfactual(pool: ProcessPoolExecutor, *, count: int, seed: int, progress: Progress) -> Counterfactual:
    """Score `count` virtual patients four times each, from weak to strong bone and nothing else changed."""
    patients = sample(count, seed)
    task = progress.add_task("change only the bone", total=count)
    logits: list[list[float]] = []
    for done in as_completed([pool.submit(_bones_changed, patient, seed) for patient in patients]):
        logits += [done.result()] if done.result() else []
        progress.advance(task)
    falling = sum(all(a > b for a, b in itertools.pairwise(row)) for row in logits)
    means = tuple(float(m) for m in np.mean(logits, axis=0)) if logits else ()
    return Counterfactual(patients=len(logits), monotone=falling, mean_logits=means)


def _load(folder: Path) -> None:
    global _screener  # noqa: PLW0603 - one bundle per worker process, loaded once
    _screener = load_screener(folder)


def _assess(patients: Sequence[VirtualPatient], seed: int) -> dict[int, tuple[Patient | None, tuple[str, ...]]]:
    return {patient.index: _assess_one(patient, seed) for patient in patients}


def _assess_one(patient: VirtualPatient, seed: int) -> tuple[Patient | None, tuple[str, ...]]:
    assert _screener is not None  # noqa: S101 - `_load` ran first
    rng = np.random.default_rng([seed, patient.index])
    acquisition, rows = draw_acquisition(rng), int(rng.choice(_ROWS))
    film = _film(patient, acquisition, int(rng.integers(2**31)), rows)
    result = _screener.screen(film, _record(patient))
    if isinstance(result, NotAssessed):
        return None, tuple(str(reason) for reason in result.reasons)
    return _patient(patient, acquisition, result), ()


def _bones_changed(patient: VirtualPatient, seed: int) -> list[float]:
    """Logits at every T-score; empty when the gate refused one of the films."""
    assert _screener is not None  # noqa: S101 - `_load` ran first
    rng = np.random.default_rng([seed, patient.index, 1])
    acquisition, own = draw_acquisition(rng), int(rng.integers(2**31))
    found = []
    for t in _COUNTERFACTUAL_T:
        other = replace(patient, subject=replace(patient.subject, t_image=t))
        result = _screener.screen(_film(other, acquisition, own, _ROWS[0]), ClinicalRecord(match=MatchClass.NO_ID))
        if isinstance(result, NotAssessed):
            return []
        found.append(math.log(result.p_image / (1 - result.p_image)))
    return found


def _film(patient: VirtualPatient, acquisition: Acquisition, own: int, rows: int) -> Radiograph:
    size = (rows, round(rows * _COLUMNS_PER_ROW))
    spacing = pixel_spacing_mm(size)
    uid = f"1.2.3.{patient.index + 1}"
    return Radiograph(
        reference=InstanceReference(study_uid=uid, series_uid=uid, sop_instance_uid=uid, sop_class_uid=uid),
        pixels=render(patient.subject, acquisition, own, size),
        spacing_mm=(spacing, spacing),
        view=acquisition.view,
        modality="DX",
        age_years=patient.age_years,
        sex=patient.sex,
    )


def _record(patient: VirtualPatient) -> ClinicalRecord:
    weight = Observation(
        variable="weight", value=patient.weight_kg, unit="kg", age_days=0.0, observation_id=1, source="simulation"
    )
    return ClinicalRecord(match=MatchClass.MATCH_ISSUER, observations=(weight,))


def _patient(patient: VirtualPatient, acquisition: Acquisition, result: Scored) -> Patient:
    return Patient(
        t_lowest=patient.t_lowest,
        age_years=patient.age_years,
        sex=patient.sex,
        view=acquisition.view,
        bmi=patient.bmi,
        p_image=result.p_image,
        p_clinical=math.nan if result.p_clinical is None else result.p_clinical,
        p_fused=math.nan if result.p_fused is None else result.p_fused,
        ceiling=-patient.subject.t_image,
    )


def _wide_probabilities(patients: Sequence[VirtualPatient], p_image: Floats) -> Floats:
    """Image and a 12-column clinical model fused by a logit stack whose weights are fitted in the other folds.

    The clinical model is fitted on virtual patients of another seed; it shows what fusion gives where the clinical
    columns carry more than age, sex and weight. It is no part of any bundle.
    """
    drawn = sample(_WIDE_TRAINING, _WIDE_SEED)
    columns, own = _wide_columns(drawn), _wide_columns(patients)
    mean, sd = columns.mean(axis=0), columns.std(axis=0)
    line = fit_logistic((columns - mean) / sd, _truth(drawn), penalty_c=1.0)
    clinical = (own - mean) / sd @ line.coefficients + line.intercept
    both = np.column_stack([np.log(p_image / (1 - p_image)), clinical])
    truth, fused = _truth(patients), np.empty(len(patients))
    folds = np.arange(len(patients)) % _FOLDS
    for k in range(_FOLDS):
        stack = fit_logistic(both[folds != k], truth[folds != k], penalty_c=_STACK_PENALTY_C, non_negative=True)
        fused[folds == k] = expit(both[folds == k] @ stack.coefficients + stack.intercept)
    return fused


def _wide_columns(patients: Sequence[VirtualPatient]) -> Floats:
    return np.array(
        [
            (
                p.sex is Sex.FEMALE, p.age_years, p.height_cm, p.weight_kg, p.bmi, p.calcium, p.phosphate,
                p.urea_nitrogen, p.creatinine, p.egfr, math.log(p.alp), p.fracture,
            )
            for p in patients
        ],
        dtype=np.float64,
    )  # fmt: skip


def _truth(patients: Sequence[VirtualPatient]) -> Floats:
    return np.array([float(p.osteoporosis) for p in patients])
