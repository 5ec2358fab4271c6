"""How the film's grey scale is said in a presentation state: what `grayscale` uses of its header, and nothing else.

highdicom copies these attributes as they stand. One odd window then costs the whole report, an explanation falls into
its letters, a Modality LUT is lost, and a VOI LUT of 12 bits is called one of 16, which shows it black. So they are
taken out of the header before highdicom sees it, and written here.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import DSfloat

from dicom_io.element import items, number, numbers, text
from dicom_io.lut import read_lut

_TAKEN: Final = (
    "ModalityLUTSequence",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "WindowCenterWidthExplanation",
    "VOILUTFunction",
)
_FUNCTIONS: Final = ("SIGMOID", "LINEAR_EXACT")
"""Beside LINEAR, which is meant where none is named (PS3.3 C.11.2.1.2)."""
_LONGEST: Final = 64
"""Characters of an explanation (LO)."""
_WORD: Final = 16
"""Bits of an entry of a LUT."""
_FULL_16_BIT: Final = 1 << 16
_UNSPECIFIED: Final = "US"
"""Modality LUT Type and Rescale Type of what the header does not name (PS3.3 C.11.1.1.2)."""


def take_grayscale(header: Dataset) -> Dataset:
    """Take the grey scale's attributes out of `header`, which is changed; those of a presentation state, as written.

    Modality LUT (PS3.3 C.11.1) and Softcopy VOI LUT (PS3.3 C.11.8); either is left out where the header has none that
    `grayscale` could use: it then takes stored values, or stretches them, as viewers do.
    """
    state = _modality(header)
    voi = _voi(header)
    if voi is not None:
        state.SoftcopyVOILUTSequence = [voi]
    for keyword in _TAKEN:
        if keyword in header:
            del header[keyword]
    return state


def _modality(header: Dataset) -> Dataset:
    """The Modality LUT if there is one, else slope and intercept, as `grayscale` completes them."""
    state = Dataset()
    source = next(items(header, "ModalityLUTSequence"), Dataset())
    table = _table(source, scaled=False)
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if table is not None:
        table.ModalityLUTType = text(source, "ModalityLUTType")[:_LONGEST] or _UNSPECIFIED
        state.ModalityLUTSequence = [table]
    elif slope != 0 and (slope, intercept) != (None, None):
        state.RescaleIntercept = _decimal(intercept or 0.0)
        state.RescaleSlope = _decimal(1.0 if slope is None else slope)
        state.RescaleType = text(header, "RescaleType")[:_LONGEST] or _UNSPECIFIED
    return state


def _voi(header: Dataset) -> Dataset | None:
    """The first VOI LUT, else the first window."""
    voi = Dataset()
    table = _table(next(items(header, "VOILUTSequence"), Dataset()), scaled=True)
    if table is not None:
        voi.VOILUTSequence = [table]
        return voi
    centers, widths = numbers(header, "WindowCenter"), numbers(header, "WindowWidth")
    if not centers or not widths or widths[0] <= 0:
        return None
    function = text(header, "VOILUTFunction").upper()
    # A linear window narrower than 1 is none (PS3.3 C.11.2.1.2.1); `grayscale` makes of it the step that 1 is.
    width = widths[0] if function in _FUNCTIONS else max(widths[0], 1.0)
    voi.WindowCenter, voi.WindowWidth = _decimal(centers[0]), _decimal(width)
    explanation = text(header, "WindowCenterWidthExplanation")
    if 0 < len(explanation) <= _LONGEST and _count(header, "WindowCenterWidthExplanation") == len(centers):
        voi.WindowCenterWidthExplanation = explanation
    if function in _FUNCTIONS:
        voi.VOILUTFunction = function
    return voi


def _table(source: Dataset, *, scaled: bool) -> Dataset | None:
    """A LUT item (PS3.3 C.11.1.1) with entries of 16 bits; None where there are fewer than its descriptor says.

    Validators take 8 and 16 bits only, so a VOI LUT is `scaled` to the full range; the values of a Modality LUT count.
    """
    lut = read_lut(source)
    if lut is None:
        return None
    count, first, data = lut.entries.size, lut.first, lut.entries
    if scaled:
        most = (1 << lut.bits) - 1
        data = np.rint(np.minimum(data, most) * ((_FULL_16_BIT - 1) / most))
    table = Dataset()
    table.add_new("LUTDescriptor", "SS" if first < 0 else "US", [_stored(count, signed=first < 0), first, _WORD])
    table.add_new("LUTData", "OW", data.astype("<u2").tobytes())
    if 0 < len(explanation := text(source, "LUTExplanation")) <= _LONGEST:
        table.LUTExplanation = explanation
    return table


def _stored(count: int, *, signed: bool) -> int:
    """The number of entries as the descriptor holds it: 65536 as 0, and in a signed one the upper half negative."""
    count %= _FULL_16_BIT
    return count - _FULL_16_BIT if signed and count >= _FULL_16_BIT // 2 else count


def _count(header: Dataset, keyword: str) -> int:
    """How many values the element has."""
    found = header.get(keyword)
    return len(found) if isinstance(found, MultiValue) else int(bool(found))


def _decimal(value: float) -> DSfloat:
    """VR DS, at most 16 characters."""
    return DSfloat(value, auto_format=True)
