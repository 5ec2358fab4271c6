"""RLE Lossless (PS3.5 annex G): the page at a fraction of its size.

The only compression here: without loss, without a patent, decoded by every toolkit. For a peer that takes no compressed
image it is undone on the way (`storage_scu`), which changes no pixel, so the object keeps its UID.
"""

from __future__ import annotations

import struct
from typing import Final

import cv2
import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

SEGMENTS: Final = 15
"""Places in the header of a frame; unused ones are zero (G.5)."""


def set_rgb(image: Dataset, pixels: npt.NDArray[np.uint8]) -> None:
    """Give `image` the RLE-coded `pixels`, uint8 (rows, columns, 3), with the elements that describe them."""
    image.SamplesPerPixel, image.PlanarConfiguration = 3, 1
    image.PhotometricInterpretation = "RGB"
    image.Rows, image.Columns = pixels.shape[:2]
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = encapsulate([encoded(pixels)])
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True


def encoded(pixels: npt.NDArray[np.uint8]) -> bytes:
    """One frame, uint8 (rows, columns, samples), as an RLE frame: a segment per sample, no run beyond its row."""
    segments = []
    for sample in cv2.split(pixels):
        segment = bytes(imagecodecs.packbits_encode(sample, axis=-1))
        segments.append(segment + b"\x00" * (len(segment) % 2))
    offsets, place = [], 64
    for segment in segments:
        offsets.append(place)
        place += len(segment)
    head = struct.pack(f"<{SEGMENTS + 1}L", len(segments), *offsets, *[0] * (SEGMENTS - len(segments)))
    return head + b"".join(segments)
