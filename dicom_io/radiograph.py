"""A stored object -> `Radiograph`: what the screener sees, or a named error.

Nothing is corrected here: what the header states is applied, and whether the result looks like an upright, positive
chest is the gate's question (model.md section 10). A file that claims nonsense ends in `PixelDecodeError` or
`HeaderInvalid`, never in another exception.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset

from dicom_io.acceptance import refusals, stated_view
from dicom_io.decoding import LOSSY, MAYBE_LOSSY, halves, pixel_format, stored_index, transfer_syntax
from dicom_io.element import numbers, text
from dicom_io.errors import PixelDecodeError
from dicom_io.grayscale import display_table, histogram, look_up, padding
from dicom_io.header import acquired_at, age_years, instance_reference, parse, remarks, sex
from model.domain import Radiograph

__all__ = ["read_radiograph", "refusals"]

_UTC: Final = ZoneInfo("UTC")
_PAIR: Final = 2
_HALF: Final = "DECODED_AT_HALF_RESOLUTION"


def read_radiograph(path: Path, *, zone: ZoneInfo = _UTC, half_from: int | None = None) -> Radiograph:
    """Decode the object at `path`; `zone` is that of times without offset.

    An image whose short side has `half_from` pixels or more may be decoded at half resolution, where its syntax has
    such a level; None decodes everything in full.

    Raises:
        HeaderInvalid: no DICOM object, or one that cannot be owned.
        PixelDecodeError: no monochrome single-frame image, or pixel data that do not fit the header.
        OSError: the file cannot be read.

    """
    dataset = parse(path, pixels=True)
    reference = instance_reference(dataset)
    form = pixel_format(dataset)
    half = half_from is not None and min(form.rows, form.columns) >= half_from and halves(dataset, form)
    index = stored_index(dataset, form, half=half)
    counts = histogram(index, form)
    counts[padding(dataset, form)] = 0
    if not counts.any():
        msg = "nothing but padding"
        raise PixelDecodeError(msg)
    table, table_remarks = display_table(dataset, form, counts)
    used, total = np.flatnonzero(counts), float(counts.sum())
    return Radiograph(
        reference=reference,
        pixels=look_up(table, index),
        spacing_mm=_spacing(dataset),
        view=stated_view(dataset),
        modality=text(dataset, "Modality"),
        age_years=age_years(dataset),
        sex=sex(dataset),
        acquired_at=acquired_at(dataset, zone),
        saturated_low=float(counts[used[0]]) / total,
        saturated_high=float(counts[used[-1]]) / total,
        lossy=_lossy(dataset),
        bits_stored=form.stored,
        manufacturer=text(dataset, "Manufacturer"),
        station=text(dataset, "StationName"),
        warnings=(*remarks(dataset), *table_remarks, *((_HALF,) if half else ())),
    )


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    """At the detector (0018,1164), else (0028,0030); a stated zero is no spacing."""
    for keyword in ("ImagerPixelSpacing", "PixelSpacing"):
        spacing = numbers(dataset, keyword)
        if len(spacing) == _PAIR and min(spacing) > 0:
            return spacing[0], spacing[1]
    return None


def _lossy(dataset: Dataset) -> bool:
    """(0028,2110), and the transfer syntaxes that cannot be anything else; an undecided one counts unless denied."""
    syntax: uid.UID = transfer_syntax(dataset)
    stated = text(dataset, "LossyImageCompression")
    return stated == "01" or syntax in LOSSY or (syntax in MAYBE_LOSSY and stated != "00")
