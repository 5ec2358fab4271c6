"""Pixel rules that come before any network: is there enough of a picture to look at (model.md section 10).

Each limit lies well outside what 433 real frontal films show (measured values beside it). Orientation and anatomy are
the gate's business. Not allowed here: changing the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.area import shrink
from model.domain import Radiograph, Reason

CLIPPED_LIMIT = 0.10
"""Largest share of the central field at one end of the grey scale (films: at most .004; design proposal)."""
CONTRAST_LIMIT = 0.20
"""Least distance of the 1 and 99 percentiles, as a share of the grey scale (films: at least .48)."""
ENTROPY_LIMIT_BITS = 2.5
"""Least entropy of 64 grey classes (films: at least 4.6; a nearly empty portal image .1)."""
NEIGHBOUR_LIMIT = 0.5
"""Least correlation of neighbouring points of a 128 px overview (films: at least .90; white noise 0)."""
_OVERVIEW_SIDE = 128
_GREY_CLASSES = 64
_SIDE_WITH_NEIGHBOURS = 2
_LEAST_VARIANCE = 1e-10

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelQuality:
    """Why the pixels are unfit, if they are, and what was measured, by name."""

    reasons: tuple[Reason, ...]
    measurements: tuple[tuple[str, float], ...]


def check_pixels(radiograph: Radiograph, *, minimum_short_side: int) -> PixelQuality:
    """Apply every pixel rule; `minimum_short_side` in px comes from the bundle (1.25 times the network's square)."""
    pixels = radiograph.pixels
    short_side = min(pixels.shape)
    if short_side < minimum_short_side:
        return PixelQuality(reasons=(Reason.TOO_SMALL,), measurements=(("short_side_px", float(short_side)),))
    overview = _overview(pixels)
    low, high = np.percentile(overview, (1, 99))
    contrast, entropy, neighbour = float(high - low), _entropy_bits(overview), _neighbour_correlation(overview)
    clipped = _clipped_share(pixels)
    measurements = (
        ("short_side_px", float(short_side)),
        ("contrast", contrast),
        ("entropy_bits", entropy),
        ("neighbour_correlation", neighbour),
        ("clipped_share", clipped),
    )
    return PixelQuality(reasons=_reasons(contrast, entropy, neighbour, clipped), measurements=measurements)


def _reasons(contrast: float, entropy: float, neighbour: float, clipped: float) -> tuple[Reason, ...]:
    if entropy < ENTROPY_LIMIT_BITS or neighbour < NEIGHBOUR_LIMIT:
        return (Reason.NOISE_OR_BLANK,)
    rules = ((contrast < CONTRAST_LIMIT, Reason.LOW_CONTRAST), (clipped > CLIPPED_LIMIT, Reason.SATURATED))
    return tuple(reason for broken, reason in rules if broken)


def _overview(pixels: Floats) -> Floats:
    rows, columns = pixels.shape
    return shrink(pixels, (0, 0, rows, columns), min(rows, _OVERVIEW_SIDE), min(columns, _OVERVIEW_SIDE))


def _entropy_bits(overview: Floats) -> float:
    counts = np.histogram(overview, bins=_GREY_CLASSES, range=(0.0, 1.0))[0]
    shares = counts[counts > 0] / max(int(counts.sum()), 1)
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def _neighbour_correlation(overview: Floats) -> float:
    """The smaller of the two lag-one autocorrelations; 0 for a blank picture and for a single row or column."""
    if min(overview.shape) < _SIDE_WITH_NEIGHBOURS:
        return 0.0
    centred = overview.astype(np.float64) - overview.mean()
    variance = float((centred * centred).mean())
    if variance < _LEAST_VARIANCE:
        return 0.0
    down, across = (centred[1:] * centred[:-1]).mean(), (centred[:, 1:] * centred[:, :-1]).mean()
    return float(min(down, across)) / variance


def _clipped_share(pixels: Floats) -> float:
    """Larger share at the picture's lowest or highest value, in the central half of both axes.

    The centre only, because direct exposure beside the patient and the collimator's border are clipped in good films.
    """
    rows, columns = (side // 4 for side in pixels.shape)
    centre = pixels[rows : pixels.shape[0] - rows, columns : pixels.shape[1] - columns]
    return max(np.count_nonzero(centre <= pixels.min()), np.count_nonzero(centre >= pixels.max())) / centre.size
