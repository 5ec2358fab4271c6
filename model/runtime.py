"""What runs the image network: one interface for every engine (performance.md D7).

Batch 1 because an engine's last bits change with the batch, and no engine gains by it; one thread because spinning
OpenMP threads cost several times more on a shared host (D6). torch float32 (`runtime_torch`) is the reference; another
engine is admitted by `engines`, once it has proved itself against it. Not allowed here: torch or any other engine, a
decision, a calibrated probability.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from model.gate import FeatureMap
from model.manifest import Serving
from model.preprocess import Prepared

_ATTENTION_ROWS = 16
"""Longer side of the attention grid that leaves the runtime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawOutputs:
    """What the network says about one image, before calibration."""

    logit: float
    """Of P(lowest T <= -2.5), uncalibrated."""
    ordinal: tuple[float, float]
    """Logits of P(T < -1) and P(T <= -2.5)."""
    t_score: float
    """Estimated lowest T-score. Stays inside: evaluation and monitoring only, in no report."""
    attention: tuple[tuple[float, ...], ...] = field(repr=False)
    """Rows of equal length over `region`, at most 16 a side, sum 1."""
    region: tuple[int, int, int, int]
    """(top, left, bottom, right) in source pixels, half-open: what was analysed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFacts:
    """What computed a result; recorded with it."""

    engine: str
    version: str
    precision: str
    threads: int
    device: str = "cpu"

    def __str__(self) -> str:
        """One line: `openvino 2026.4.1 float32 cpu`."""
        return f"{self.engine} {self.version} {self.precision} {self.device}"


class ImageRuntime(Protocol):
    """Runs the image network of one bundle on one image at a time."""

    def infer(self, prepared: Prepared) -> RawOutputs:
        """Outputs for one prepared image."""
        ...

    def facts(self) -> RuntimeFacts:
        """Engine, version, precision and threads."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Both networks of a bundle, ready to run."""

    runtime: ImageRuntime
    features: FeatureMap
    """The gate's own trunk."""


class NetworkNumbers(NamedTuple):
    """What any engine gives for one image: float32 arrays without a batch axis."""

    logit: npt.NDArray[np.float32]
    """()"""
    ordinal: npt.NDArray[np.float32]
    """(2,)"""
    t_score: npt.NDArray[np.float32]
    """()"""
    attention: npt.NDArray[np.float32]
    """(S/32, S/32), sum 1."""


Forward = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], NetworkNumbers]
"""Image and mask, (S, S) float32 each, contiguous and the callee's own, through the image network."""


class NetworkRuntime:
    """What all engines do alike around one forward pass: the crop, the mirror image, the attention's grid."""

    def __init__(self, forward: Forward, serving: Serving, facts: RuntimeFacts) -> None:
        self._forward = forward
        self._serving = serving
        self._facts = facts

    def infer(self, prepared: Prepared) -> RawOutputs:
        """Outputs for one prepared image; the mean of the image and its mirror image where the bundle says so."""
        shown = serve(prepared, self._serving)
        seen = self._pass(shown.image, shown.mask)
        if self._serving.mirror:
            seen = _with_mirror(seen, self._pass(shown.image[:, ::-1], shown.mask[:, ::-1]))
        return RawOutputs(
            logit=float(seen.logit),
            ordinal=(float(seen.ordinal[0]), float(seen.ordinal[1])),
            t_score=float(seen.t_score),
            attention=_attention_over(shown, seen.attention),
            region=shown.region,
        )

    def facts(self) -> RuntimeFacts:
        """Engine, version, precision and threads."""
        return self._facts

    def _pass(self, image: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> NetworkNumbers:
        return self._forward(np.array(image, np.float32, order="C"), np.array(mask, np.float32, order="C"))


def _with_mirror(plain: NetworkNumbers, mirrored: NetworkNumbers) -> NetworkNumbers:
    """Mean of the image's outputs and its mirror image's, the latter's attention flipped back."""
    back = mirrored._replace(attention=mirrored.attention[:, ::-1])
    return NetworkNumbers(*((a + b) / np.float32(2) for a, b in zip(plain, back, strict=True)))


def serve(prepared: Prepared, serving: Serving) -> Prepared:
    """The part of the prepared square the network sees: all of it, or its central crop."""
    side = len(prepared.image)
    if serving.crop == side:
        return prepared
    first = (side - serving.crop) // 2
    window = np.s_[first : first + serving.crop, first : first + serving.crop]
    return Prepared(
        image=prepared.image[window],
        mask=prepared.mask[window],
        region=_source_region(prepared, first, serving.crop),
        pixels_per_source_px=prepared.pixels_per_source_px,
    )


def _source_region(prepared: Prepared, first: int, crop: int) -> tuple[int, int, int, int]:
    """Source pixels of the part of the mask's rectangle that lies in the crop."""
    low = prepared.box[:2]
    high = prepared.box[2:]
    top_left, bottom_right = [], []
    for axis in (0, 1):
        start, end = max(low[axis], first), min(high[axis], first + crop)
        top_left.append(prepared.region[axis] + round((start - low[axis]) / prepared.pixels_per_source_px))
        reach = prepared.region[axis] + round((end - low[axis]) / prepared.pixels_per_source_px)
        bottom_right.append(min(reach, prepared.region[axis + 2]))
    return top_left[0], top_left[1], bottom_right[0], bottom_right[1]


def _attention_over(shown: Prepared, attention: npt.NDArray[np.float32]) -> tuple[tuple[float, ...], ...]:
    """The square's attention without the letter-box padding, as a grid over the analysed region, sum 1."""
    side = len(shown.image)
    top, left, bottom, right = shown.box
    fine = cv2.resize(np.ascontiguousarray(attention), (side, side), interpolation=cv2.INTER_LINEAR)
    part = fine[top:bottom, left:right]
    scale = _ATTENTION_ROWS / max(part.shape)
    rows, columns = (max(1, round(length * scale)) for length in part.shape)
    grid = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float64).reshape(rows, columns)
    grid /= grid.sum()
    return tuple(tuple(float(value) for value in row) for row in grid)
