"""Which trunks an image network may stand on; adding one is one entry in `TRUNKS`.

A trunk gives its maps in three parts, cut where the wavelets join: image to the first tap, to the second tap, to the
final map. Its normalisation is its own and applied inside it: another one runs and is silently worse. Weights come from
a local file or from a bundle; nothing is ever fetched.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from model import backbones


class TrunkWeightsError(Exception):
    """A file of weights does not fit; the message is one line: which file, what differs, what to do."""


class Trunk(nn.Module):
    """Three parts of a classification network without its classifier. Takes (B, 1, S, S) in [0, 1], S % 32 = 0."""

    channels: int
    """Of the final map, stride 32."""
    tap_channels: tuple[int, int]
    tap_strides: tuple[int, int]
    normalisation: str

    @property
    def tap_levels(self) -> tuple[int, int]:
        """Index of the wavelet level (0 = stride 2) whose maps have the size of each tap."""
        first, second = (stride.bit_length() - 2 for stride in self.tap_strides)
        return first, second

    def part(self, index: int, maps: Tensor) -> Tensor:
        """Part 0 takes images and gives the first tap, part 1 the second tap, part 2 the final map."""
        raise NotImplementedError

    def early(self) -> Sequence[nn.Module]:
        """Modules up to the first tap: what fine-tuning leaves frozen."""
        raise NotImplementedError

    def frozen_front(self) -> Callable[[Tensor], Tensor]:
        """`part(0, images)` as it is now and in eval mode, without gradients, as cheap as the trunk knows how."""
        own = copy.deepcopy(self).eval().requires_grad_(requires_grad=False)
        return functools.partial(own.part, 0)

    def features(self, images: Tensor) -> Tensor:
        """(B, channels, S/32, S/32)."""
        return self.part(2, self.part(1, self.part(0, images)))


class Lite0Trunk(backbones.Lite0, Trunk):
    """EfficientNet-Lite0: the default, since its weights install offline."""

    channels = backbones.CHANNELS
    tap_channels = backbones.TAP_CHANNELS
    tap_strides = (8, 16)
    normalisation = backbones.NORMALISATION

    def part(self, index: int, maps: Tensor) -> Tensor:
        """See `Trunk.part`."""
        if index == 0:
            return self.blocks(self.stem(maps), 0, backbones.TAP_8)
        if index == 1:
            return self.blocks(maps, backbones.TAP_8, backbones.TAP_16)
        return self.head(self.blocks(maps, backbones.TAP_16))

    def frozen_front(self) -> Callable[[Tensor], Tensor]:
        """See `Trunk.frozen_front`."""
        return functools.partial(backbones.folded(self).part, 0)


class TorchvisionTrunk(Trunk):
    """A torchvision classifier cut at strides 4 and 8. `net` keeps torchvision's parameter names."""

    tap_strides = (4, 8)
    normalisation = "(x - ImageNet mean) / ImageNet SD"
    mean: Tensor
    deviation: Tensor

    def __init__(self, name: str, cut: Callable[[Any], tuple[nn.Module, ...]], taps: tuple[int, int], out: int) -> None:
        from torchvision import models  # noqa: PLC0415 - only these trunks need it: 1.2 s and 160 MB

        super().__init__()
        self.channels, self.tap_channels = out, taps
        self.net: nn.Module = models.get_model(name, weights=None)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)
        self._cut = cut

    def part(self, index: int, maps: Tensor) -> Tensor:
        """See `Trunk.part`."""
        shown = (maps.expand(-1, 3, -1, -1) - self.mean) / self.deviation if index == 0 else maps
        return cast(Tensor, self._cut(self.net)[index](shown))

    def early(self) -> Sequence[nn.Module]:
        """See `Trunk.early`."""
        return (self._cut(self.net)[0],)


def _resnet(net: Any) -> tuple[nn.Module, ...]:
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1)
    return stem, net.layer2, nn.Sequential(net.layer3, net.layer4)


def _densenet(net: Any) -> tuple[nn.Module, ...]:
    """The transition that halves the size belongs to the part that follows it."""
    f = net.features
    stem = nn.Sequential(f.conv0, f.norm0, f.relu0, f.pool0, f.denseblock1)
    tail = (f.transition2, f.denseblock3, f.transition3, f.denseblock4, f.norm5, nn.ReLU(inplace=True))
    return stem, nn.Sequential(f.transition1, f.denseblock2), nn.Sequential(*tail)


def _convnext(net: Any) -> tuple[nn.Module, ...]:
    return net.features[:2], net.features[2:4], net.features[4:]


TRUNKS: Final[dict[str, Callable[[], Trunk]]] = {
    backbones.NAME: Lite0Trunk,
    "resnet50": lambda: TorchvisionTrunk("resnet50", _resnet, (256, 512), 2048),
    "resnet18": lambda: TorchvisionTrunk("resnet18", _resnet, (64, 128), 512),
    "densenet121": lambda: TorchvisionTrunk("densenet121", _densenet, (256, 512), 1024),
    "convnext_tiny": lambda: TorchvisionTrunk("convnext_tiny", _convnext, (96, 192), 768),
}


def load_weights(trunk: Trunk, path: Path, *, sha256: str) -> None:
    """Load a plain state dict of the trunk's whole classifier from a local file, strictly.

    Raises:
        TrunkWeightsError: the file is missing, has another digest, or other keys or shapes.

    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); download the weights beforehand, nothing is fetched"
        raise TrunkWeightsError(msg) from error
    if digest != sha256:
        msg = f"{path}: SHA-256 is {digest}, not {sha256}; give the file that was reviewed"
        raise TrunkWeightsError(msg)
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    target = trunk.net if isinstance(trunk, TorchvisionTrunk) else trunk
    if isinstance(trunk, Lite0Trunk):
        state = {name: value for name, value in state.items() if not name.startswith("_fc.")}
    _same_keys(path, set(state), set(target.state_dict()))
    try:
        target.load_state_dict(state, strict=True)
    except RuntimeError as error:
        msg = f"{path}: a tensor has another shape than the trunk's ({str(error).splitlines()[-1].strip()})"
        raise TrunkWeightsError(msg) from error


def _same_keys(path: Path, found: set[str], wanted: set[str]) -> None:
    missing, foreign = sorted(wanted - found), sorted(found - wanted)
    if missing or foreign:
        msg = (
            f"{path}: not the weights of this trunk; {len(missing)} tensors are missing ({', '.join(missing[:3])}) and "
            f"{len(foreign)} are foreign ({', '.join(foreign[:3])})"
        )
        raise TrunkWeightsError(msg)
