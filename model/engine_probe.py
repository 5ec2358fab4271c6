"""What runs in the child process that an engine is first proven in: it may crash or hang, and nothing else does.

    python -m model.engine_probe convert BUNDLE FOLDER    torch and OpenVINO: convert, compile, hold against each other
    python -m model.engine_probe load BUNDLE FOLDER       OpenVINO alone, as a worker has it: load, golden set

Exit status 0 only where everything held; else the last line on standard error says why. The parent (`engines`) sets the
time limit and draws the conclusions. It holds the other end of standard input: when that closes, this process ends.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from model.bundle import Bundle, golden_check, load_bundle
from model.manifest import ImageSpec
from model.preprocess import prepare
from model.runtime import Engine
from model.runtime_openvino import openvino_engine

Arrays = Mapping[str, npt.NDArray[Any]]

NICENESS = 5
"""Workers that screen by torch meanwhile go first; with every core busy a quarter of one is left."""
PROBABILITY_LIMIT = 1e-4
"""Largest difference of a float32 engine from torch, in the image probability (performance.md D7)."""


def main(arguments: list[str]) -> int:
    """Run one stage."""
    stage, bundle, folder = arguments
    os.nice(NICENESS)
    # A worker limits its own memory, which a child inherits; this one has torch and OpenVINO to load.
    resource.setrlimit(resource.RLIMIT_DATA, (resource.getrlimit(resource.RLIMIT_DATA)[1],) * 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        {"convert": _convert, "load": _load}[stage](Path(bundle), Path(folder))
    except Exception as error:  # noqa: BLE001 - the one line the parent reads, whatever went wrong
        print(f"{type(error).__name__}: {str(error).splitlines()[0][:200]}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def differences(reference: Bundle, other: Engine) -> tuple[float, float]:
    """Largest difference of image probability and of gate ratio over the golden pictures.

    Raises ValueError where a gate verdict differs: that no limit allows.
    """
    probability = ratio = 0.0
    for picture in reference.golden:
        verdicts = [
            reference.gate.judge(picture.pixels, features) for features in (reference.gate_features, other.features)
        ]
        if verdicts[0].reasons != verdicts[1].reasons:
            msg = f"the gate says {verdicts[1].reasons or 'accepted'} of {picture.expected.file}"
            raise ValueError(msg)
        shown = prepare(picture.pixels, reference.side)
        scores = [reference.fusion.image_only(r.infer(shown).logit) for r in (reference.runtime, other.runtime)]
        probability = max(probability, abs(scores[0] - scores[1]))
        ratio = max(ratio, abs(verdicts[0].ratio - verdicts[1].ratio))
    return probability, ratio


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _convert(bundle: Path, folder: Path) -> None:
    from model.openvino_conversion import convert  # noqa: PLC0415 - torch, which `load` must do without
    from model.runtime_torch import torch_engine  # noqa: PLC0415

    def build(spec: ImageSpec, image: Arrays, trunk: Arrays) -> Engine:
        convert(folder, spec, image, trunk)
        return torch_engine(spec, image, trunk)

    reference = load_bundle(bundle, build)
    probability, _ = differences(reference, openvino_engine(folder, reference.manifest.image))
    if probability > PROBABILITY_LIMIT:
        msg = f"probabilities differ from torch by up to {probability:.1e}, allowed are {PROBABILITY_LIMIT:.0e}"
        raise ValueError(msg)
    print(probability)  # noqa: T201 - the figure for the verdict


def _load(bundle: Path, folder: Path) -> None:
    golden_check(load_bundle(bundle, lambda spec, _image, _trunk: openvino_engine(folder, spec)))
    if "torch" in sys.modules:
        msg = "torch was imported"
        raise RuntimeError(msg)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
