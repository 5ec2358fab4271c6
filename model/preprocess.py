"""From a radiograph of any size to the square the networks read: one function for training and for serving.

Resize first, window afterwards (performance.md D5): percentiles and clipping then cost a 320 px image, not a 5 Mpx
one. The resizer's name stands in the bundle's manifest, and a bundle trained with another one is refused: resizers
differ from each other by several grey levels. Not allowed here: torch, randomness, local contrast equalisation (it
changes the energies the wavelets measure), and any correction of orientation or polarity; the gate refuses such films
instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from model.area import resized

RESIZER: Final = "opencv INTER_AREA float32, letter-box, clip 0.5-99.5 %; rev 1"
"""Names everything below that a trained network depends on. Any change of result needs another revision."""

_FLAT: Final = 0.01
"""A border line whose SD is under this share of the image's SD shows the collimator, not the patient."""
_BLOCK: Final = 16
"""Border lines that are looked at together."""
_CLIP_PERCENT: Final = (0.5, 99.5)
_LEAST_RANGE: Final = 1e-6
"""A smaller difference is rounding, not a picture; a 16-bit step is fifteen times larger."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The square a network reads, and where it came from. Arrays are read-only."""

    image: Floats = field(repr=False)
    """(S, S) float32 in [0, 1], bone bright, zero outside the mask."""
    mask: npt.NDArray[np.bool_] = field(repr=False)
    """(S, S) bool, True where the square shows the source image; always one rectangle."""
    region: tuple[int, int, int, int]
    """(top, left, bottom, right) in source pixels, half-open: what the mask's rectangle shows."""
    pixels_per_source_px: float
    """Scale of the resize; spacing in mm after it is the source's spacing divided by this."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of the mask's rectangle in the square, half-open."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def prepare(pixels: Floats, side: int) -> Prepared:
    """Cut off the collimator's border, letter-box to (`side`, `side`), aspect kept, and stretch the grey values.

    `pixels` is (rows, columns) float32 in [0, 1], bone bright. Never raises for a picture of at least one pixel: a
    blank one gives zeros.
    """
    top, left, bottom, right = region = field_of_view(pixels)
    scale = side / max(bottom - top, right - left)
    rows, columns = max(1, round((bottom - top) * scale)), max(1, round((right - left) * scale))
    small = resized(pixels, region, rows, columns)
    first_row, first_column = (side - rows) // 2, (side - columns) // 2
    window = np.s_[first_row : first_row + rows, first_column : first_column + columns]
    image, mask = np.zeros((side, side), np.float32), np.zeros((side, side), np.bool_)
    image[window], mask[window] = _stretch(small), True
    image.setflags(write=False)
    mask.setflags(write=False)
    return Prepared(image=image, mask=mask, region=region, pixels_per_source_px=scale)


def field_of_view(pixels: Floats) -> tuple[int, int, int, int]:
    """(top, left, bottom, right), half-open, without the flat border lines of a collimator.

    A field of less than a third of a side is no collimation but an empty picture: then all of it.
    """
    limit = _FLAT * float(pixels[::4, ::4].std())
    top, bottom = _trim(pixels, limit)
    left, right = _trim(pixels[top:bottom].T, limit)
    rows, columns = pixels.shape
    if 3 * (bottom - top) < rows or 3 * (right - left) < columns:
        return 0, 0, rows, columns
    return top, left, bottom, right


def _trim(lines: Floats, limit: float) -> tuple[int, int]:
    """First and one-past-last line that is not flat; one line always remains."""
    first = _flat(lines[:-1], limit)
    return first, len(lines) - _flat(lines[:first:-1], limit)


def _flat(lines: Floats, limit: float) -> int:
    """How many lines from the first on have an SD under `limit`.

    The first is looked at alone, so an open field costs one line; the others in blocks, for numpy's sake. A block is
    copied line by line: the sum along a strided axis would round otherwise than that of a line.
    """
    done, block = 0, 1
    while done < len(lines):
        flat = np.ascontiguousarray(lines[done : done + block]).std(axis=1) < limit
        if not flat.all():
            return done + int(flat.argmin())
        done, block = done + len(flat), _BLOCK
    return done


def _stretch(pixels: Floats) -> Floats:
    """Map the 0.5 and 99.5 percentiles to 0 and 1 and clip beyond them; a flat image becomes zeros."""
    low, high = (float(v) for v in np.percentile(pixels, _CLIP_PERCENT))
    if high - low < _LEAST_RANGE:
        return np.zeros_like(pixels)
    return np.asarray(np.clip((pixels - low) / (high - low), 0.0, 1.0), np.float32)
