"""Makes the demonstration bundle from nothing but virtual patients, a public table and public films: one command.

Renders, splits by patient, trains, calibrates on one part, measures on another, writes the bundle and reads it back.
Films and the trained network are kept in the run folder, so a broken run goes on. The result is trained on simulated
radiographs and says so everywhere. Not allowed here: a figure chosen after looking at the test part.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import safetensors.torch
import structlog
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from model import backbones
from model.clinical import ClinicalModel
from model.clinical_fit import fit_clinical
from model.domain import Sex, View
from model.fusion_fit import fit_fusion
from model.gate import GateModel
from model.gate_fit import GateEvaluation, fit_gate
from model.image_net import ImageNetwork
from model.phantom.cohort import VirtualPatient, sample
from model.phantom.render import render
from model.phantom.scenario import Acquisition, draw_acquisition
from model.train.films import Films, cache_key, render_films
from model.train.loop import Recipe, train_network
from model.train.measure import Asked, choose_serving, image_logits, predictions, unseen_metrics
from model.train.provenance import Making, draft_manifest
from model.train.split import Split, split_patients
from model.train.writer import Parts, float16, write_bundle

IMAGES: Final = 3200
SEED: Final = 7
RUN_FOLDER: Final = Path("training-run")

_SIDE: Final = 320
_RENDER_PROCESSES: Final = 2
_GATE_PHANTOMS: Final = 75
_FINE_GATE_PHANTOMS: Final = 25
_FINE_SIZE: Final = (1240, 1017)
"""Of a real detector's order: the gate must know films as fine as those that a node receives."""
_GOLDEN_SIZE: Final = (150, 122)
_MODEL: Final = Path(__file__).resolve().parents[1]
_SHAPED_BY: Final = ("backbones", "gradwave", "image_net", "train/augment", "train/films", "train/loop", "train/split")

_log = structlog.get_logger()


def train_demo(
    out: Path,
    *,
    table: Path,
    films: Path,
    seed: int = SEED,
    images: int = IMAGES,
    run: Path = RUN_FOLDER,
    console: Console | None = None,
) -> dict[str, float]:
    """Make the bundle at `out` and return its figures by name.

    `table` is the cleaned clinical table (CSV), `films` the folder of public films with manifest.csv, `images` the
    number of virtual patients in all three parts together, `run` the folder for what a broken run leaves to the next.

    Raises:
        OSError: the table or a film cannot be read.
        BundleError: `out` exists and is not a bundle, or the bundle does not pass its own checks.

    """
    with _progress(console) as progress:
        patients = sample(images, seed)
        split = split_patients(patients, seed=seed)
        clinical, rows = fit_clinical(table), len(table.read_text(encoding="utf-8-sig").splitlines()) - 1
        shown = render_films(patients, run, seed=seed, side=_SIDE, workers=_RENDER_PROCESSES, progress=progress)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as beside:
            gate_job = beside.submit(_gate, films, _gate_pictures(shown, split), seed)
            network, recipe = _trained(shown, split, run, seed=seed, progress=progress)
            asked = _asked(shown, split, network, recipe, clinical, progress)
            gate, rates = gate_job.result()
    making = Making(split=split, recipe=recipe, gamma=network.gammas(), clinical=clinical, gate=rates, table_rows=rows)
    parts = Parts(
        network=network,
        gate=gate,
        gate_trunk=backbones.imagenet_weights(),
        clinical=clinical,
        fusion=asked.fusion,
        golden=_golden_pictures(shown, split),
    )
    bundle = write_bundle(out, parts, draft_manifest(making, asked, side=_SIDE))
    size = sum(facts.size for facts in bundle.manifest.files.values())
    _log.info("train.bundle", bundle=bundle.manifest.bundle_id, megabytes=round(size / 1e6, 2))
    return {metric.name: metric.value for metric in bundle.manifest.metrics}


