"""Gradient-wavelet stems: fixed filters that feed texture and edge energy into the image network.

The seed paper's formula is unknown; `GradDWT` is our own reading (model.md section 4): a discrete wavelet transform
of the image and of its gradient magnitude. PyWavelets supplies the filter banks and is the oracle of the tests.
Filters are applied to strided views (polyphase), which is exact and several times faster for batches than
one-channel convolutions. Not allowed here: learned weights, and a claim that wavelets help; that is for the ablation
to show.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

import pywt
import torch
from torch import Tensor
from torch.nn import functional

STATISTICS: Final = 4
"""Numbers per level and channel in `global_vector`."""

_EPSILON: Final = 1e-8
_SPLINE_NORM: Final = (1.50, 1.12, 1.03, 1.01)
"""Mallat and Zhong's factors that make the response to a step equal at all scales; from memory."""


class WaveletStem(Protocol):
    """Turns (B, 1, S, S) standardised images into one map per level, finest first."""

    levels: int
    bands: int
    """Channels of each level."""

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Maps (B, bands, S / 2^j, S / 2^j) for j = 1..levels, or all (B, bands, S, S) where nothing is decimated."""
        ...


class GradDWT:
    """DWT of [image, gradient magnitude], `levels` times, with the low pass scaled to unit DC gain between levels.

    Bands are (cA, cV, cH, cD) of the image, then of its gradient magnitude. `gradient=False` leaves the latter out:
    the plain DWT that the ablation compares with.
    """

    def __init__(self, wavelet: str = "db2", levels: int = 4, *, gradient: bool = True) -> None:
        bank = pywt.Wavelet(wavelet)
        self.levels = levels
        self.bands = 8 if gradient else 4
        self._gradient = gradient
        self._low = tuple(float(tap) for tap in reversed(bank.dec_lo))
        self._high = tuple(float(tap) for tap in reversed(bank.dec_hi))

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Maps of every level. Raises ValueError where a side is odd: PyWavelets has one coefficient more there."""
        current = torch.cat([images, gradient_magnitude(images)], dim=1) if self._gradient else images
        maps = []
        for _ in range(self.levels):
            bands = self.transform(current)
            maps.append(bands.flatten(1, 2))
            current = bands[:, :, 0] / 2
        return maps

    def transform(self, images: Tensor) -> Tensor:
        """One level of (B, C, H, W): (B, C, 4, H/2, W/2), equal to `pywt.dwt2(mode="reflect")` cropped to H/2, W/2.

        Band order is that of the outer products (rows, columns): (lo,lo), (lo,hi), (hi,lo), (hi,hi), which PyWavelets
        calls cA, cV, cH, cD; note that its own tuple is (cH, cV, cD).
        """
        if images.shape[-1] % 2 or images.shape[-2] % 2:
            msg = f"sides must be even at every level, got {tuple(images.shape[-2:])}; use a multiple of 32"
            raise ValueError(msg)
        by_row = self._analyse(images, dim=-2)
        return torch.stack([band for half in by_row for band in self._analyse(half, dim=-1)], dim=2)

    def _analyse(self, images: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """Low and high half along `dim`. Only the front is padded: the crop to half length never reads past the end."""
        front = len(self._low) - 2
        padding = (front, 0, 0, 0) if dim == -1 else (0, 0, front, 0)
        padded = functional.pad(images, padding, mode="reflect") if front else images
        half = images.shape[dim] // 2
        phases = _phases(padded, dim, half, len(self._low))
        low, high = phases[0] * self._low[0], phases[0] * self._high[0]
        for phase, low_tap, high_tap in zip(phases[1:], self._low[1:], self._high[1:], strict=True):
            low, high = low.add(phase, alpha=low_tap), high.add(phase, alpha=high_tap)
        return low, high


class MallatZhong:
    """Undecimated quadratic-spline transform: the gradient of the image at dyadic scales (Mallat & Zhong, 1992).

    Bands are (modulus, along x, along y). Nothing is decimated, so a shift of the film moves the maps and hardly
    changes their energies (model.md section 4); that is why its statistics also serve the watch on drift.
    """

    bands = 3

    def __init__(self, levels: int = 4) -> None:
        self.levels = levels

    def __call__(self, images: Tensor) -> list[Tensor]:
        """(B, 3, S, S) for every level."""
        smooth, maps = images, []
        for level in range(self.levels):
            # The filters are half a step off centre; alternating sides keeps the maps aligned with the film.
            step = 2**level if level % 2 == 0 else -(2**level)
            across, down = (
                self._difference(smooth, dim, step) / _SPLINE_NORM[min(level, len(_SPLINE_NORM) - 1)]
                for dim in (-1, -2)
            )
            modulus = torch.sqrt(across.square() + down.square() + _EPSILON)
            maps.append(torch.cat([modulus, across, down], dim=1))
            smooth = self._smoothed(self._smoothed(smooth, -1, step), -2, step)
        return maps

    @staticmethod
    def _difference(images: Tensor, dim: int, step: int) -> Tensor:
        """2 (f(n + |step|) - f(n)), or the same one step back."""
        beside = _shifted(images, dim, step)
        return 2 * (beside - images) if step > 0 else 2 * (images - beside)

    @staticmethod
    def _smoothed(images: Tensor, dim: int, step: int) -> Tensor:
        """[1, 3, 3, 1] / 8 at distances of `step`."""
        outer = _shifted(images, dim, -step) + _shifted(images, dim, 2 * step)
        return (outer + 3 * (images + _shifted(images, dim, step))) / 8


def gradient_magnitude(images: Tensor) -> Tensor:
    """Scharr gradient magnitude of (B, 1, H, W), replicate padding; differentiable at zero."""
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    smooth_rows = (3 * padded[..., :-2, :] + 10 * padded[..., 1:-1, :] + 3 * padded[..., 2:, :]) / 16
    smooth_columns = (3 * padded[..., :-2] + 10 * padded[..., 1:-1] + 3 * padded[..., 2:]) / 16
    across = (smooth_rows[..., 2:] - smooth_rows[..., :-2]) / 2
    down = (smooth_columns[..., 2:, :] - smooth_columns[..., :-2, :]) / 2
    return torch.sqrt(across.square() + down.square() + _EPSILON)


def global_vector(maps: list[Tensor]) -> Tensor:
    """(B, 4 x channels of all maps): mean, log mean magnitude, log energy and log kurtosis of each."""
    return torch.cat([_statistics(level) for level in maps], dim=1)


def _statistics(level: Tensor) -> Tensor:
    flat = level.flatten(2)
    mean = flat.mean(dim=2)
    energy = flat.square().mean(dim=2)
    centred = (flat - mean.unsqueeze(2)).square()
    kurtosis = centred.square().mean(dim=2) / (centred.mean(dim=2).square() + _EPSILON)
    magnitude = flat.abs().mean(dim=2)
    logs = [torch.log(value + 1e-6) for value in (magnitude, energy, kurtosis)]
    return torch.cat([mean, *logs], dim=1)


def _shifted(images: Tensor, dim: int, offset: int) -> Tensor:
    """f(n + offset) along `dim`, the border repeated."""
    length = images.shape[dim]
    index = (torch.arange(length, device=images.device) + offset).clamp(0, length - 1)
    return images.index_select(dim, index)


def _phases(images: Tensor, dim: int, count: int, taps: int) -> list[Tensor]:
    """Every second element along `dim` from 0, 1, ... `taps` - 1 on, `count` of each: views.

    Even and odd elements are parted by an axis of their own that is moved to the front, not by steps of 2: OpenVINO
    takes single elements ten times as slowly as rows.
    """
    parted = torch.unflatten(images, dim, (-1, 2)).movedim(dim, 0)
    return [parted[start % 2].narrow(dim, start // 2, count) for start in range(taps)]


STEMS: Final[Mapping[str, Callable[[], WaveletStem]]] = MappingProxyType(
    {f"grad-dwt:{name}": functools.partial(GradDWT, name) for name in ("db2", "haar", "sym4", "bior2.2")}
    | {"dwt:db2": functools.partial(GradDWT, "db2", gradient=False), "mallat-zhong": MallatZhong}
)
"""Stems by the name the manifest carries."""
NO_STEM: Final = "none"
"""In place of a stem's name: a network without wavelets."""
READINGS: Final[Mapping[str, str]] = MappingProxyType(
    {"none": NO_STEM, "dwt": "dwt:db2", "r1": "grad-dwt:db2", "r2": "mallat-zhong"}
)
"""Stems by the short names of model.md section 4, in the order of the ablation table."""
