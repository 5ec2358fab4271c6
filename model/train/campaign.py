"""Makes a bundle: films, division, one network per fold and one on all of them, calibration, figures, seal.

Each fold is predicted by a network trained on the others by the same recipe; calibration, fusion and thresholds rest on
these predictions alone. The network that ships is trained on all folds. Known bias: it saw a quarter more patients
than the networks it is calibrated by, so its logits may be a little steeper; the held-out part shows by how much.
Everything is kept in the run folder, so a broken run goes on and `seal` is cheap. Not allowed here: a figure chosen
after looking at the held-out part.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import structlog
from rich.console import Console
from rich.progress import Progress

from model import backbones
from model.bundle import Bundle
from model.fusion import Fusion
from model.fusion_fit import fit_fusion
from model.gate import GateModel
from model.gate_fit import GateEvaluation
from model.manifest import Serving
from model.phantom.cohort import VirtualPatient
from model.train.gate_part import GateInput, fit_and_keep, kept_gate
from model.train.golden import GOLDEN_PEOPLE, golden_pictures
from model.train.jobs import FilmFile, Floats, Job, Kept, ask, finished, keep_films, kept_logits, kept_network, train
from model.train.material import (
    ClinicalPart,
    Material,
    own_clinical,
    published_clinical,
    virtual_material,
)
from model.train.measure import Asked, Predictions, best_serving, out_of_fold_metrics, unseen_metrics
from model.train.plan import Plan, VirtualData
from model.train.provenance import Making, draft_manifest
from model.train.relay import Receiver, bars
from model.train.site import site_material
from model.train.site_films import ReadFilm
from model.train.split import Split, split_by_time
from model.train.writer import Parts, write_bundle

_log = structlog.get_logger()
_TIMES: Final = "cpu-seconds.json"
_GATE_PICTURES: Final = 120


class NotTrained(Exception):
    """There is no bundle to make: a piece is missing while sealing, or the networks learned nothing. One line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Jobs:
    folds: tuple[Job, ...]
    final: Job


def make_bundle(
    plan: Plan, *, read: ReadFilm | None = None, train_missing: bool = True, console: Console | None = None
) -> Bundle:
    """Make, measure and write the bundle that `plan` describes, taking over what earlier runs left.

    `read` reads a site's film from a file. `train_missing=False` seals: it only measures and writes.

    Raises:
        NotTrained: sealing, and a network or the gate is missing; or the networks learned nothing.
        OSError: data cannot be read.
        LeakageError, ManifestError: the site's data cannot be used as they are.
        BundleError: `plan.out` exists and is not a bundle, or the bundle does not pass its own checks.

    """
    plan.run.mkdir(parents=True, exist_ok=True)
    with bars(console) as progress:
        with _timed(plan, "films"):
            material = _material(plan, read, progress)
        split = split_by_time(material.members, folds=plan.folds, held_out=plan.held_out, seed=plan.seed)
        films = keep_films(material.films, plan.run)
        jobs, clinical = _jobs(plan, split), _clinical(plan, material, split)
        workshop = _Workshop(plan, films, progress, may_train=train_missing)
        with workshop:
            gate, rates = workshop.train(jobs, _gate_input(plan, material, split))
            asked = workshop.measure(jobs, material, split, clinical)
    network = workshop.network(jobs.final)
    making = Making(
        plan=plan,
        material=material,
        split=split,
        epochs=network.epochs,
        gamma=network.load(plan.recipe).gammas(),
        clinical=clinical,
        gate=rates,
        cpu_seconds=_times(plan),
    )
    parts = Parts(
        network=network.load(plan.recipe),
        gate=gate,
        gate_trunk=backbones.imagenet_weights(),
        clinical=clinical.model,
        fusion=asked.fusion,
        golden=golden_pictures(),
        records=GOLDEN_PEOPLE,
    )
    bundle = write_bundle(plan.out, parts, draft_manifest(making, asked))
    size = sum(facts.size for facts in bundle.manifest.files.values())
    _log.info("train.bundle", bundle=bundle.manifest.bundle_id, megabytes=round(size / 1e6, 2))
    return bundle


