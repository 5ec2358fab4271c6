"""Reads a look-up table of the grey scale (Modality LUT, VOI LUT; PS3.3 C.11.1.1), however its entries are packed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dicom_io.element import numbers

_DESCRIPTOR_FIELDS: Final = 3
_FULL_16_BIT: Final = 1 << 16
_BYTE: Final = 8
_WORD: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Lut:
    """A table with as many entries as its descriptor says."""

    first: int
    """Value of the first entry, as its reader had it: a signed one may come as unsigned."""
    bits: int
    """Of an entry, 1 to 16."""
    entries: npt.NDArray[np.float64] = field(repr=False)
    """(n,) 0 to 65535; what exceeds `bits` is as stored."""


def read_lut(item: Dataset) -> Lut | None:
    """The table of one item of a LUT sequence; None where it is none, or has fewer entries than it says."""
    descriptor = numbers(item, "LUTDescriptor")
    if len(descriptor) != _DESCRIPTOR_FIELDS:
        return None
    count, first, bits = (int(value) for value in descriptor)
    count = count % _FULL_16_BIT or _FULL_16_BIT  # 0 means 65536, and a signed reader may have made it negative
    if not 1 <= bits <= _WORD:
        return None
    entries = _entries(item, packed_below=count if bits <= _BYTE else 0)[:count]
    return Lut(first=first, bits=bits, entries=entries) if entries.size == count else None


def _entries(item: Dataset, *, packed_below: int) -> npt.NDArray[np.float64]:
    """LUT Data (0028,3006), a word each; fewer words than `packed_below` hold two entries of a byte each."""
    raw = item.get("LUTData")
    if not isinstance(raw, bytes):
        return np.asarray(numbers(item, "LUTData")) % _FULL_16_BIT
    words = np.frombuffer(raw[: len(raw) // 2 * 2], ">u2" if item.original_encoding[1] is False else "<u2")
    return (words.astype("<u2").view(np.uint8) if words.size < packed_below else words).astype(np.float64)
