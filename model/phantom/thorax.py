"""The chest's drawn dimensions, and the canvas on which every organ is painted.

All positions follow from the lung apex, the right dome and the half widths; organs add their own variation but never
redraw these. No bone latent is read here.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from model.domain import View
from model.phantom.grid import FloatArray, Grid, Map
from model.phantom.scenario import Acquisition
from model.phantom.subject import Subject

_LOWEST, _HIGHEST = -0.25, 1.6
_WIDTH_LEVELS = (-0.25, -0.05, 0, 0.08, 0.18, 0.35, 0.55, 0.8, 1.1, 1.6)
_WIDTHS = (0.2, 0.22, 0.26, 0.47, 0.65, 0.83, 0.94, 1.0, 1.01, 0.97)
_DEPTH_LEVELS = (-0.25, 0, 0.15, 0.4, 0.7, 1.1, 1.6)
_DEPTHS = (0.35, 0.42, 0.62, 0.86, 1.0, 1.02, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thorax:
    """Dimensions of one rib cage in cm; `level` is 0 at the lung apex and 1 at the right dome."""

    scale: float
    """Body size relative to a height of 168 cm."""
    centre: float
    """x of the midline."""
    apex: float
    """y of the lung apices."""
    dome: float
    """y of the right hemidiaphragm's top."""
    half_width: float
    half_depth: float

    @property
    def length(self) -> float:
        """From apex to dome."""
        return self.dome - self.apex

    def at(self, level: float) -> float:
        """Return the y of `level`."""
        return self.apex + self.length * level

    def level(self, y: FloatArray) -> FloatArray:
        """Return the level of y."""
        return (y - self.apex) / self.length

    def half_width_at(self, level: FloatArray) -> FloatArray:
        """Inner half width of the rib cage in cm."""
        return self.half_width * profile(_WIDTH_LEVELS, _WIDTHS, level)

    def half_depth_at(self, level: FloatArray) -> FloatArray:
        """Inner half depth of the rib cage in cm."""
        return self.half_depth * profile(_DEPTH_LEVELS, _DEPTHS, level)


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """A grid with the thorax laid over it; columns of shape (rows, 1), rows of shape (1, columns)."""

    grid: Grid
    thorax: Thorax
    view: View
    x: Map
    """cm from the midline."""
    y: Map
    level: Map
    half_width: Map
    half_depth: Map

    @classmethod
    def over(cls, grid: Grid, thorax: Thorax, view: View) -> Canvas:
        """Lay `thorax` over `grid`."""
        level = thorax.level(grid.y).astype(np.float32)
        width, depth = thorax.half_width_at(level), thorax.half_depth_at(level)
        x = grid.x - np.float32(thorax.centre)
        return cls(grid, thorax, view, x, grid.y, level, width.astype(np.float32), depth.astype(np.float32))


def draw_thorax(subject: Subject, acquisition: Acquisition, rng: np.random.Generator) -> Thorax:
    """Draw the dimensions for `subject`, placed on the detector as `acquisition` says."""
    scale, lean = subject.height_cm / 168.0, subject.bmi - 24.0
    width, depth, length = (12.9, 8.6, 23.0) if subject.female else (14.0, 9.6, 24.8)
    shift_x, shift_y = acquisition.shift_cm
    apex = -16.0 * scale + shift_y + rng.normal(0, 0.4)
    return Thorax(
        scale=scale,
        centre=shift_x,
        apex=apex,
        dome=apex + length * scale + rng.normal(0, 0.6),
        half_width=width * scale * (1 + rng.normal(0, 0.045)) + 0.06 * lean,
        half_depth=depth * scale * (1 + rng.normal(0, 0.06)) + 0.05 * lean,
    )


def profile(levels: tuple[float, ...], values: FloatArray | tuple[float, ...], level: FloatArray) -> FloatArray:
    """Shape-preserving curve through (levels, values), constant beyond its ends."""
    curve = _curve(levels, tuple(map(float, values)))
    drawn: FloatArray = curve(np.clip(level, levels[0], levels[-1]))
    return drawn


@functools.lru_cache(maxsize=32)
def _curve(levels: tuple[float, ...], values: tuple[float, ...]) -> PchipInterpolator:
    return PchipInterpolator(levels, values)
