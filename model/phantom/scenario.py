"""How a film was taken: beam, dose, scatter, positioning and the vendor's image processing.

Drawn independently of the person on it, on purpose: an acquisition that knew the label would teach a network the
room instead of the bone.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from model.domain import View


class Spectrum(enum.StrEnum):
    """Beam quality; the energies behind each name stand in `physics.py`."""

    KV_80 = "80 kVp"
    KV_110 = "110 kVp"
    KV_125 = "125 kVp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """One exposure and its processing. The defaults are an ordinary upright PA film."""

    view: View = View.PA
    spectrum: Spectrum = Spectrum.KV_125
    dose: float = 1.0
    """Relative to 2.5e5 quanta per mm2 in the open field, per detected energy step."""
    scatter_ratio: float = 0.35
    """Scatter to primary behind the grid."""
    blur_mm: float = 0.18
    """Gaussian sigma of the detector's point spread."""
    electronic_noise: float = 8e-5
    """SD in units of the open-field signal."""
    magnification: float = 1.05
    rotation_degrees: float = 0.0
    shift_cm: tuple[float, float] = (0.0, 0.0)
    """Displacement of the patient (x, y)."""
    latitude: float = 0.5
    """Share of the large-scale contrast that the processing keeps; 1 keeps all."""
    edge_gain: float = 0.4
    """Weight of the unsharp mask."""
    edge_mm: float = 6.0
    """Gaussian sigma of the unsharp mask."""
    gain: float = 1.0
    gamma: float = 1.0


_SPECTRA = (Spectrum.KV_80, Spectrum.KV_110, Spectrum.KV_125)
_SPECTRUM_SHARES = (0.12, 0.33, 0.55)
_PA_SHARE = 0.75


def draw_acquisition(rng: np.random.Generator) -> Acquisition:
    """Draw one exposure: 75 % PA upright, 25 % AP with less dose, more scatter and more magnification."""
    view = View.PA if rng.random() < _PA_SHARE else View.AP
    bedside = view is View.AP
    spectrum = _SPECTRA[int(rng.choice(len(_SPECTRA), p=_SPECTRUM_SHARES))]
    return Acquisition(
        view=view,
        spectrum=spectrum,
        dose=float(np.exp(rng.normal(0, 0.45))) * (0.5 if bedside else 1.0),
        scatter_ratio=rng.uniform(0.15, 0.6) + (0.25 if bedside else 0.0),
        blur_mm=rng.uniform(0.10, 0.22),
        magnification=rng.uniform(1.1, 1.2) if bedside else rng.uniform(1.03, 1.09),
        rotation_degrees=rng.normal(0, 1.6),
        shift_cm=(rng.normal(0, 0.7), rng.normal(0, 0.9)),
        latitude=rng.uniform(0.28, 0.58),
        edge_gain=rng.uniform(0, 0.9),
        edge_mm=rng.uniform(3, 12),
        gain=float(np.exp(rng.normal(-0.06, 0.07))),
        gamma=float(np.exp(rng.normal(-0.40, 0.14))),
    )
