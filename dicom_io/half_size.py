"""JPEG 2000 and HTJ2K decoded without their finest level, then set back to full size in the right place.

Three traps, each with a test (performance.md D4). Pillow widens 12 bit to 16. OpenJPH lets a negative overshoot wrap to
the other end of the scale. And a sample of the lower level belongs to an even pixel of the full image, not between two:
spread over both without regard to that, the picture moves by half a pixel. The result has the full size, so that
nothing that comes after has to know of it; what is missing are details finer than two pixels.
"""

from __future__ import annotations

import io
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import uid

from dicom_io import htj2k
from dicom_io.errors import PixelDecodeError

SYNTAXES: Final = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
_HIGH_THROUGHPUT: Final = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
MOST_BITS: Final = 15
"""With 16 a value above the middle and a wrapped overshoot look alike."""
_WIDENED_TO: Final = {"L": 8, "I;16": 16}
"""Bits of Pillow's grey modes; it shifts every component up to them."""

_SIZ: Final = b"\xff\x4f\xff\x51"
_TO_SSIZ: Final = 42

Words = npt.NDArray[np.uint16]


def decode(frame: bytes, rows: int, columns: int, stored: int, syntax: uid.UID) -> Words:
    """Return (rows, columns) uint16 of an unsigned frame with `stored` bits, from its half-resolution level.

    Raises PixelDecodeError where the level has not the size it must have, and what the libraries raise.
    """
    small = _by_openjph(frame, stored) if syntax in _HIGH_THROUGHPUT else _by_openjpeg(frame, stored)
    if small.shape != ((rows + 1) // 2, (columns + 1) // 2):
        msg = f"{syntax.name}: half of {rows}x{columns} decoded to {small.shape}"
        raise PixelDecodeError(msg)
    return full_size(small, rows, columns)


def full_size(small: Words, rows: int, columns: int) -> Words:
    """Pixel 2i takes sample i, pixel 2i + 1 the mean of samples i and i + 1; the last row and column repeat."""
    wide = np.empty((small.shape[0], 2 * small.shape[1]), np.uint16)
    wide[:, ::2] = small
    wide[:, 1:-1:2] = _mean(small[:, :-1], small[:, 1:])
    wide[:, -1] = small[:, -1]
    tall = np.empty((2 * wide.shape[0], wide.shape[1]), np.uint16)
    tall[::2] = wide
    tall[1:-1:2] = _mean(wide[:-1], wide[1:])
    tall[-1] = wide[-1]
    return tall[:rows, :columns]


def _by_openjpeg(frame: bytes, stored: int) -> Words:
    if _component(frame) != stored - 1:
        msg = "the frame's own precision or sign differs from the header's"
        raise PixelDecodeError(msg)
    with Image.open(io.BytesIO(frame), formats=("JPEG2000",)) as image:
        image.reduce = 1  # type: ignore[assignment,method-assign] # Pillow's documented way for this format
        bits = _WIDENED_TO[image.mode]
        return np.asarray(np.right_shift(np.asarray(image), bits - stored), np.uint16)


def _component(frame: bytes) -> int:
    """Ssiz of the first component: its precision minus 1, and 128 for signed ones (ISO/IEC 15444-1 A.5.1)."""
    position = frame.find(_SIZ, 0, 4096)
    return frame[position + _TO_SSIZ] if position >= 0 and len(frame) > position + _TO_SSIZ else -1


def _by_openjph(frame: bytes, stored: int) -> Words:
    wrapped: npt.NDArray[Any] = htj2k.decode(frame, skip=1)
    signed = wrapped.view(np.int16) if wrapped.dtype == np.uint16 else wrapped.astype(np.int16)
    return np.clip(signed, 0, (1 << stored) - 1).astype(np.uint16)


def _mean(first: Words, second: Words) -> Words:
    """Rounded mean of two uint16 arrays without a wider type."""
    return np.asarray(cv2.addWeighted(np.ascontiguousarray(first), 0.5, np.ascontiguousarray(second), 0.5, 0.0))
