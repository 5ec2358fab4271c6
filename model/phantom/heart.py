"""Heart, great vessels and mediastinum: what takes room from the lungs in the middle of the chest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.phantom.grid import FloatArray, ellipsoid, positive, smoothstep
from model.phantom.subject import Subject
from model.phantom.thorax import Canvas, profile

_MEDIASTINUM_LEVELS = (-0.3, 0, 0.12, 0.25, 0.45, 0.7, 1.0, 1.3)
_MEDIASTINUM_HALF_WIDTHS_CM = (3.2, 2.9, 2.5, 2.5, 2.7, 2.9, 3.1, 3.4)
_EDGE_LEVELS = tuple(float(level) for level in np.linspace(-0.3, 1.4, 13))
_EDGE_SD_CM = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heart:
    half_width: float
    centre_y: float
    tilt: float
    knob_radius: float


def displaced_lung(canvas: Canvas, subject: Subject, rng: np.random.Generator) -> FloatArray:
    """Depth in cm that heart, aorta and the vascular pedicle take from the lungs."""
    thorax = canvas.thorax
    ratio = float(np.clip(rng.normal(0.46, 0.045) + 0.002 * (subject.age_years - 60), 0.36, 0.66))
    heart = _Heart(
        half_width=ratio * thorax.half_width,
        centre_y=thorax.dome - 3.9 * thorax.scale + rng.normal(0, 0.3),
        tilt=0.62 + rng.normal(0, 0.06),
        knob_radius=1.75 + 0.012 * (subject.age_years - 50) + rng.normal(0, 0.15),
    )
    pedicle_centre = (0.35, heart.centre_y - 6.2 * thorax.scale)
    pedicle_radii = (3.0 * thorax.scale, 8.2 * thorax.scale, 4.4)
    pedicle = ellipsoid(canvas.x, canvas.y, centre=pedicle_centre, radii=pedicle_radii, tilt=0.03)
    knob_radii = (heart.knob_radius, 1.05 * heart.knob_radius, heart.knob_radius)
    knob = ellipsoid(canvas.x, canvas.y, centre=(2.25 * thorax.scale, thorax.at(0.27)), radii=knob_radii)
    parts = (_chambers(canvas, heart), 1.15 * pedicle, knob, _descending_aorta(canvas, subject))
    return np.sqrt(np.sqrt(sum(np.square(np.square(part)) for part in parts)))


def mediastinal_share(canvas: Canvas, rng: np.random.Generator) -> FloatArray:
    """Share of the lung's depth (0..1) that remains beside and over the mediastinum."""
    width = profile(_MEDIASTINUM_LEVELS, _MEDIASTINUM_HALF_WIDTHS_CM, canvas.level) * canvas.thorax.scale * 0.82
    sides = (canvas.x < 0, canvas.x >= 0)
    edges = [profile(_EDGE_LEVELS, rng.normal(0, _EDGE_SD_CM, len(_EDGE_LEVELS)), canvas.level) for _ in sides]
    beside = np.abs(canvas.x) - 0.15 * np.sign(canvas.x) - width - np.where(sides[0], edges[0], edges[1])
    beside = beside.astype(np.float32)
    covered = (0.30 - 0.12 * smoothstep((canvas.level - 0.1) / 0.8)).astype(np.float32)
    rise = np.sqrt(positive(beside) / 2.4) * 0.78 + 0.22 * smoothstep(beside / 0.6)
    outside = np.minimum(covered + (1 - covered) * rise, 1)
    return np.where(beside > 0, outside, covered * smoothstep((canvas.level - 0.12) / 0.15))


def _chambers(canvas: Canvas, heart: _Heart) -> FloatArray:
    scale, width, y = canvas.thorax.scale, heart.half_width, heart.centre_y
    ascending_aorta = ((-1.5, canvas.thorax.at(0.42)), (1.6, 6.0, 1.7), 0.0)
    pulmonary_trunk = ((2.3 * scale, canvas.thorax.at(0.40)), (2.0, 3.0, 2.2), 0.15)
    shapes = (
        ((width * 0.34, y), (width * 1.16, 4.7 * scale, 4.6), heart.tilt),
        ((width * 0.55, y + 1.2), (width * 0.80, 4.6 * scale, 4.4), 0.25),
        ((-width * 0.12, y - 0.2), (width * 0.60, 5.4 * scale, 4.0), -0.06),
        ascending_aorta,
        pulmonary_trunk,
    )
    chords = [ellipsoid(canvas.x, canvas.y, centre=centre, radii=radii, tilt=tilt) for centre, radii, tilt in shapes]
    return np.asarray(np.maximum.reduce(chords))


def _descending_aorta(canvas: Canvas, subject: Subject) -> FloatArray:
    axis = 1.9 + 0.02 * (subject.age_years - 60) + 0.5 * np.sin((canvas.level - 0.3) * 4)
    chord = 2 * 1.3 * np.sqrt(positive(1 - np.square((canvas.x - axis) / 1.35)))
    return chord * smoothstep((canvas.level - 0.25) / 0.05)
