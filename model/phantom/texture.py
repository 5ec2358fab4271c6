"""Random fields with a power-law spectrum, the grain of every tissue.

Anatomical noise on radiographs falls with about f^-3 (Burgess, Med Phys 1999;26:1735); only slope, cut-offs and
vertical stretch are chosen by the callers.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from model.phantom.grid import Map


def power_law_field(
    shape: tuple[int, int],
    pixel_cm: float,
    rng: np.random.Generator,
    *,
    slope: float,
    low_cut: float,
    high_cut: float | None = None,
    vertical_stretch: float = 1.0,
) -> Map:
    """Draw a field with mean 0 and SD 1, float32 of `shape`, and power (f2 + low_cut2)^(-slope/2).

    Cut-offs are in cycles per cm; above `high_cut` the amplitude falls as a Gaussian. `vertical_stretch` > 1 draws the
    structure out vertically, as weight-bearing trabeculae are.
    """
    vertical = fft.fftfreq(shape[0], pixel_cm)[:, None].astype(np.float32)
    horizontal = fft.rfftfreq(shape[1], pixel_cm)[None, :].astype(np.float32)
    squared = (vertical * np.float32(vertical_stretch)) ** 2 + horizontal**2 + np.float32(low_cut**2)
    amplitude = squared ** np.float32(-slope / 4)
    if high_cut is not None:
        amplitude *= np.exp(squared * np.float32(-1 / high_cut**2))
    amplitude[0, 0] = 0.0
    # White noise is white in either domain: drawn as a spectrum it costs one transform less.
    white = rng.standard_normal((*amplitude.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    field: Map = fft.irfft2(white * amplitude, s=shape, workers=1, overwrite_x=True)
    field /= np.float32(np.sqrt(np.vdot(field, field) / field.size)) + np.float32(1e-9)
    return field
