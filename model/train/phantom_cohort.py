"""What a served bundle says about virtual patients it never saw: films made and screened in worker processes.

Every film goes the way of a served one: quality, gate, image network, clinical model, fusion. Films and scores are kept
(`score_cache`), so a broken run goes on. The patients are of a seed that no training run draws. Nothing measured here
says anything about patients.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.progress import Progress

from model.domain import (
    ClinicalRecord,
    InstanceReference,
    MatchClass,
    NotAssessed,
    Observation,
    Radiograph,
    Scored,
    View,
)
from model.engines import Engines
from model.evaluation.cohort import Cohort, Patient
from model.phantom.cohort import VirtualPatient, sample
from model.phantom.render import pixel_spacing_mm, render
from model.phantom.scenario import Acquisition, draw_acquisition
from model.screener import Screener, load_screener
from model.train.films import cache_key
from model.train.score_cache import Floats, ScoreCache, digest_of, gathered, kept_films, kept_scores, score_cache
from model.train.wide_model import wide_probabilities

SEED: Final = 20_261
"""Of the default evaluation cohort; training draws its own."""
_ROWS: Final = (500, 560, 640)
"""Film heights in pixels: the shorter side is what a served film has at least, and rendering stays affordable."""
_COLUMNS_PER_ROW: Final = 0.82
_CHUNK: Final = 20
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


def bundle_workers(folder: Path, workers: int, engines: Engines) -> ProcessPoolExecutor:
    """Processes of one thread each that have the bundle at `folder` loaded."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=load_worker, initargs=(folder, engines))


def load_worker(folder: Path, engines: Engines) -> None:
    """Load the bundle in this process, once."""
    global _screener  # noqa: PLW0603 - one bundle per worker process
    _screener = load_screener(folder, engines=engines)


def worker_screener() -> Screener:
    """The screener that `load_worker` loaded in this process."""
    assert _screener is not None  # noqa: S101 - the pool's initializer ran first
    return _screener


def assess_phantoms(
    pool: ProcessPoolExecutor, *, count: int, seed: int, run: Path, served_by: str, progress: Progress
) -> Cohort:
    """Screen `count` virtual patients in the `bundle_workers`, keeping films and scores below `run`.

    Raises:
        BrokenProcessPool: a worker died, or could not load the bundle.

    """
    patients = sample(count, seed)
    cache = _cache(run, seed, served_by)
    task = progress.add_task("render and screen virtual patients", total=count)
    chunks = [patients[first : first + _CHUNK] for first in range(0, count, _CHUNK)]
    rows: dict[int, dict[str, Any]] = {}
    for found in gathered(pool, ((_scores_file(chunk, cache), _assess, (chunk, seed, cache)) for chunk in chunks)):
        rows |= {int(number): row for number, row in found.items()}
        progress.update(task, completed=len(rows))
    refused = Counter(reason for row in rows.values() for reason in row["reasons"])
    assessed = [p for p in patients if not rows[p.index]["reasons"]]
    wide = wide_probabilities(assessed, np.array([rows[p.index]["p_image"] for p in assessed]))
    return Cohort(
        population=f"{count} virtual patients (seed {seed}), films simulated; no figure describes patients",
        simulated=True,
        patients=tuple(_patient(p, rows[p.index], float(w)) for p, w in zip(assessed, wide, strict=True)),
        not_assessed=dict(refused),
    )


def counterfactual(
    pool: ProcessPoolExecutor, *, count: int, seed: int, run: Path, served_by: str, progress: Progress
) -> Counterfactual:
    """Score `count` virtual patients four times each, from weak to strong bone and nothing else changed."""
    patients = sample(count, seed)
    cache = _cache(run, seed, served_by)
    task = progress.add_task("change only the bone", total=count)
    logits: list[list[float]] = []
    for found in gathered(pool, ((_bones_file(p, cache), _bones_changed, (p, seed, cache)) for p in patients)):
        logits += [found["logits"]] if found["logits"] else []
        progress.advance(task)
    falling = sum(all(a > b for a, b in itertools.pairwise(row)) for row in logits)
    means = tuple(float(m) for m in np.mean(sorted(logits), axis=0)) if logits else ()
    return Counterfactual(patients=len(logits), monotone=falling, mean_logits=means)


def film_of(patient: VirtualPatient, seed: int) -> Radiograph:
    """The film of an evaluation patient, as `assess_phantoms` screens it."""
    return _radiograph(patient, _view(patient, seed), _pixels(patient, seed))


