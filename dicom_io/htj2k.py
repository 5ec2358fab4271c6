"""HTJ2K by OpenJPH, through imagecodecs; an error in mid-image is one."""

from __future__ import annotations

import sys
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from dicom_io.errors import PixelDecodeError


def decode(data: bytes, *, skip: int = 0) -> npt.NDArray[Any]:
    """Decode one frame without its `skip` finest resolution levels.

    The library (2026.3) drops an error in mid-image and returns memory nobody wrote: it is caught on its way.
    Raises PixelDecodeError for it, and whatever else the library raises.
    """
    dropped: list[str] = []
    previous, sys.unraisablehook = sys.unraisablehook, lambda event: dropped.append(str(event.exc_value))
    try:
        image = np.asarray(imagecodecs.htj2k_decode(data, skipres=skip or None))
    finally:
        sys.unraisablehook = previous
    if dropped:
        raise PixelDecodeError(dropped[0])
    return image
