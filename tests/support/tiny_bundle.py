"""A bundle written as the product writes one, of untrained parts: for tests of loading, refusing and screening."""

from __future__ import annotations

import datetime as dt
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from support.model_parts import CLINICAL, FUSION

from model.backbones import CHANNELS, Lite0
from model.domain import Sex
from model.gate import POSES, GateModel
from model.gate_fit import GateEvaluation
from model.image_net import ImageNetwork
from model.manifest import DataSource, Manifest, Serving
from model.phantom.cohort import sample
from model.phantom.render import render
from model.phantom.scenario import Acquisition
from model.train.films import Films
from model.train.material import ClinicalPart, Material
from model.train.measure import Asked, Predictions
from model.train.people import virtual_members
from model.train.plan import preset
from model.train.provenance import Making, draft_manifest
from model.train.split import Split
from model.train.writer import Parts, write_bundle

SIDE = 64


def write_tiny_bundle(out: Path) -> Path:
    """Write it to `out` (about 14 MB) and give the folder back."""
    write_bundle(out, tiny_parts(), tiny_manifest())
    return out


@cache
def tiny_files() -> dict[str, bytes]:
    """The files of a tiny bundle by relative path, written once per test run."""
    with TemporaryDirectory() as folder:
        out = write_tiny_bundle(Path(folder) / "tiny")
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def copy_tiny_bundle(out: Path) -> Path:
    """A fresh copy that a test may spoil."""
    for name, data in tiny_files().items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    return out


def tiny_parts() -> Parts:
    torch.manual_seed(0)
    patient = sample(1, 1)[0]
    return Parts(
        network=ImageNetwork(),
        gate=tiny_gate(),
        gate_trunk=Lite0().state_dict(),
        clinical=CLINICAL,
        fusion=FUSION,
        golden={"film": render(patient.subject, Acquisition(), 1, (80, 64)), "blank": np.zeros((40, 40), np.float32)},
        records=(("film", 74.0, Sex.FEMALE, 52.0), ("film", 74.0, Sex.FEMALE, None)),
    )


def tiny_manifest() -> Manifest:
    patients = sample(4, 1)
    plan = preset("demo", {"side": SIDE})
    material = Material(
        films=Films(
            patients=patients,
            owners=tuple(str(patient.index) for patient in patients),
            images=np.zeros((4, SIDE, SIDE), np.uint16),
            boxes=np.tile(np.array([0, 0, SIDE, SIDE], np.int16), (4, 1)),
        ),
        members=virtual_members(patients),
        simulated=True,
        population="simulated patients",
        intended_use="Tests.",
        contraindications=("Not for clinical use.",),
        source="procedural radiographs",
        licence="Apache-2.0",
        ceiling=None,
    )
    source = DataSource(use="clinical model", source=CLINICAL.provenance, licence="", count=969, simulated=False)
    part = Predictions(
        people=patients, image_logits=np.zeros(4), p_clinical=np.full(4, 0.2), population="simulated patients"
    )
    making = Making(
        plan=plan,
        material=material,
        split=Split(folds=((0,), (1,)), test=(2, 3), left_out=(), cut=dt.date(2019, 1, 2)),
        epochs=2,
        gamma=(0.0, 0.0),
        clinical=ClinicalPart(model=CLINICAL, probabilities=np.full(4, 0.2), source=source),
        gate=tiny_rates(),
        cpu_seconds={},
    )
    asked = Asked(serving=Serving(crop=SIDE, mirror=True), fusion=FUSION, basis=part, metrics=())
    return draft_manifest(making, asked)


def tiny_gate() -> GateModel:
    rng = np.random.default_rng(0)
    bank = rng.random((6, CHANNELS))
    return GateModel(
        weights=(rng.normal(size=(len(POSES), 3 * CHANNELS)) * 1e-3).astype(np.float32),
        bias=np.zeros(len(POSES), np.float32),
        bank=(bank / np.linalg.norm(bank, axis=1, keepdims=True)).astype(np.float16),
        distance_limit=0.5,
        mirrored_at=0.7,
    )


def tiny_rates() -> GateEvaluation:
    return GateEvaluation(
        films=4,
        patients=3,
        phantoms=2,
        unfit=4,
        upright_accepted=1.0,
        upright_accepted_by_pose=1.0,
        transforms_refused=1.0,
        mirrored_found=0.5,
        mirrored_false=0.0,
        phantoms_accepted=1.0,
        laterals_refused=1.0,
        others_refused=1.0,
        accepted_by_pose={},
    )
