"""A model bundle on disk: verified, parsed and ready to run, or refused with one line that names the file and the fix.

    bundle/  manifest.json  image.safetensors  gate.safetensors  clinical.json  fusion.json  golden/*.safetensors
    MODEL_CARD.md

Every file but the manifest is listed in it with size and SHA-256, and each is read once: the bytes that were hashed
are the bytes that are parsed. An extra file is refused like a changed one, so nothing can ride along. Weights are
float16 on disk and float32 in memory. Not allowed here: pickle, a network, repairing anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from pydantic import ValidationError
from safetensors import SafetensorError

from model.clinical import ClinicalModel
from model.domain import ModelFacts, Sex
from model.fusion import Fusion, decide
from model.gate import FeatureMap, GateModel
from model.manifest import SCHEMA_VERSION, GoldenCase, GoldenRecord, ImageSpec, Manifest
from model.preprocess import RESIZER, prepare
from model.runtime import Engine, ImageRuntime

MANIFEST: Final = "manifest.json"
IMAGE: Final = "image.safetensors"
GATE: Final = "gate.safetensors"
CLINICAL: Final = "clinical.json"
FUSION: Final = "fusion.json"
CARD: Final = "MODEL_CARD.md"
GOLDEN_FOLDER: Final = "golden"
TRUNK_PREFIX: Final = "trunk."
"""Of the gate's own trunk inside gate.safetensors; all other names there belong to the gate."""
GATE_NUMBERS: Final = "gate"
GOLDEN_ARRAY: Final = "pixels"
"""uint8 (rows, columns); `GOLDEN_WHITE` stands for 1."""
GOLDEN_WHITE: Final = 255

_T = TypeVar("_T")
_REQUIRED: Final = (IMAGE, GATE, CLINICAL, FUSION, CARD)


class BundleError(Exception):
    """The bundle must not serve. The message is one line: the file, what is wrong, the fix. A person must act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenPicture:
    """One stored picture, float32 (rows, columns) in [0, 1], bone bright, and what must come out of it."""

    expected: GoldenCase
    pixels: npt.NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A verified bundle, its parts built and ready to run."""

    folder: Path
    manifest: Manifest
    facts: ModelFacts
    runtime: ImageRuntime
    clinical: ClinicalModel
    fusion: Fusion
    gate: GateModel
    gate_features: FeatureMap
    golden: tuple[GoldenPicture, ...] = field(repr=False)

    @property
    def side(self) -> int:
        """Side of the prepared square the image network was trained on, px."""
        return self.manifest.image.side


BuildEngine = Callable[[ImageSpec, Mapping[str, npt.NDArray[Any]], Mapping[str, npt.NDArray[Any]]], Engine]
"""Specification and arrays of the image network, arrays of the gate's trunk -> both, ready to run."""


