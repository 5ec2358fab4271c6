"""The reference engine: torch float32, eager, batch 1, one thread; on a GPU where there is one.

Every other engine is measured against this one on the CPU. Not allowed here: files, a decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from model.backbones import FeatureTrunk
from model.image_net import ImageNetwork
from model.manifest import ImageSpec, Serving
from model.runtime import Engine, NetworkNumbers, NetworkRuntime, RuntimeFacts

CPU: Final = "cpu"

Arrays = Mapping[str, npt.NDArray[Any]]


class TorchRuntime(NetworkRuntime):
    """Runs the image network by torch, on `device`."""

    def __init__(self, network: ImageNetwork, serving: Serving, device: str = CPU) -> None:
        torch.set_num_threads(1)
        # Channels last: the same logit, to the bit, for an eighth less time.
        self._network = network.float().eval().to(device).to(memory_format=torch.channels_last)
        self._device = device
        facts = RuntimeFacts(
            engine="torch", version=str(torch.__version__), precision="float32", threads=1, device=device
        )
        super().__init__(self._numbers, serving, facts)

    def _numbers(self, image: npt.NDArray[np.float32], mask: npt.NDArray[np.float32]) -> NetworkNumbers:
        tensors = [torch.from_numpy(a)[None, None].to(self._device) for a in (image, mask)]
        with torch.inference_mode():
            output = self._network(*tensors)
        return NetworkNumbers(*(part[0].cpu().numpy() for part in output))


def torch_engine(spec: ImageSpec, image: Arrays, gate_trunk: Arrays, device: str = CPU) -> Engine:
    """Build both networks of a bundle from their arrays."""
    network = loaded_network(spec, image)
    return Engine(runtime=TorchRuntime(network, spec.serving, device), features=FeatureTrunk(tensors(gate_trunk)))


def loaded_network(spec: ImageSpec, arrays: Arrays) -> ImageNetwork:
    """The image network of a bundle, float32, in evaluation mode."""
    network = ImageNetwork(spec.wavelet, spec.trunk, attention=spec.attention)
    network.load_state_dict(tensors(arrays), strict=True)
    return network.float().eval()


def best_device() -> str:
    """`cuda` where torch can use a GPU, in full float32: the shorter TF32 would make another model of it."""
    if not torch.cuda.is_available():
        return CPU
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    return "cuda"


def tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    """Floating arrays as float32 tensors, counters as they are."""
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