def record_of(patient: VirtualPatient) -> ClinicalRecord:
    """What the node would know about the patient beside the film: the weight."""
    weight = Observation(
        variable="weight", value=patient.weight_kg, unit="kg", age_days=0.0, observation_id=1, source="simulation"
    )
    return ClinicalRecord(match=MatchClass.MATCH_ISSUER, observations=(weight,))


def _cache(run: Path, seed: int, served_by: str) -> ScoreCache:
    return score_cache(run, films_key=cache_key(seed=seed, side=max(_ROWS)), served_by=served_by)


def _scores_file(patients: Sequence[VirtualPatient], cache: ScoreCache) -> Path:
    return cache.scores / f"{digest_of(patients)}.json"


def _assess(patients: Sequence[VirtualPatient], seed: int, cache: ScoreCache) -> dict[str, Any]:
    file = _scores_file(patients, cache)

    def score() -> dict[str, Any]:
        films = kept_films(cache.films / f"{file.stem}.safetensors", lambda: [_pixels(p, seed) for p in patients])
        return {str(p.index): _row(p, seed, film) for p, film in zip(patients, films, strict=True)}

    return kept_scores(file, score)


def _row(patient: VirtualPatient, seed: int, pixels: Floats) -> dict[str, Any]:
    view = _view(patient, seed)
    result = worker_screener().screen(_radiograph(patient, view, pixels), record_of(patient))
    if isinstance(result, NotAssessed):
        return {"reasons": [str(reason) for reason in result.reasons]}
    return {"reasons": [], "view": view.value, **_probabilities(result)}


def _probabilities(result: Scored) -> dict[str, float]:
    return {
        "p_image": result.p_image,
        "p_clinical": math.nan if result.p_clinical is None else result.p_clinical,
        "p_fused": math.nan if result.p_fused is None else result.p_fused,
    }


def _bones_file(patient: VirtualPatient, cache: ScoreCache) -> Path:
    return cache.scores / f"bones-{digest_of([patient])}.json"


def _bones_changed(patient: VirtualPatient, seed: int, cache: ScoreCache) -> dict[str, Any]:
    return kept_scores(_bones_file(patient, cache), lambda: {"logits": _logits_by_bone(patient, seed)})


def _logits_by_bone(patient: VirtualPatient, seed: int) -> list[float]:
    """Logits at every T-score; empty when the gate refused one of the films."""
    rng = np.random.default_rng([seed, patient.index, 1])
    acquisition, own = draw_acquisition(rng), int(rng.integers(2**31))
    found = []
    for t in _COUNTERFACTUAL_T:
        other = replace(patient.subject, t_image=t)
        film = _radiograph(patient, acquisition.view, render(other, acquisition, own, _size(_ROWS[0])))
        result = worker_screener().screen(film, ClinicalRecord(match=MatchClass.NO_ID))
        if isinstance(result, NotAssessed):
            return []
        found.append(math.log(result.p_image / (1 - result.p_image)))
    return found


def _exposure(patient: VirtualPatient, seed: int) -> tuple[Acquisition, int, int]:
    """Acquisition, film height and the film's own seed."""
    rng = np.random.default_rng([seed, patient.index])
    acquisition, rows = draw_acquisition(rng), int(rng.choice(_ROWS))
    return acquisition, rows, int(rng.integers(2**31))


def _view(patient: VirtualPatient, seed: int) -> View:
    return _exposure(patient, seed)[0].view


def _pixels(patient: VirtualPatient, seed: int) -> Floats:
    acquisition, rows, own = _exposure(patient, seed)
    return render(patient.subject, acquisition, own, _size(rows))


def _size(rows: int) -> tuple[int, int]:
    return rows, round(rows * _COLUMNS_PER_ROW)


def _radiograph(patient: VirtualPatient, view: View, pixels: Floats) -> Radiograph:
    uid, spacing = f"1.2.3.{patient.index + 1}", pixel_spacing_mm((pixels.shape[0], pixels.shape[1]))
    return Radiograph(
        reference=InstanceReference(study_uid=uid, series_uid=uid, sop_instance_uid=uid, sop_class_uid=uid),
        pixels=pixels,
        spacing_mm=(spacing, spacing),
        view=view,
        modality="DX",
        age_years=patient.age_years,
        sex=patient.sex,
    )


def _patient(patient: VirtualPatient, row: dict[str, Any], wide: float) -> Patient:
    return Patient(
        number=patient.index,
        t_lowest=patient.t_lowest,
        age_years=patient.age_years,
        sex=patient.sex,
        view=View(row["view"]),
        bmi=patient.bmi,
        p_image=row["p_image"],
        p_clinical=row["p_clinical"],
        p_fused=row["p_fused"],
        ceiling=-patient.subject.t_image,
        p_wide=wide,
    )
