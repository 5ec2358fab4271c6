"""Grayscale transformations (PS3.3 C.7.6.16.2, PS3.4 N.2) as one table over all stored values.

At most 65,536 entries: Modality LUT or rescale, VOI LUT or window, inversion and padding are worked out once per value
that can be stored, and the image is a look-up. Floating point never touches a pixel twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dicom_io.decoding import PixelFormat
from dicom_io.element import integer, items, number, numbers, text
from dicom_io.lut import read_lut

Values = npt.NDArray[np.float64]

_FULL_16_BIT: Final = 1 << 16
_EXACT_COUNTS: Final = 1 << 24
"""OpenCV counts in float32, which is exact up to here."""


def display_table(
    dataset: Dataset, form: PixelFormat, counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """Display value of each stored value, and coded remarks.

    `counts` is the histogram over [form.lowest, form.highest] without padding. The table is float32, same length, range
    [0, 1], bone bright; padding is 0.
    """
    stored = np.arange(form.lowest, form.highest + 1, dtype=np.float64)
    modality, remarks = _modality(dataset, form, stored)
    shown = _voi(dataset, form, modality)
    if shown is None:
        shown = _stretch(modality, counts)
        remarks += ("NO_WINDOW",)
    inverse = text(dataset, "PresentationLUTShape").upper()
    monochrome1 = text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    if inverse in ("INVERSE", "IDENTITY") and (inverse == "INVERSE") != monochrome1:
        remarks += ("PRESENTATION_LUT_CONTRADICTS_PHOTOMETRIC_INTERPRETATION",)
    # In a DX object the two say the same thing once (PS3.3 C.8.11.3.1.2), so they must not cancel out.
    if monochrome1 or inverse == "INVERSE":
        shown = 1.0 - shown
    shown[padding(dataset, form)] = 0.0
    return shown.astype(np.float32), remarks


def histogram(index: npt.NDArray[np.uint16], form: PixelFormat) -> npt.NDArray[np.int64]:
    """How often each value occurs: length form.highest - form.lowest + 1, of values minus form.lowest."""
    length = form.highest - form.lowest + 1
    if index.size > _EXACT_COUNTS:
        return np.bincount(index.ravel(), minlength=length)
    counts = cv2.calcHist([index], [0], None, [length], [0, length])
    return np.asarray(counts.ravel(), np.int64)


def look_up(table: npt.NDArray[np.float32], index: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """`table[index]`, five times faster."""
    padded = np.zeros(_FULL_16_BIT, np.float32)
    padded[: len(table)] = table
    return np.asarray(cv2.LUT(index, padded), np.float32)


def padding(dataset: Dataset, form: PixelFormat) -> npt.NDArray[np.bool_]:
    """Which stored values mean "no image here": Pixel Padding Value to Range Limit, inclusive (PS3.3 C.7.5.1.1.2)."""
    stored = np.arange(form.lowest, form.highest + 1)
    first = integer(dataset, "PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    last = integer(dataset, "PixelPaddingRangeLimit")
    last = first if last is None else last
    return (stored >= min(first, last)) & (stored <= max(first, last))


def _modality(dataset: Dataset, form: PixelFormat, stored: Values) -> tuple[Values, tuple[str, ...]]:
    """PS3.3 C.11.1: the Modality LUT if there is one, else slope and intercept."""
    table = _first_lut(dataset, "ModalityLUTSequence", signed=form.signed)
    if table is not None:
        output: Values = table(stored)[0]
        return output, ()
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    if slope == 0:
        return stored, ("RESCALE_SLOPE_ZERO",)
    return stored * (1.0 if slope is None else slope) + (intercept or 0.0), ()


def _voi(dataset: Dataset, form: PixelFormat, values: Values) -> Values | None:
    """PS3.3 C.11.2: the first VOI LUT, else the first window; None when there is no usable one."""
    signed = form.signed or bool(values.min() < 0)
    table = _first_lut(dataset, "VOILUTSequence", signed=signed)
    if table is not None:
        output, maximum = table(values)
        return np.asarray(output / maximum)
    centers, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    if not centers or not widths or widths[0] <= 0:
        return None
    return _window(values, centers[0], widths[0], text(dataset, "VOILUTFunction").upper())


def _window(values: Values, center: float, width: float, function: str) -> Values:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3, output range [0, 1]."""
    if function == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0))))
    if function != "LINEAR_EXACT":
        center, width = center - 0.5, width - 1.0
    if width <= 0:
        return np.where(values > center, 1.0, 0.0)
    return np.clip((values - center) / width + 0.5, 0.0, 1.0)


def _stretch(values: Values, counts: npt.NDArray[np.int64]) -> Values:
    present = values[counts > 0]
    if present.size == 0 or present.min() == present.max():
        return np.zeros_like(values)
    low, high = float(present.min()), float(present.max())
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def _first_lut(dataset: Dataset, sequence: str, *, signed: bool) -> Callable[[Values], tuple[Values, float]] | None:
    """The first usable LUT of the sequence (PS3.3 C.11.1.1) as a function to (output, largest output)."""
    lut = read_lut(next(items(dataset, sequence), Dataset()))
    if lut is None:
        return None
    first = lut.first - _FULL_16_BIT if signed and lut.first >= _FULL_16_BIT // 2 else lut.first
    maximum = float((1 << lut.bits) - 1)

    def look_up(values: Values) -> tuple[Values, float]:
        index = np.clip(np.rint(values) - first, 0, lut.entries.size - 1).astype(np.int64)
        return np.minimum(lut.entries[index], maximum), maximum

    return look_up
