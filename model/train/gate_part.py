"""The applicability gate of a bundle, fitted beside the image network and kept under what shaped it.

It shares no weights with the image network, so that a retrained model does not move the gate.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from model import backbones
from model.gate import GateModel
from model.gate_fit import GateEvaluation, fit_gate
from model.gate_phantoms import frontal_phantoms, unfit_phantoms
from model.phantom.cohort import VirtualPatient
from model.preprocess import RESIZER
from model.train.jobs import MODEL, source_digest
from model.train.relay import Sender

_SHAPED_BY: Final = ("backbones", "gate", "gate_fit", "gate_phantoms", "logistic")

Picture = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateInput:
    """What a gate is fitted on beside laterals and strangers, which are simulated for every gate."""

    films: Path
    """Folder of real films with manifest.csv."""
    seed: int
    patients: tuple[VirtualPatient, ...] = field(default=(), repr=False)
    """Whose simulated upright films join the bank."""
    pictures: tuple[Picture, ...] = field(default=(), repr=False)
    """A site's own upright films, of one patient each, which join it instead."""

    @property
    def key(self) -> str:
        """Twelve hex digits over everything that shapes the gate."""
        phantom = sorted(path.relative_to(MODEL).with_suffix("").as_posix() for path in MODEL.glob("phantom/**/*.py"))
        sources = source_digest((*_SHAPED_BY, *phantom))
        digest = hashlib.sha256(f"{self.seed} {RESIZER} {sources} {self.patients}".encode())
        digest.update((self.films / "manifest.csv").read_bytes())
        for picture in self.pictures:
            digest.update(np.ascontiguousarray(picture).data)
        return digest.hexdigest()[:12]


def kept_gate(run: Path, key: str) -> tuple[GateModel, GateEvaluation] | None:
    """What an earlier run left."""
    file = run / f"gate-{key}.safetensors"
    if not file.exists():
        return None
    noted = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    return GateModel.from_arrays(safetensors.numpy.load_file(file), noted["numbers"]), GateEvaluation(**noted["rates"])


def fit_and_keep(run: Path, key: str, given: GateInput, messages: Any) -> None:
    """Fit and keep; runs in a process of its own."""
    sender = Sender(messages, "gate")
    task = sender.add_task("fit the gate", total=None)
    features = backbones.FeatureTrunk(backbones.imagenet_weights())
    gate, rates = fit_gate(
        given.films,
        frontal_phantoms(given.patients, given.seed),
        features,
        own=given.pictures,
        unfit=unfit_phantoms(given.seed),
        seed=given.seed,
        progress=lambda _done, _total: sender.advance(task),
    )
    keep_gate(run, key, gate, rates)


def keep_gate(run: Path, key: str, gate: GateModel, rates: GateEvaluation) -> None:
    """Write a gate where `kept_gate` finds it."""
    arrays, numbers = gate.to_arrays()
    file = run / f"gate-{key}.safetensors"
    noted = {"numbers": numbers, "rates": asdict(rates)}
    file.with_suffix(".json").write_text(json.dumps(noted, indent=1) + "\n", encoding="utf-8")
    part = file.with_suffix(".part")
    safetensors.numpy.save_file(arrays, part)
    os.replace(part, file)  # noqa: PTH105 - the atomic replace that a killed run needs
