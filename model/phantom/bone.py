"""What a bone latent does to the skeleton: thinner cortex, fewer trabeculae, coarser and more vertical texture.

The signal lies in texture, edge contrast and anisotropy. Mean grey carries none that survives the vendor's window, and
no other module may read `t_image` or `texture`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.phantom.grid import FloatArray, Map
from model.phantom.subject import Subject
from model.phantom.texture import power_law_field

_HETEROGENEITY = 0.08
_HIGHEST_FREQUENCY = 9.0
"""Cycles per cm; trabeculae are a fifth of a millimetre thick, a film of 43 cm shows the coarser part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoneState:
    """Material and texture of one skeleton."""

    cortex: float
    """Cortical thickness relative to a young adult's, about 0.3 to 1.3."""
    trabecular_fraction: float
    """Share of the spongy volume that is mineralised."""
    contrast: float
    """Relative SD of the trabecular texture."""
    slope: float
    """Exponent of the texture's power spectrum: larger is coarser."""
    anisotropy: float
    """Vertical stretch of the vertebral texture; grows when horizontal struts are lost."""
    deformity: float
    """Propensity to vertebral compression, 0 to 1.2."""
    brittle_plates: bool
    """T below -2: end plates stand out as the body between them empties."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BoneMaps:
    """Depth of cortical and trabecular bone in cm, vertebrae apart from all other bones."""

    spine_cortical: Map
    spine_trabecular: Map
    other_cortical: Map
    other_trabecular: Map


def bone_state(subject: Subject, rng: np.random.Generator) -> BoneState:
    """Derive the skeleton's state: b = 1 + 0.12 T; cortex ~ b^0.9, trabecular fraction .145 b^1.35."""
    density = float(np.clip(1 + 0.12 * subject.t_image, 0.38, 1.6))
    loss = subject.t_image + 1.0
    return BoneState(
        cortex=0.82 * density**0.9 * float(np.exp(rng.normal(0, 0.6 * _HETEROGENEITY))),
        trabecular_fraction=0.145 * density**1.35 * float(np.exp(rng.normal(0, _HETEROGENEITY))),
        contrast=float(np.clip(0.10 - 0.035 * subject.texture - 0.02 * loss, 0.03, 0.30)),
        slope=float(np.clip(2.7 - 0.28 * subject.texture - 0.10 * loss, 1.8, 3.9)),
        anisotropy=float(np.clip(1.5 - 0.22 * loss, 1.0, 2.8)),
        deformity=float(np.clip((-2.2 - subject.t_image) * 0.45 + rng.normal(0, 0.35), 0, 1.2)),
        brittle_plates=subject.t_image < -2.0,  # noqa: PLR2004 - explained at the field
    )


def mineral_depth(maps: BoneMaps, state: BoneState, pixel_cm: float, rng: np.random.Generator) -> FloatArray:
    """Textured depth of compact bone mineral in cm, same shape as the maps."""
    shape = maps.spine_cortical.shape
    vertical = power_law_field(
        shape,
        pixel_cm,
        rng,
        slope=state.slope,
        low_cut=0.25,
        high_cut=_HIGHEST_FREQUENCY,
        vertical_stretch=state.anisotropy,
    )
    even = power_law_field(shape, pixel_cm, rng, slope=state.slope - 0.2, low_cut=0.3, high_cut=_HIGHEST_FREQUENCY)
    cortical = maps.spine_cortical * (1 + 0.35 * state.contrast * even)
    cortical += maps.other_cortical * (1 + 0.25 * state.contrast * even)
    spongy = maps.spine_trabecular * np.clip(1 + 1.6 * state.contrast * vertical, 0.1, 3)
    spongy += maps.other_trabecular * np.clip(1 + 1.8 * state.contrast * even, 0.1, 3)
    return np.asarray(cortical + state.trabecular_fraction * spongy)


def marrow_depth(maps: BoneMaps, state: BoneState) -> FloatArray:
    """Depth in cm of the marrow between the trabeculae, in equivalents of soft tissue."""
    return np.asarray(0.97 * (1 - state.trabecular_fraction) * (maps.spine_trabecular + maps.other_trabecular))
