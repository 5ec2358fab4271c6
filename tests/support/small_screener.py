"""A real screener of small parts: gate fitted on a few phantoms, image network untrained and of 96 px."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from support.model_parts import CLINICAL, FUSION

from model.backbones import FeatureTrunk, imagenet_weights
from model.bundle import Bundle
from model.domain import InstanceReference, ModelFacts, Radiograph, Sex, View
from model.gate import GateModel
from model.gate_fit import GateEvaluation, fit_gate
from model.image_net import DEFAULT_STEM, ImageNetwork
from model.manifest import Manifest
from model.phantom.cohort import sample
from model.phantom.render import render
from model.phantom.scenario import Acquisition, draw_acquisition
from model.preprocess import RESIZER
from model.runtime_torch import TorchRuntime
from model.screener import Screener

SIDE = 96
FILM_COUNT = 11
REFERENCE = InstanceReference(
    study_uid="1.2.3", series_uid="1.2.3.1", sop_instance_uid="1.2.3.1.1", sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1"
)


def phantom(seed: int) -> np.ndarray:
    """(256, 256) float32, bone bright."""
    patient = sample(1, seed)[0]
    return render(patient.subject, draw_acquisition(np.random.default_rng(seed)), seed, size=(256, 256))


def radiograph(pixels: np.ndarray, **changes) -> Radiograph:
    facts = {"age_years": 71.0, "sex": Sex.FEMALE, "view": View.PA, **changes}
    return Radiograph(reference=REFERENCE, pixels=np.ascontiguousarray(pixels, np.float32), **facts)


@cache
def feature_trunk() -> FeatureTrunk:
    return FeatureTrunk(imagenet_weights())


@cache
def small_gate() -> tuple[GateModel, GateEvaluation]:
    """Most phantoms play the films, two per patient, among them one child that must not be used."""
    with TemporaryDirectory() as folder:
        films = film_folder(Path(folder))
        return fit_gate(films, [phantom(100 + index) for index in range(3)], feature_trunk())


def film_folder(films: Path) -> Path:
    """Fill the folder with what the gate takes for real films, and their manifest."""
    rows = [_film(films, index) for index in range(FILM_COUNT)]
    with (films / "manifest.csv").open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, ["file", "age", "patient"])
        writer.writeheader()
        writer.writerows(rows)
    return films


@cache
def small_screener() -> Screener:
    torch.manual_seed(0)
    network = ImageNetwork(DEFAULT_STEM)
    manifest = _manifest()
    bundle = Bundle(
        folder=Path(),
        manifest=manifest,
        facts=ModelFacts(
            bundle_id=manifest.bundle_id,
            name=manifest.name,
            version=manifest.version,
            image_sha256="0" * 64,
            clinical_sha256="1" * 64,
            fusion=FUSION.describe(),
            calibration_id=FUSION.calibration_id,
            simulated_training=True,
        ),
        runtime=TorchRuntime(network, manifest.image.serving),
        clinical=CLINICAL,
        fusion=FUSION,
        gate=small_gate()[0],
        gate_features=feature_trunk(),
        golden=(),
    )
    return Screener(bundle)


def upright() -> np.ndarray:
    """A phantom the small gate has not seen, by an ordinary exposure."""
    return render(sample(1, 900)[0].subject, Acquisition(), 900, size=(256, 256))


def _film(folder: Path, index: int) -> dict[str, object]:
    name = f"{index:03d}.png"
    cv2.imwrite(str(folder / name), np.round(phantom(index) * 255).astype(np.uint8))
    return {"file": name, "age": 12 if index == FILM_COUNT - 1 else 60 + index, "patient": f"p{index // 2}"}


def _manifest() -> Manifest:
    return Manifest.model_validate(
        {
            "schema_version": 2,
            "bundle_id": "small-test",
            "name": "small",
            "version": "0",
            "intended_use": "tests",
            "contraindications": (),
            "files": {},
            "image": {
                "trunk": "efficientnet_lite0",
                "side": SIDE,
                "serving": {"crop": SIDE, "mirror": False},
                "normalisation": "(255 x - 127) / 128",
                "tap_strides": (8, 16),
                "wavelet": DEFAULT_STEM,
                "wavelet_levels": 4,
                "attention": True,
                "resizer": RESIZER,
                "minimum_short_side": 120,
            },
            "calibration": {
                "id": FUSION.calibration_id,
                "patients": 1,
                "folds": 5,
                "prevalence": 0.2,
                "target_sensitivity": 0.9,
                "target_specificity": 0.9,
                "empty_zone": {},
            },
            "eligibility": {
                "minimum_age_years": 50,
                "views": ("PA", "AP"),
                "required_variables": ("age", "sex", "weight"),
                "optional_variables": (),
            },
            "training": {
                "simulated": True,
                "data": (),
                "weights": {
                    "package": "x",
                    "version": "0",
                    "sha256": "0" * 64,
                    "licence_file": "x",
                    "licence_metadata": "x",
                },
                "seed": 0,
                "commit": "x",
                "software": {},
                "epochs": 0,
                "gamma": (0.0, 0.0),
                "held_out_from": "2019-01-02",
            },
            "metrics": (),
            "golden": {
                "logit_tolerance": 1e-3,
                "ratio_tolerance": 1e-3,
                "cases": ({"file": "none", "logit": 0.0, "gate_ratio": 0.0, "gate_accepts": True},),
            },
        }
    )
