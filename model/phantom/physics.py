"""From path lengths to the signal behind the patient: polyenergetic attenuation and scatter.

Five energies, three materials (Beer-Lambert). The attenuation coefficients are those of NIST XCOM and ICRU-44 as the
authors remember them; this is a test fixture, not a dosimetry code.
"""

from __future__ import annotations

import numpy as np

from model.phantom.grid import FloatArray, Map, wide_blur
from model.phantom.scenario import Spectrum

_ENERGIES_KEV = (40, 50, 60, 80, 100)
_SOFT_PER_CM = 1.04 * np.array([0.2683, 0.2269, 0.2059, 0.1837, 0.1707], np.float32)
_FAT_PER_CM = 0.95 * np.array([0.2396, 0.2123, 0.1974, 0.1800, 0.1688], np.float32)
_BONE_PER_CM = 1.92 * np.array([0.6655, 0.4242, 0.3148, 0.2229, 0.1855], np.float32)
_FLUENCE = {
    Spectrum.KV_80: (0.25, 0.35, 0.30, 0.10, 0.00),
    Spectrum.KV_110: (0.12, 0.24, 0.29, 0.25, 0.10),
    Spectrum.KV_125: (0.09, 0.19, 0.27, 0.28, 0.17),
}
"""Share of the detected energy per entry of `_ENERGIES_KEV`, after filtration and before the patient."""
_SCATTER_CM = ((3.2, 0.6), (8.0, 0.4))
"""Gaussian sigma and share of the scatter's two components."""
_MUCH_SCATTER = 3.0


def primary(soft: FloatArray, fat: FloatArray, bone: FloatArray, spectrum: Spectrum) -> Map:
    """Primary signal relative to the open field, in (0, 1], float32; the arguments are depths in cm."""
    total = np.zeros(soft.shape, np.float32)
    rows = zip(_FLUENCE[spectrum], _SOFT_PER_CM, _FAT_PER_CM, _BONE_PER_CM, strict=True)
    for share, per_soft, per_fat, per_bone in rows:
        if share:
            total += np.float32(share) * np.exp(-(per_soft * soft + per_fat * fat + per_bone * bone))
    return total


def scatter(primary_signal: Map, pixel_cm: float) -> Map:
    """Scattered signal for a scatter-to-primary ratio of 1, same shape and scale as the primary.

    Limited to three times its median: the open field beside a slim patient would otherwise flood the chest.
    """
    spread = np.zeros_like(primary_signal)
    for sigma_cm, share in _SCATTER_CM:
        spread += np.float32(share) * wide_blur(primary_signal, sigma_cm / pixel_cm)
    return np.minimum(spread, np.float32(_MUCH_SCATTER * float(np.median(spread[::4, ::4]))))