class _Workshop:
    """Runs the pieces that are missing, `plan.processes` at a time, in processes that stay from piece to piece."""

    def __init__(self, plan: Plan, films: FilmFile, progress: Progress, *, may_train: bool) -> None:
        self._plan, self._films, self._progress, self._may_train = plan, films, progress, may_train
        self._open = ExitStack()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def network(self, job: Job) -> Kept:
        """A network that is there."""
        kept = kept_network(self._films, job)
        if kept is None:
            msg = f"the network {job.name!r} is missing in {self._plan.run}; run the training first"
            raise NotTrained(msg)
        return kept

    def train(self, jobs: _Jobs, gate: GateInput) -> tuple[GateModel, GateEvaluation]:
        """Every network, the folds' first, and the gate."""
        plan, key = self._plan, gate.key
        missing = [job for job in (*jobs.folds, jobs.final) if kept_network(self._films, job) is None]
        wanted: list[tuple[str, Callable[..., None], tuple[Any, ...]]] = [
            (job.name, train, (self._films, job)) for job in missing
        ]
        if kept_gate(plan.run, key) is None:
            wanted.append(("gate", fit_and_keep, (plan.run, key, gate)))
        if wanted and not self._may_train:
            msg = f"missing in {plan.run}: {', '.join(name for name, *_ in wanted)}; run the training first"
            raise NotTrained(msg)
        self._run(wanted)
        made = kept_gate(plan.run, key)
        assert made is not None  # noqa: S101 - it was just fitted
        return made

    def measure(self, jobs: _Jobs, material: Material, split: Split, clinical: ClinicalPart) -> Asked:
        """Choose the serving form on the first fold, calibrate on all, then measure once on the held-out part."""
        plan, people = self._plan, material.films.patients
        forms = (Serving(crop=plan.side, mirror=False), Serving(crop=plan.recipe.crop, mirror=True))
        first = self._logits([(jobs.folds[0], form, split.folds[0]) for form in forms])
        population = f"{material.population}, each predicted by a network that never saw the fold"
        serving, of_forms = best_serving(
            dict(zip(forms, first, strict=True)), tuple(people[i] for i in split.folds[0]), f"{population}; first fold"
        )
        rest = [(job, serving, fold) for job, fold in zip(jobs.folds, split.folds, strict=True)]
        *own, unseen = self._logits([*rest, (jobs.final, serving, split.test)])
        out_of_fold = _predictions(
            material, [i for fold in split.folds for i in fold], np.concatenate(own), clinical, population
        )
        fusion = _calibrated(out_of_fold)
        later = f"{material.population} of the latest months, unseen in training and calibration"
        held = _predictions(material, split.test, unseen, clinical, later)
        ceiling = None if material.ceiling is None else material.ceiling[list(split.test)]
        metrics = (*unseen_metrics(held, fusion, ceiling), *out_of_fold_metrics(out_of_fold, fusion), *of_forms)
        return Asked(serving=serving, fusion=fusion, out_of_fold=out_of_fold, metrics=metrics)

    def _logits(self, questions: Sequence[tuple[Job, Serving, tuple[int, ...]]]) -> list[Floats]:
        kept = [self.network(job) for job, *_ in questions]
        missing = [
            (job.name, ask, (self._films, job, form, indices))
            for own, (job, form, indices) in zip(kept, questions, strict=True)
            if kept_logits(own, form, indices) is None
        ]
        self._run(missing)
        found = [kept_logits(own, form, i) for own, (_, form, i) in zip(kept, questions, strict=True)]
        return [logits for logits in found if logits is not None]

    def _run(self, wanted: Sequence[tuple[str, Callable[..., None], tuple[Any, ...]]]) -> None:
        if not wanted:
            return
        if self._pool is None:
            self._hire()
        assert self._pool is not None  # noqa: S101 - hired above
        futures: dict[Future[None], str] = {
            self._pool.submit(work, *arguments, self._messages): name for name, work, arguments in wanted
        }
        finished(futures, self._receiver.draw)

    def _hire(self) -> None:
        self._open.enter_context(_timed(self._plan, "networks, gate and predictions"))  # left last, the processes ended
        context = multiprocessing.get_context("spawn")
        self._messages = self._open.enter_context(context.Manager()).Queue()
        self._receiver = Receiver(self._messages, self._progress)
        self._pool = self._open.enter_context(ProcessPoolExecutor(self._plan.processes, mp_context=context))


def _material(plan: Plan, read: ReadFilm | None, progress: Progress) -> Material:
    if isinstance(plan.data, VirtualData):
        return virtual_material(plan, plan.data, progress)
    if read is None:
        msg = "a site's films need a reader"
        raise ValueError(msg)
    return site_material(plan, plan.data, read, progress)


def _clinical(plan: Plan, material: Material, split: Split) -> ClinicalPart:
    if isinstance(plan.data, VirtualData):
        return published_clinical(plan.data.table, material.films.patients)
    return own_clinical(material.films.patients, split, site=plan.data.site, licence=plan.data.licence)


def _gate_input(plan: Plan, material: Material, split: Split) -> GateInput:
    """Pictures of the material's own kind for the gate's bank, of training patients only."""
    chosen = split.train[:_GATE_PICTURES]
    people = [material.films.patients[i] for i in chosen]
    virtual = tuple(person for person in people if isinstance(person, VirtualPatient))
    pictures = () if virtual else tuple(material.films.picture(i) for i in chosen)
    return GateInput(films=plan.gate_films, seed=plan.seed, patients=virtual, pictures=pictures)


def _jobs(plan: Plan, split: Split) -> _Jobs:
    """The final network and the folds' differ in seed and patients only."""
    folds = tuple(
        Job(name=f"fold {k + 1}", indices=split.without(k), recipe=replace(plan.recipe, seed=plan.recipe.seed + k + 1))
        for k in range(plan.folds)
    )
    return _Jobs(folds=folds, final=Job(name="final", indices=split.train, recipe=plan.recipe))


def _calibrated(part: Predictions) -> Fusion:
    try:
        return fit_fusion(part.image_logits, part.p_clinical, part.truth)
    except ValueError as error:
        msg = f"the out-of-fold predictions cannot be calibrated: {error}"
        raise NotTrained(msg) from error


def _predictions(
    material: Material, positions: Sequence[int], logits: Floats, clinical: ClinicalPart, population: str
) -> Predictions:
    return Predictions(
        people=tuple(material.films.patients[i] for i in positions),
        image_logits=logits,
        p_clinical=clinical.probabilities[list(positions)],
        population=population,
    )


@contextmanager
def _timed(plan: Plan, step: str) -> Iterator[None]:
    """Add the CPU seconds of this step, here and in processes that ended within it, to those in the run folder."""
    before = _cpu()
    try:
        yield
    finally:
        taken = _times(plan)
        taken[step] = round(taken.get(step, 0.0) + _cpu() - before, 1)
        (plan.run / _TIMES).write_text(json.dumps(taken, indent=1) + "\n", encoding="utf-8")


def _times(plan: Plan) -> dict[str, float]:
    file: Path = plan.run / _TIMES
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _cpu() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
