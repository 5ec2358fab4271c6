"""Makes a bundle: films, division, one network per fold and one on all of them, calibration, figures, seal.

Each fold is predicted by a network trained on the others; calibration, fusion and thresholds rest on these predictions
alone. The network that ships is trained on all folds. Known bias: it saw more patients than the networks it is
calibrated by, so its logits may be a little steeper; the held-out part shows by how much. A plan that keeps patients
`apart` has no such bias: they rest on what the network that ships says about these, whom it never saw.
Everything is kept in the run folder, so a broken run goes on and `seal` is cheap. Not allowed here: a figure chosen
after looking at the held-out part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import structlog
from rich.console import Console
from rich.progress import Progress

from model import backbones
from model.bundle import Bundle
from model.fusion import Fusion
from model.fusion_fit import fit_fusion
from model.manifest import Serving
from model.phantom.cohort import VirtualPatient
from model.train.cpu_seconds import seconds_by_step, spent
from model.train.gate_part import GateInput
from model.train.golden import GOLDEN_PEOPLE, golden_pictures
from model.train.jobs import Floats, Job, keep_films
from model.train.material import (
    ClinicalPart,
    Material,
    own_clinical,
    published_clinical,
    virtual_material,
)
from model.train.measure import Asked, Predictions, best_serving, fitted_metrics, folds_auc, unseen_metrics
from model.train.plan import Plan, VirtualData
from model.train.provenance import Making, draft_manifest
from model.train.relay import bars
from model.train.site import site_material
from model.train.site_films import ReadFilm
from model.train.split import Split, TooFewPatients, latest_films, one_film_each, split_by_time
from model.train.workshop import Jobs, NotTrained, Workshop
from model.train.writer import Parts, write_bundle

_log = structlog.get_logger()
_GATE_PICTURES: Final = 120


def make_bundle(
    plan: Plan, *, read: ReadFilm | None = None, train_missing: bool = True, console: Console | None = None
) -> Bundle:
    """Make, measure and write the bundle that `plan` describes, taking over what earlier runs left.

    `read` reads a site's film from a file. `train_missing=False` seals: it only measures and writes.

    Raises:
        NotTrained: sealing, and a network or the gate is missing; or the networks learned nothing.
        OSError: data cannot be read.
        LeakageError, ManifestError, TooFewPatients: the site's data cannot be used as they are.
        BundleError: `plan.out` exists and is not a bundle, or the bundle does not pass its own checks.

    """
    plan.run.mkdir(parents=True, exist_ok=True)
    with bars(console) as progress:
        with spent(plan.run, "films"):
            material = _material(plan, read, progress)
        split = _split(plan, material)
        films = keep_films(material.films, plan.run)
        jobs, clinical = _jobs(plan, split), _clinical(plan, material, split)
        with Workshop(plan, films, progress, may_train=train_missing) as workshop:
            gate, rates = workshop.train(jobs, _gate_input(plan, material, split))
            asked = _measured(workshop, plan, jobs, (material, split, clinical))
    kept = workshop.network(jobs.final)
    network = kept.load(plan.recipe)
    making = Making(
        plan=plan,
        material=material,
        split=split,
        epochs=kept.epochs,
        gamma=network.gammas(),
        clinical=clinical,
        gate=rates,
        cpu_seconds=seconds_by_step(plan.run),
    )
    parts = Parts(
        network=network,
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


def _measured(workshop: Workshop, plan: Plan, jobs: Jobs, given: tuple[Material, Split, ClinicalPart]) -> Asked:
    """Choose the serving form on the first fold, calibrate on all or on those kept apart, measure the held-out part.

    By one film of each patient, whatever the networks were trained on.
    """
    material, divided, clinical = given
    split = one_film_each(divided, material.members)
    people = material.films.patients
    forms = (Serving(crop=plan.side, mirror=False), Serving(crop=plan.recipe.crop, mirror=True))
    first = workshop.logits([(jobs.folds[0], form, split.folds[0]) for form in forms])
    population = f"{material.population}, each predicted by a network that never saw the fold"
    serving, of_forms = best_serving(
        dict(zip(forms, first, strict=True)), tuple(people[i] for i in split.folds[0]), f"{population}; first fold"
    )
    own = workshop.logits([(job, serving, fold) for job, fold in zip(jobs.folds, split.folds, strict=True)])
    workshop.finish()
    half = len(split.apart) // 2
    parts = (split.test, *filter(None, (split.apart[:half], split.apart[half:])))  # a process each
    unseen, *apart = workshop.logits([(jobs.final, serving, part) for part in parts])
    of_folds = _predictions(
        material, [i for fold in split.folds for i in fold], np.concatenate(own), clinical, population
    )
    basis, fitted_on = of_folds, "out-of-fold"
    if apart:
        kept = f"{material.population} kept from the training of the network that ships"
        basis, fitted_on = _predictions(material, split.apart, np.concatenate(apart), clinical, kept), "kept-apart"
    fusion = _calibrated(basis)
    later = f"{material.population} of the latest months, unseen in training and calibration"
    held = _predictions(material, split.test, unseen, clinical, later)
    ceiling = None if material.ceiling is None else material.ceiling[list(split.test)]
    fitted = [*fitted_metrics(basis, fusion, fitted_on), *([folds_auc(of_folds, own)] if apart else ())]
    metrics = (*unseen_metrics(held, fusion, ceiling), *fitted, *of_forms)
    return Asked(serving=serving, fusion=fusion, basis=basis, metrics=metrics)


def _split(plan: Plan, material: Material) -> Split:
    shares = {"held_out": plan.held_out, "apart": plan.apart}
    drawn_for_it = plan.data.calibration if isinstance(plan.data, VirtualData) else 0
    divided = len(material.members) - drawn_for_it
    split = split_by_time(material.members[:divided], folds=plan.folds, seed=plan.seed, **shares)
    split = replace(split, apart=(*split.apart, *range(divided, len(material.members))))
    _refuse_one_class(one_film_each(split, material.members), material)
    return split


def _refuse_one_class(asked: Split, material: Material) -> None:
    """Before hours of training: no figure can be had from a part of one class."""
    parts = {"first fold": asked.folds[0], "held-out part": asked.test}
    for name, part in (parts | {"part kept apart": asked.apart} if asked.apart else parts).items():
        positives = sum(material.films.patients[i].osteoporosis for i in part)
        if positives in (0, len(part)):
            msg = f"the {name} has {len(part)} patients, {positives} of them with osteoporosis; both classes are needed"
            raise TooFewPatients(msg)


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
    people, members = material.films.patients, material.members
    return own_clinical(people, members, split, site=plan.data.site, licence=plan.data.licence)


def _gate_input(plan: Plan, material: Material, split: Split) -> GateInput:
    """Pictures of the material's own kind for the gate's bank, of training patients only and one of each.

    The gate's folds would otherwise judge a patient by another film of the same chest.
    """
    chosen = latest_films(split.train, material.members)[:_GATE_PICTURES]
    people = [material.films.patients[i] for i in chosen]
    virtual = tuple(person for person in people if isinstance(person, VirtualPatient))
    pictures = () if virtual else tuple(material.films.picture(i) for i in chosen)
    return GateInput(films=plan.gate_films, seed=plan.seed, patients=virtual, pictures=pictures)


def _jobs(plan: Plan, split: Split) -> Jobs:
    """The final network and the folds' differ in seed, patients and, where the plan says so, epochs."""
    of_fold = replace(plan.recipe, epochs=plan.fold_epochs or plan.recipe.epochs)
    folds = tuple(
        Job(name=f"fold {k + 1}", indices=split.without(k), recipe=replace(of_fold, seed=plan.recipe.seed + k + 1))
        for k in range(plan.folds)
    )
    return Jobs(folds=folds, final=Job(name="final", indices=split.shipped, recipe=plan.recipe))


def _calibrated(part: Predictions) -> Fusion:
    try:
        return fit_fusion(part.image_logits, part.p_clinical, part.truth)
    except ValueError as error:
        msg = f"predictions about unseen patients cannot be calibrated: {error}"
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
