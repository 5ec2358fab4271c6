"""One image through an encoder and back by both ways of decoding, full and half: what the parity run compares."""

from __future__ import annotations

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import uid

from dicom_io import half_size, htj2k

BITS = 12

Floats = npt.NDArray[np.float32]


def round_trip(pixels: Floats, *, high_throughput: bool) -> tuple[Floats, Floats]:
    """(rows, columns) float32 in [0, 1] as decoded from 12 bit JPEG 2000 or HTJ2K: in full, and at half resolution."""
    white = (1 << BITS) - 1
    stored = np.round(np.clip(pixels, 0.0, 1.0) * white).astype(np.uint16)
    if high_throughput:
        frame = bytes(imagecodecs.htj2k_encode(stored))
        full, syntax = htj2k.decode(frame), uid.HTJ2KLossless
    else:
        frame = bytes(imagecodecs.jpeg2k_encode(stored, bitspersample=BITS, codecformat="j2k", reversible=True))
        full, syntax = imagecodecs.jpeg2k_decode(frame), uid.JPEG2000Lossless
    half = half_size.decode(frame, stored.shape[0], stored.shape[1], BITS, syntax)
    return tuple(np.asarray(a, np.float32) / np.float32(white) for a in (full, half))  # type: ignore[return-value]
