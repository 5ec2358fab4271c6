"""Random variation of training films: crop, mirror, small geometry, grey scale, noise, blur, JPEG (model.md section 3).

OpenCV on one image at a time: a film costs about a millisecond, a training step about a second. Most films keep their
pixels unresampled, since the signal is fine texture. Never here: a vertical flip, or anything at serving time.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_GEOMETRY_SHARE: Final = 0.35
_GREY_SHARE: Final = 0.7
_NOISE_SHARE: Final = 0.25
_BLUR_SHARE: Final = 0.25
_JPEG_SHARE: Final = 0.15
_DEGREES: Final = 5.0
_RELATIVE: Final = 0.05
"""Largest change of scale, and largest shift as a share of the side."""
_GAMMA: Final = math.log(1.25)


def augment(
    image: Floats, mask: npt.NDArray[np.bool_], crop: int, rng: np.random.Generator
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """A random (crop, crop) view of an (S, S) image in [0, 1] and of its mask."""
    field = mask.astype(np.float32)
    if rng.random() < _GEOMETRY_SHARE:
        image, field = _warp(image, field, rng)
    top, left = rng.integers(0, len(image) - crop + 1, 2)
    image, field = (a[top : top + crop, left : left + crop] for a in (image, field))
    if rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
        image, field = image[:, ::-1], field[:, ::-1]
    shown = field > 0.5  # noqa: PLR2004 - the nearer side of an interpolated edge
    varied = _degrade(_regrade(np.ascontiguousarray(image), rng), rng)
    return (np.clip(varied, 0.0, 1.0) * shown).astype(np.float32), shown


def _warp(image: Floats, field: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    side = len(image)
    scale = 1.0 + rng.uniform(-_RELATIVE, _RELATIVE)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-_DEGREES, _DEGREES), scale)
    shift = np.array([[0.0, 0.0, dx * side] for dx in rng.uniform(-_RELATIVE, _RELATIVE, 2)])
    warped = [cv2.warpAffine(a, matrix + shift, (side, side), flags=cv2.INTER_LINEAR) for a in (image, field)]
    return np.asarray(warped[0], np.float32), np.asarray(warped[1], np.float32)


def _regrade(image: Floats, rng: np.random.Generator) -> Floats:
    """Gamma 0.8 to 1.25, contrast and brightness."""
    if rng.random() >= _GREY_SHARE:
        return image
    curved = np.power(image, np.float32(math.exp(rng.uniform(-_GAMMA, _GAMMA))))
    contrast, brightness = rng.uniform(0.85, 1.15), rng.uniform(-0.05, 0.05)
    return np.asarray((curved - 0.5) * contrast + 0.5 + brightness, np.float32)


def _degrade(image: Floats, rng: np.random.Generator) -> Floats:
    if rng.random() < _BLUR_SHARE:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.8)), np.float32)
    if rng.random() < _NOISE_SHARE:
        image = image + rng.normal(0.0, rng.uniform(0.002, 0.02), image.shape).astype(np.float32)
    if rng.random() < _JPEG_SHARE:
        stored = np.round(np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)
        _, packed = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 96))])
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.float32) / np.float32(255)
    return image