def load_bundle(folder: Path, build: BuildEngine | None = None) -> Bundle:
    """Verify and build the bundle in `folder`. Takes about a second; opens no socket and unpickles nothing.

    `build` makes the engine of both networks; None is the reference, torch on the CPU, which only then is imported.

    Raises:
        BundleError: a file is missing, extra, changed or unreadable, or the manifest is of another schema or not
        understood.

    """
    manifest = read_manifest(folder)
    contents = _verified(folder, manifest)
    return _build(folder, manifest, contents, build or _reference())


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone, checked against the schema and against this code's preprocessing.

    Raises:
        BundleError: it is missing, of another schema, not understood, or made with another resizer.

    """
    try:
        values = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise _refusal(folder, MANIFEST, "is missing", "give the folder of a bundle made by `osteon train`") from error
    except (OSError, ValueError) as error:
        raise _refusal(folder, MANIFEST, f"cannot be read ({type(error).__name__})", _REINSTALL) from error
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        fix = f"this version of Osteon reads schema {SCHEMA_VERSION}; install the matching one or train the bundle anew"
        raise _refusal(folder, MANIFEST, f"has schema version {version!r}", fix)
    try:
        manifest = Manifest.model_validate_json(json.dumps(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise _refusal(folder, MANIFEST, f"has a bad field {key!r} ({first['msg']})", _REINSTALL) from error
    if manifest.image.resizer != RESIZER:
        problem = f"names the resizer {manifest.image.resizer!r}, this code has {RESIZER!r}"
        raise _refusal(folder, MANIFEST, problem, "train the bundle anew with this version")
    return manifest


def verify_files(folder: Path) -> None:
    """Hash every file again without building anything: the daily check.

    Raises:
        BundleError: as `load_bundle`.

    """
    _verified(folder, read_manifest(folder))


def golden_check(bundle: Bundle, *, logit_tolerance: float | None = None) -> None:
    """Run the golden set through the runtime and the gate that serve.

    `logit_tolerance` replaces the manifest's, which is for float32, where an engine computes with fewer bits.

    Raises:
        BundleError: a logit or gate verdict differs from the manifest's beyond its tolerance.

    """
    golden = bundle.manifest.golden
    tolerance = golden.logit_tolerance if logit_tolerance is None else logit_tolerance
    for picture in bundle.golden:
        expected, seen = picture.expected, observe(bundle, picture.pixels, picture.expected.file)
        if abs(seen.logit - expected.logit) > tolerance:
            raise _drift(bundle, expected, "logit", expected.logit, seen.logit)
        if abs(seen.gate_ratio - expected.gate_ratio) > golden.ratio_tolerance:
            raise _drift(bundle, expected, "gate ratio", expected.gate_ratio, seen.gate_ratio)
        if seen.gate_accepts != expected.gate_accepts:
            raise _drift(bundle, expected, "gate verdict", expected.gate_accepts, seen.gate_accepts)
        _check_records(bundle, expected)


def judge_record(
    bundle: Bundle, logit: float, file: str, *, age_years: float, sex: Sex, weight_kg: float | None
) -> GoldenRecord:
    """What the bundle's clinical model, fusion and thresholds make of an image logit and one record."""
    fusion = bundle.fusion
    clinical = bundle.clinical.probability(age_years=age_years, sex=sex, weight_kg=weight_kg)
    p = fusion.image_only(logit) if clinical is None else fusion.fused(logit, clinical[0])
    category = decide(p, fusion.image_points if clinical is None else fusion.fused_points)
    return GoldenRecord.model_validate(
        {
            "file": file,
            "age_years": age_years,
            "sex": sex.value,
            "weight_kg": weight_kg,
            "probability": p,
            "category": category.name,
        }
    )


def observe(bundle: Bundle, pixels: npt.NDArray[np.float32], file: str) -> GoldenCase:
    """What the bundle's own runtime and gate say about one picture."""
    verdict = bundle.gate.judge(pixels, bundle.gate_features)
    logit = bundle.runtime.infer(prepare(pixels, bundle.side)).logit
    return GoldenCase(file=file, logit=logit, gate_ratio=verdict.ratio, gate_accepts=verdict.accepted)


def _check_records(bundle: Bundle, case: GoldenCase) -> None:
    """From the expected logit, so that this holds clinical model, fusion and thresholds, whatever the engine."""
    golden = bundle.manifest.golden
    for expected in (record for record in golden.records if record.file == case.file):
        seen = judge_record(
            bundle,
            case.logit,
            case.file,
            sex=Sex(expected.sex),
            age_years=expected.age_years,
            weight_kg=expected.weight_kg,
        )
        if abs(seen.probability - expected.probability) > golden.probability_tolerance:
            raise _drift(bundle, case, "probability", expected.probability, seen.probability)
        if seen.category != expected.category:
            raise _drift(bundle, case, "category", expected.category, seen.category)


_REINSTALL: Final = "restore the bundle from its source"


def _refusal(folder: Path, file: str, problem: str, fix: str) -> BundleError:
    return BundleError(f"{folder / file}: {problem}; {fix}")


def _drift(bundle: Bundle, case: GoldenCase, what: str, expected: object, seen: object) -> BundleError:
    facts = bundle.runtime.facts()
    fix = "install the software versions of the manifest, or accept this runtime by training the bundle anew"
    problem = f"golden {what} is {seen}, expected {expected} ({facts})"
    return _refusal(bundle.folder, case.file, problem, fix)


