"""Writes a bundle: float16 weights, JSON, golden set, manifest; then reads it back as a node would before it counts.

The golden figures are taken after the float16 round trip, through the runtime that serves. A folder that is not a
bundle is never overwritten. Not allowed here: pickle, fitting.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from torch import Tensor, nn

from model import bundle as bundles
from model.bundle import Bundle, BundleError, golden_check, judge_record, load_bundle, observe
from model.clinical import ClinicalModel
from model.domain import Sex
from model.fusion import Fusion
from model.gate import GateModel
from model.manifest import FileFacts, GoldenCase, Manifest
from model.train.card import model_card

Floats = npt.NDArray[np.float32]

_READABLE = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What goes into a bundle beside the manifest."""

    network: nn.Module
    gate: GateModel
    gate_trunk: Mapping[str, Tensor] = field(repr=False)
    """State dict of the gate's own trunk, without classifier."""
    clinical: ClinicalModel
    fusion: Fusion
    golden: Mapping[str, Floats] = field(repr=False)
    """Pictures by short name, (rows, columns) float32 in [0, 1], bone bright."""
    records: Sequence[tuple[str, float, Sex, float | None]] = ()
    """Picture, age in years, sex and weight in kg (None: unknown) of each golden record."""


def write_bundle(out: Path, parts: Parts, draft: Manifest) -> Bundle:
    """Write to a folder beside `out`, load it, take the golden figures, load it again, and only then replace `out`.

    `draft` is the manifest with any files, golden cases and bundle id; all three are set here.

    Raises:
        BundleError: `out` exists and is not a bundle, or the written bundle does not pass its own checks.

    """
    _refuse_foreign(out)
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    _write_parts(part, parts)
    manifest = _identified(part, draft)
    (part / bundles.CARD).write_text(model_card(manifest), encoding="utf-8")
    names = [f"{bundles.GOLDEN_FOLDER}/{name}.safetensors" for name in parts.golden]
    blank = tuple(GoldenCase(file=name, logit=0.0, gate_ratio=0.0, gate_accepts=False) for name in names)
    first = _write_manifest(part, manifest, blank)
    seen = tuple(observe(first, picture.pixels, picture.expected.file) for picture in first.golden)
    with_records = _with_records(manifest, first, seen, parts.records)
    golden_check(_write_manifest(part, with_records, seen))
    _replace(part, out)
    return load_bundle(out)


def amend_manifest(folder: Path, changes: Mapping[str, Any]) -> Bundle:
    """Write what was measured after the sealing (`engines`, `reduced_decode`) into a bundle's manifest.

    Raises:
        BundleError: the bundle does not load, before or after.

    """
    manifest = load_bundle(folder).manifest.model_copy(update=dict(changes))
    _write_json(folder / bundles.MANIFEST, manifest.model_dump(mode="json"))
    return load_bundle(folder)


def float16(state: Mapping[str, Tensor]) -> dict[str, npt.NDArray[Any]]:
    """Arrays for the disk: kernels as float16, vectors (biases, norms, their statistics) and counters as they are."""
    arrays = {name: value.detach().cpu().contiguous().numpy() for name, value in state.items()}
    return {name: a.astype(np.float16) if a.ndim > 1 else a for name, a in arrays.items()}


def _refuse_foreign(out: Path) -> None:
    if out.exists() and any(out.iterdir()) and not (out / bundles.MANIFEST).exists():
        msg = f"{out}: exists and is not a bundle; give a new folder"
        raise BundleError(msg)


def _write_parts(folder: Path, parts: Parts) -> None:
    (folder / bundles.GOLDEN_FOLDER).mkdir(parents=True)
    safetensors.numpy.save_file(float16(parts.network.state_dict()), folder / bundles.IMAGE)
    own, numbers = parts.gate.to_arrays()
    metadata = {bundles.GATE_NUMBERS: json.dumps(numbers, sort_keys=True)}
    trunk = {f"{bundles.TRUNK_PREFIX}{name}": array for name, array in float16(parts.gate_trunk).items()}
    safetensors.numpy.save_file({**own, **trunk}, folder / bundles.GATE, metadata=metadata)
    _write_json(folder / bundles.CLINICAL, parts.clinical.to_dict())
    _write_json(folder / bundles.FUSION, parts.fusion.to_dict())
    for name, pixels in parts.golden.items():
        arrays = {bundles.GOLDEN_ARRAY: np.round(pixels * bundles.GOLDEN_WHITE).astype(np.uint8)}
        safetensors.numpy.save_file(arrays, folder / bundles.GOLDEN_FOLDER / f"{name}.safetensors")
    for path in folder.rglob("*.safetensors"):
        path.chmod(_READABLE)  # the library writes 0600, and a node rarely runs as the user who trained


def _identified(folder: Path, draft: Manifest) -> Manifest:
    """The draft with an id that follows from the content of the parts."""
    digests = "".join(facts.sha256 for _, facts in sorted(_files(folder).items()))
    suffix = hashlib.sha256(digests.encode()).hexdigest()[:12]
    return draft.model_copy(update={"bundle_id": f"{draft.bundle_id}-{suffix}"})


def _write_manifest(folder: Path, manifest: Manifest, cases: tuple[GoldenCase, ...]) -> Bundle:
    golden = manifest.golden.model_copy(update={"cases": cases})
    complete = manifest.model_copy(update={"golden": golden, "files": _files(folder)})
    _write_json(folder / bundles.MANIFEST, complete.model_dump(mode="json"))
    return load_bundle(folder)


def _with_records(
    manifest: Manifest,
    bundle: Bundle,
    seen: tuple[GoldenCase, ...],
    people: Sequence[tuple[str, float, Sex, float | None]],
) -> Manifest:
    logits = {case.file: case.logit for case in seen}
    records = []
    for name, age, sex, weight in people:
        file = f"{bundles.GOLDEN_FOLDER}/{name}.safetensors"
        records.append(judge_record(bundle, logits[file], file, age_years=age, sex=sex, weight_kg=weight))
    golden = manifest.golden.model_copy(update={"records": tuple(records)})
    return manifest.model_copy(update={"golden": golden})


def _files(folder: Path) -> dict[str, FileFacts]:
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != bundles.MANIFEST)
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
    return {name: FileFacts(sha256=hashlib.sha256(data).hexdigest(), size=len(data)) for name, data in contents.items()}


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _replace(part: Path, out: Path) -> None:
    old = out.with_name(f"{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    part.rename(out)
    shutil.rmtree(old, ignore_errors=True)
