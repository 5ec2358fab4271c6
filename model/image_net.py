"""The image network: a pretrained trunk, gradient-wavelet branch, attention fusion, attention pooling, three heads.

Everything beyond the trunk is our own reading of "wavelet features" and "an attention mechanism to assist feature
fusion" (model.md section 6). Each fusion is scaled by a scalar gamma that starts at 0, so a pretrained trunk's
function is unchanged at step 0. The attention map is a region of high model attention, never a cause. Not allowed
here: files, training, decisions.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.gradwave import NO_STEM, STATISTICS, STEMS, WaveletStem, global_vector
from model.trunks import TRUNKS

DEFAULT_STEM: Final = "grad-dwt:db2"
DEFAULT_TRUNK: Final = "efficientnet_lite0"

_ENCODED: Final = (32, 64)
"""Wavelet channels at the two taps."""
_WAVELET_VECTOR: Final = 64
_ATTENTION: Final = 128
_EPSILON: Final = 1e-6


class NetworkOutput(NamedTuple):
    """Raw outputs of a batch of B."""

    logit: Tensor
    """(B,) uncalibrated logit of P(lowest T <= -2.5)."""
    ordinal: Tensor
    """(B, 2) logits of P(T < -1) and P(T <= -2.5); the first is never below the second."""
    t_score: Tensor
    """(B,) lowest T-score, unit 1 (SD of young adults). Internal: it is in no report."""
    attention: Tensor
    """(B, S/32, S/32), each sums to 1."""


class WaveletEncoder(nn.Sequential):
    """Bands of one level to `channels` maps of the same size."""

    def __init__(self, bands: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(bands, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.GELU(),
        )


class AttentionFusion(nn.Module):
    """F' = F + gamma * gated z, z from trunk map F and encoded wavelets W; a channel gate, then a spatial gate.

    `gated=False` leaves both gates open (the ablation's network without attention); `wavelets=0` mixes F alone.
    """

    def __init__(self, channels: int, wavelets: int, *, gated: bool = True) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(channels + wavelets, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self._gated = gated
        if gated:
            hidden = max(8, channels // 16)
            self.gate = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
            self.where = nn.Conv2d(2, 1, 7, padding=3)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, trunk: Tensor, wavelets: Tensor | None) -> Tensor:
        """Same shape as `trunk`."""
        z: Tensor = self.mix(trunk if wavelets is None else torch.cat([trunk, wavelets], dim=1))
        fused: Tensor = trunk + self.gamma * (self._through_gates(z) if self._gated else z)
        return fused

    def _through_gates(self, z: Tensor) -> Tensor:
        channel = torch.sigmoid(self.gate(z.mean((2, 3))) + self.gate(z.amax((2, 3))))
        z = z * channel[:, :, None, None]
        spatial = torch.sigmoid(self.where(torch.cat([z.mean(1, keepdim=True), z.amax(1, keepdim=True)], dim=1)))
        return z * spatial


class AttentionPooling(nn.Module):
    """[mean of H, attention-weighted sum of H] and the attention itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = 2 * channels
        self.score = nn.Sequential(nn.Conv2d(channels, _ATTENTION, 1), nn.Tanh(), nn.Conv2d(_ATTENTION, 1, 1))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """(B, `width`) and (B, h, w)."""
        weights = functional.softmax(self.score(maps).flatten(1), dim=1)
        pooled = torch.einsum("bcn,bn->bc", maps.flatten(2), weights)
        return torch.cat([maps.mean((2, 3)), pooled], dim=1), weights.reshape(-1, *maps.shape[-2:])


class MeanPooling(nn.Module):
    """Mean of H, with equal attention everywhere: the network without attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = channels

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """(B, `width`) and (B, h, w)."""
        batch, _, rows, columns = maps.shape
        return maps.mean((2, 3)), maps.new_full((batch, rows, columns), 1 / (rows * columns))


class OrderedCuts(nn.Module):
    """CORAL: one slope and two cuts whose order holds by construction (softplus gap)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.slope = nn.Linear(features, 1)
        self.gap = nn.Parameter(torch.tensor(1.5))

    def forward(self, features: Tensor) -> Tensor:
        """(B, 2) logits of T < -1 and T <= -2.5."""
        osteopenia = self.slope(features)[:, 0]
        return torch.stack([osteopenia, osteopenia - functional.softplus(self.gap)], dim=1)


class ImageNetwork(nn.Module):
    """Images and masks of side S (a multiple of 32) to `NetworkOutput`.

    Without a stem and without attention it is the plain trunk with three heads, the row that the ablation holds the
    full network against.
    """

    lowest_t: Tensor

    def __init__(self, stem: str = DEFAULT_STEM, trunk: str = DEFAULT_TRUNK, *, attention: bool = True) -> None:
        super().__init__()
        self.trunk = TRUNKS[trunk]()
        self.wavelets: WaveletStem | None = None if stem == NO_STEM else STEMS[stem]()
        widths = _ENCODED if self.wavelets else (0, 0)
        bands = self.wavelets.bands if self.wavelets else 0
        self.encode = nn.ModuleList([WaveletEncoder(bands, width) for width in widths if width])
        self.fuse = nn.ModuleList(
            [
                AttentionFusion(own, extra, gated=attention)
                for own, extra in zip(self.trunk.tap_channels, widths, strict=True)
                if attention or extra
            ]
        )
        self.pool = AttentionPooling(self.trunk.channels) if attention else MeanPooling(self.trunk.channels)
        features = self.pool.width
        if self.wavelets:
            numbers = bands * STATISTICS * self.wavelets.levels
            layers = (nn.Linear(numbers, _WAVELET_VECTOR), nn.LayerNorm(_WAVELET_VECTOR), nn.GELU())
            self.describe = nn.Sequential(*layers)
            features += _WAVELET_VECTOR
        self.dropout = nn.Dropout(0.3)
        self.classify = nn.Linear(features, 1)
        self.order = OrderedCuts(features)
        self.regress = nn.Linear(features, 1)
        self.register_buffer("lowest_t", torch.tensor([0.0, 1.0]))

    def forward(self, images: Tensor, masks: Tensor, first: Tensor | None = None) -> NetworkOutput:
        """`images` (B, 1, S, S) in [0, 1], zero outside `masks` (B, 1, S, S) of 0 and 1, same dtype.

        `first` is the trunk's part 0 of the images where the caller has it: training with a frozen front does.
        """
        maps = self.wavelets(standardise(images, masks)) if self.wavelets else []
        features, attention = self.pool(self.fused_features(images, maps, first))
        if maps:
            features = torch.cat([features, self.describe(global_vector(maps))], dim=1)
        features = self.dropout(features)
        return NetworkOutput(
            logit=self.classify(features)[:, 0],
            ordinal=self.order(features),
            t_score=self.regress(features)[:, 0] * self.lowest_t[1] + self.lowest_t[0],
            attention=attention,
        )

    def fused_features(self, images: Tensor, wavelet_maps: list[Tensor], first: Tensor | None = None) -> Tensor:
        """(B, channels, S/32, S/32); equal to the trunk's own features while both gammas are 0."""
        maps = images
        for index in range(len(self.trunk.tap_channels)):
            maps = first if index == 0 and first is not None else self.trunk.part(index, maps)
            if self.fuse:
                maps = self.fuse[index](maps, self._encoded(index, wavelet_maps, maps.shape[-1]))
        return self.trunk.part(2, maps)

    def gammas(self) -> tuple[float, ...]:
        """How far each fusion has moved from leaving the trunk alone; empty where nothing is fused."""
        return tuple(module.get_parameter("gamma").item() for module in self.fuse)

    def _encoded(self, index: int, wavelet_maps: list[Tensor], side: int) -> Tensor | None:
        """Wavelet maps of the tap's level, encoded; an undecimated level as mean magnitudes of the tap's cells."""
        if not wavelet_maps:
            return None
        level = wavelet_maps[self.trunk.tap_levels[index]]
        if level.shape[-1] != side:
            level = functional.adaptive_avg_pool2d(level.abs(), side)
        encoded: Tensor = self.encode[index](level)
        return encoded


def standardise(images: Tensor, masks: Tensor) -> Tensor:
    """Mean 0 and SD 1 inside the mask, 0 outside: what the wavelets see."""
    count = masks.sum((2, 3), keepdim=True).clamp(min=1.0)
    mean = (images * masks).sum((2, 3), keepdim=True) / count
    centred = (images - mean) * masks
    return centred / (centred.square().sum((2, 3), keepdim=True) / count + _EPSILON).sqrt()
