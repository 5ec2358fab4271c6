"""Both networks of a bundle from torch to OpenVINO's own form, once per bundle, version and CPU, in a child process.

The weights are those of the verified bundle and the result is held against torch before it counts (`engine_probe`), so
a bundle needs no second copy of its networks. Needs torch and OpenVINO in one process, which a worker never has.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from model.backbones import Lite0
from model.gate import GATE_SIDE
from model.image_net import ImageNetwork
from model.manifest import ImageSpec
from model.openvino_silent import openvino
from model.runtime_openvino import FLOAT32, GATE, IMAGE, compile_file
from model.runtime_torch import loaded_network, tensors

Arrays = Mapping[str, npt.NDArray[Any]]


def convert(folder: Path, spec: ImageSpec, image: Arrays, gate_trunk: Arrays) -> None:
    """Write both networks to `folder`, as they are and compiled for this CPU in float32."""
    side = spec.serving.crop
    trunk = Lite0().eval()
    trunk.load_state_dict(tensors(gate_trunk), strict=True)
    _save(folder / f"{IMAGE}.xml", _Image(loaded_network(spec, image)), (side, side), inputs=2)
    _save(folder / f"{GATE}.xml", _Features(trunk), (GATE_SIDE, GATE_SIDE), inputs=1)
    for name in (IMAGE, GATE):
        compile_file(folder, name, FLOAT32)


class _Image(nn.Module):
    """A plain tuple: the tracer knows no named one."""

    def __init__(self, network: ImageNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(images, masks))


class _Features(nn.Module):
    def __init__(self, trunk: Lite0) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, images: Tensor) -> Tensor:
        return self.trunk.features(images)


def _save(path: Path, module: nn.Module, size: tuple[int, int], *, inputs: int) -> None:
    ov = openvino()
    shape = (1, 1, *size)
    example = tuple(torch.rand(shape) if index == 0 else torch.ones(shape) for index in range(inputs))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer remarks on shapes in Python; they are constant here
        # Unchecked: tracing twice more to compare is half of the cost, and what comes of it is held against torch.
        traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
        model = ov.convert_model(traced, input=[shape] * inputs)
    ov.save_model(model, path, compress_to_fp16=False)