def _verified(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Contents of all listed files after checking that they are exactly the files there are."""
    present = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    }
    listed = {*manifest.files, MANIFEST}
    if missing := sorted((listed | {*_REQUIRED}) - present):
        raise _refusal(folder, missing[0], "is missing", _REINSTALL)
    if extra := sorted(present - listed):
        raise _refusal(folder, extra[0], "is not part of the bundle", "remove it")
    contents = {}
    for name, facts in manifest.files.items():
        data = _read(folder, name)
        if len(data) != facts.size or hashlib.sha256(data).hexdigest() != facts.sha256:
            raise _refusal(folder, name, "was changed (size or SHA-256 differs from the manifest)", _REINSTALL)
        contents[name] = data
    return contents


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise _refusal(folder, name, f"cannot be read ({error.strerror})", "check its permissions") from error


def _reference() -> BuildEngine:
    from model.runtime_torch import torch_engine  # noqa: PLC0415 - 2 s and 400 MB that another engine does without

    return torch_engine


def _build(folder: Path, manifest: Manifest, contents: Mapping[str, bytes], build: BuildEngine) -> Bundle:
    gate_arrays = _arrays(folder, GATE, contents)
    own = {name: value for name, value in gate_arrays.items() if not name.startswith(TRUNK_PREFIX)}
    trunk = {n.removeprefix(TRUNK_PREFIX): v for n, v in gate_arrays.items() if n.startswith(TRUNK_PREFIX)}
    fusion: Fusion = _parsed(folder, FUSION, lambda: Fusion.from_dict(json.loads(contents[FUSION])))
    if fusion.calibration_id != manifest.calibration.id:
        raise _refusal(folder, FUSION, "does not hold the calibration the manifest names", _REINSTALL)
    image = _arrays(folder, IMAGE, contents)
    engine = _parsed(folder, IMAGE, lambda: build(manifest.image, image, trunk))
    return Bundle(
        folder=folder,
        manifest=manifest,
        facts=_facts(manifest, fusion),
        runtime=engine.runtime,
        clinical=_parsed(folder, CLINICAL, lambda: ClinicalModel.from_dict(json.loads(contents[CLINICAL]))),
        fusion=fusion,
        gate=_parsed(folder, GATE, lambda: GateModel.from_arrays(own, gate_numbers(contents[GATE]))),
        gate_features=engine.features,
        golden=tuple(
            GoldenPicture(expected=case, pixels=_golden_pixels(folder, case.file, contents))
            for case in manifest.golden.cases
        ),
    )


def _facts(manifest: Manifest, fusion: Fusion) -> ModelFacts:
    return ModelFacts(
        bundle_id=manifest.bundle_id,
        name=manifest.name,
        version=manifest.version,
        image_sha256=manifest.files[IMAGE].sha256,
        clinical_sha256=manifest.files[CLINICAL].sha256,
        fusion=fusion.describe(),
        calibration_id=fusion.calibration_id,
        simulated_training=manifest.training.simulated,
    )


def _golden_pixels(folder: Path, file: str, contents: Mapping[str, bytes]) -> npt.NDArray[np.float32]:
    if file not in contents:
        raise _refusal(folder, file, "is a golden case without a listed file", _REINSTALL)
    return np.asarray(_arrays(folder, file, contents)[GOLDEN_ARRAY] / np.float32(GOLDEN_WHITE), np.float32)


def _arrays(folder: Path, name: str, contents: Mapping[str, bytes]) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = _parsed(folder, name, lambda: safetensors.numpy.load(contents[name]))
    return arrays


def gate_numbers(data: bytes) -> dict[str, str]:
    """The gate's numbers from a safetensors header (its length is the first 8 bytes, little-endian).

    They are one JSON text under one key: safetensors writes several keys in random order, and a bundle made twice must
    have the same hashes.
    """
    length = int.from_bytes(data[:8], "little")
    numbers: dict[str, str] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][GATE_NUMBERS])
    return numbers


def _parsed(folder: Path, name: str, build: Callable[[], _T]) -> _T:
    """`build()`, with whatever a well-hashed but unfit file can raise turned into a refusal."""
    try:
        return build()
    except (ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        problem = f"does not fit this version ({type(error).__name__}: {str(error).splitlines()[0][:120]})"
        raise _refusal(folder, name, problem, "train the bundle anew with this version") from error
