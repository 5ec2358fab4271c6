"""Air outside the lungs: trachea, main bronchi, and gas in stomach and bowel."""

from __future__ import annotations

import numpy as np

from model.phantom.grid import FloatArray, ellipsoid, positive, smoothstep
from model.phantom.thorax import Canvas

_STOMACH_BUBBLE = 0.8
_CARINA = 0.36
_BRONCHI = ((-1, 0.55), (1, 0.95))
"""Side and slope: the right main bronchus is the steeper one."""


def airway_depth(canvas: Canvas) -> FloatArray:
    """Depth of air in trachea and main bronchi in cm."""
    level = canvas.level
    axis = 0.1 - 0.25 * np.clip(level / 0.3, 0, 1)
    airway = 2 * 0.85 * np.sqrt(positive(1 - np.square((canvas.x - axis) / 0.88))) * (level < _CARINA)
    below_carina = canvas.y - canvas.thorax.at(_CARINA - 0.01)
    for side, slope in _BRONCHI:
        offset = canvas.x - side * slope * positive(below_carina)
        chord = 2 * 0.55 * np.sqrt(positive(1 - np.square(offset / 0.62)))
        within = smoothstep((below_carina + 0.2) / 0.4) * (1 - smoothstep((below_carina - 2.2) / 1.2))
        airway = np.maximum(airway, chord * within)
    return airway


def gas_depth(canvas: Canvas, rng: np.random.Generator) -> FloatArray:
    """Depth of gas under the diaphragm in cm: mostly a stomach bubble, sometimes bowel loops."""
    thorax = canvas.thorax
    gas: FloatArray = np.zeros_like(canvas.x + canvas.y)
    if rng.random() < _STOMACH_BUBBLE:
        centre = (thorax.half_width * 0.42 + rng.normal(0, 0.8), thorax.dome + 3.4 + rng.normal(0, 0.5))
        radii = (rng.uniform(1.3, 3.0), rng.uniform(0.8, 1.7), rng.uniform(1.0, 2.2))
        gas = gas + ellipsoid(canvas.x, canvas.y, centre=centre, radii=radii, tilt=rng.normal(0, 0.3))
    for _ in range(int(rng.integers(0, 4))):
        centre = (rng.uniform(-9, 11), thorax.dome + rng.uniform(5, 9))
        radii = (rng.uniform(0.8, 2.0), rng.uniform(0.6, 1.4), rng.uniform(0.6, 1.6))
        gas = gas + ellipsoid(canvas.x, canvas.y, centre=centre, radii=radii, tilt=rng.normal(0, 0.5))
    return gas