def _asked(
    films: Films, split: Split, network: ImageNetwork, recipe: Recipe, clinical: ClinicalModel, progress: Progress
) -> Asked:
    """Choose the serving form and calibrate on the calibration part, then measure once on the test part."""
    serving, logits, forms = choose_serving(network, films, split.calibration, crop=recipe.crop, progress=progress)
    held = predictions(films, split.calibration, logits, clinical)
    fusion = fit_fusion(held.image_logits, held.p_clinical, held.truth)
    logits = image_logits(network, serving, films, split.test, progress)
    metrics = unseen_metrics(predictions(films, split.test, logits, clinical), fusion)
    return Asked(serving=serving, fusion=fusion, held=held, metrics=(*metrics, *forms))


def _progress(console: Console | None) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console)


def _trained(films: Films, split: Split, run: Path, *, seed: int, progress: Progress) -> tuple[ImageNetwork, Recipe]:
    """The trained network after the float16 round trip, from the run folder when nothing that shapes it has changed."""
    recipe = Recipe(seed=seed)
    file = run / f"network-{_network_key(len(films.patients), recipe)}.safetensors"
    if not file.exists():
        trained = train_network(films, split.train, recipe, progress)
        safetensors.torch.save_file({n: v.contiguous() for n, v in trained.state_dict().items()}, file)
    network = ImageNetwork(recipe.stem)
    rounded = {name: torch.from_numpy(a) for name, a in float16(safetensors.torch.load_file(file)).items()}
    network.load_state_dict(rounded, strict=True)
    return network.eval(), recipe


def _network_key(count: int, recipe: Recipe) -> str:
    digest = hashlib.sha256(f"{count} {cache_key(seed=recipe.seed, side=_SIDE)} {recipe}".encode())
    for name in _SHAPED_BY:
        digest.update((_MODEL / f"{name}.py").read_bytes())
    return digest.hexdigest()[:12]


def _gate(films: Path, phantoms: Sequence[npt.NDArray[np.float32]], seed: int) -> tuple[GateModel, GateEvaluation]:
    """Runs in a process of its own while the image network trains."""
    return fit_gate(films, phantoms, backbones.FeatureTrunk(backbones.imagenet_weights()), seed=seed)


def _gate_pictures(films: Films, split: Split) -> tuple[npt.NDArray[np.float32], ...]:
    coarse, fine = split.train[_FINE_GATE_PHANTOMS:_GATE_PHANTOMS], split.train[:_FINE_GATE_PHANTOMS]
    return (*(films.picture(index) for index in coarse), *(_fine_film(films.patients[index]) for index in fine))


def _fine_film(patient: VirtualPatient) -> npt.NDArray[np.float32]:
    acquisition = draw_acquisition(np.random.default_rng(patient.index))
    return render(patient.subject, acquisition, patient.index, _FINE_SIZE)


def _golden_pictures(films: Films, split: Split) -> dict[str, npt.NDArray[np.float32]]:
    """Both sexes, both views, either truth, a wrong polarity and no film at all."""
    patients = [films.patients[index] for index in split.test]
    pictures = {
        f"{sex.name.lower()}-{view.value.lower()}": _golden_film(patients, sex, view, osteoporosis=osteoporosis)
        for sex in (Sex.FEMALE, Sex.MALE)
        for view, osteoporosis in ((View.PA, True), (View.AP, False))
    }
    noise = np.random.default_rng(0).random(_GOLDEN_SIZE, dtype=np.float32)
    return {**pictures, "inverted": 1 - pictures["female-pa"], "noise": noise}


def _golden_film(
    patients: Sequence[VirtualPatient], sex: Sex, view: View, *, osteoporosis: bool
) -> npt.NDArray[np.float32]:
    patient = next(p for p in patients if p.sex is sex and p.osteoporosis is osteoporosis)
    return render(patient.subject, Acquisition(view=view), patient.index, _GOLDEN_SIZE)
