"""Air-filled lung between rib cage, diaphragm and mediastinum, and the vessels that branch through it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from model.phantom.grid import FloatArray, Map, positive, smoothstep
from model.phantom.heart import displaced_lung, mediastinal_share
from model.phantom.subject import Subject
from model.phantom.thorax import Canvas

_GENERATIONS = 7
_POINTS_PER_BRANCH = 22
_THINNEST_CM = 0.03
_STEMS_PER_SIDE = 9
_TWO_CHILDREN = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class _Branches:
    """One generation: start (cm), direction (radians), radius and length (cm), each of shape (branches,)."""

    x: FloatArray
    y: FloatArray
    direction: FloatArray
    radius: FloatArray
    length: FloatArray


def lung_depth(
    canvas: Canvas, subject: Subject, *, lungs: np.random.Generator, heart: np.random.Generator
) -> FloatArray:
    """Depth of aerated lung in cm; the two generators are the streams of lungs and heart."""
    thorax = canvas.thorax
    above_apex_curve = canvas.y - (thorax.apex + 0.085 * np.square(np.abs(canvas.x) - 4.1 * thorax.scale))
    depth = 2 * canvas.half_depth * np.sqrt(positive(1 - np.square(canvas.x / canvas.half_width)))
    depth = depth * np.minimum(np.sqrt(positive(above_apex_curve) / 5.5), 1)
    below = positive(canvas.y - _diaphragm(canvas, lungs))
    depth = depth * positive(1 - (0.40 * np.sqrt(below) + 0.12 * below))
    depth = depth * mediastinal_share(canvas, lungs)
    return positive(depth - 1.05 * displaced_lung(canvas, subject, heart))


def vessel_depth(canvas: Canvas, lung: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Depth of blood in the branching lung vessels in cm, inside `lung` only."""
    depth = np.zeros((canvas.grid.rows, canvas.grid.columns), np.float32)
    branches = _stems(canvas, rng)
    for generation in range(_GENERATIONS):
        bend = rng.normal(0, 0.28, branches.x.size)
        drawn, branches = _grow(canvas, branches, bend)
        depth += drawn
        if generation + 1 < _GENERATIONS:
            branches = _divide(branches, rng)
        if not branches.x.size:
            break
    rim = smoothstep((np.abs(canvas.x) / canvas.half_width - 0.86) / 0.13)
    return depth * smoothstep(lung / 2.5) * (1 - rim)


def _diaphragm(canvas: Canvas, rng: np.random.Generator) -> FloatArray:
    thorax = canvas.thorax
    curvature = (0.062 + rng.normal(0, 0.008)) * 12 / thorax.half_width
    right = thorax.dome + curvature * np.square(canvas.x + thorax.half_width * 0.46)
    left = thorax.dome + 1.2 + rng.normal(0, 0.5) + curvature * np.square(canvas.x - thorax.half_width * 0.50)
    sulcus = np.clip((np.abs(canvas.x) / canvas.half_width - 0.80) / 0.2, 0, 1.4)
    return np.asarray(np.where(canvas.x < 0, right, left) + 2.4 * np.square(sulcus))


def _stems(canvas: Canvas, rng: np.random.Generator) -> _Branches:
    thorax, count = canvas.thorax, _STEMS_PER_SIDE
    fan = np.linspace(-1.4, 1.55, count)
    right, left = np.pi - fan - rng.normal(0, 0.12, count), fan + rng.normal(0, 0.12, count)
    hilum = 3.4 * thorax.scale
    return _Branches(
        x=np.repeat((thorax.centre - hilum, thorax.centre + hilum + 0.3), count),
        y=np.repeat((thorax.at(0.47), thorax.at(0.43)), count),
        direction=np.concatenate((right, left)),
        radius=rng.uniform(0.30, 0.48, 2 * count),
        length=rng.uniform(2.6, 3.6, 2 * count) * thorax.scale,
    )


def _grow(canvas: Canvas, branches: _Branches, bend: FloatArray) -> tuple[Map, _Branches]:
    """Draw one generation; return its depth and the same branches moved to their ends."""
    along = np.linspace(0, 1, _POINTS_PER_BRANCH)[None, :]
    direction = branches.direction[:, None] + bend[:, None] * along
    step = branches.length[:, None] / _POINTS_PER_BRANCH
    x = branches.x[:, None] + np.cumsum(np.cos(direction), axis=1) * step
    y = branches.y[:, None] + np.cumsum(np.sin(direction), axis=1) * step
    volume = np.pi * np.square(branches.radius[:, None] * (1 - 0.3 * along)) * step
    depth = canvas.grid.splat(x.ravel(), y.ravel(), volume.ravel())
    sigma = max(0.55 * float(branches.radius.mean()) / canvas.grid.pixel_cm, 0.5)
    ends = _Branches(x[:, -1], y[:, -1], direction[:, -1], branches.radius, branches.length)
    return gaussian_filter(depth, sigma), ends


def _divide(ends: _Branches, rng: np.random.Generator) -> _Branches:
    children = np.where(rng.random(ends.x.size) < _TWO_CHILDREN, 2, 3) * (ends.radius > _THINNEST_CM)
    parent = np.repeat(np.arange(ends.x.size), children)
    return _Branches(
        x=ends.x[parent],
        y=ends.y[parent],
        direction=ends.direction[parent] + rng.normal(0, 0.45, parent.size),
        radius=ends.radius[parent] * rng.uniform(0.6, 0.82, parent.size),
        length=ends.length[parent] * rng.uniform(0.62, 0.95, parent.size),
    )
