"""Air-filled lung between rib cage, diaphragm and mediastinum, and the vessels that branch through it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.phantom.grid import FloatArray, Points, positive, smoothstep
from model.phantom.heart import displaced_lung, mediastinal_share
from model.phantom.subject import Subject
from model.phantom.thorax import Canvas

_GENERATIONS = 9
_THINNEST_CM = 0.022
_POINTS_PER_PIXEL = 1.6
_MOST_ABREAST = 11
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
    branches, points = _stems(canvas, rng), []
    for _ in range(_GENERATIONS):
        drawn, ends = _grow(canvas, branches, rng.normal(0, 0.28, branches.x.size))
        points.append(drawn)
        branches = _divide(ends, rng)
        if not branches.x.size:
            break
    x, y, volume = (np.concatenate(axis) for axis in zip(*points, strict=True))
    depth = canvas.grid.splat_many(x, y, volume)
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
        x=np.repeat((thorax.centre - hilum, thorax.centre + hilum + 0.3), count) + rng.normal(0, 0.3, 2 * count),
        y=np.repeat((thorax.at(0.47), thorax.at(0.43)), count) + rng.normal(0, 0.7, 2 * count),
        direction=np.concatenate((right, left)),
        radius=rng.uniform(0.22, 0.38, 2 * count),
        length=rng.uniform(2.6, 3.6, 2 * count) * thorax.scale,
    )


def _grow(canvas: Canvas, branches: _Branches, bend: FloatArray) -> tuple[Points, _Branches]:
    """Draw one generation; return its points and the same branches moved to their ends."""
    pixel_cm = canvas.grid.pixel_cm
    steps = max(8, int(_POINTS_PER_PIXEL * float(branches.length.mean()) / pixel_cm))
    along = np.linspace(0, 1, steps)[None, :]
    direction = branches.direction[:, None] + bend[:, None] * along
    step = branches.length[:, None] / steps
    cosine, sine = np.cos(direction), np.sin(direction)
    x = branches.x[:, None] + np.cumsum(cosine, axis=1) * step
    y = branches.y[:, None] + np.cumsum(sine, axis=1) * step
    radius = branches.radius[:, None] * (1 - 0.3 * along)
    offset = _abreast(2 * float(branches.radius.mean()) / pixel_cm)
    volume = np.pi * np.square(radius) * step / len(offset)
    across = offset[:, None, None] * radius
    drawn = (x - across * sine, y + across * cosine, np.broadcast_to(volume, across.shape))
    along_x, along_y, volumes = (values.astype(np.float32).ravel() for values in drawn)
    return (along_x, along_y, volumes), _Branches(
        x[:, -1], y[:, -1], direction[:, -1], branches.radius, branches.length
    )


def _abreast(width_pixels: float) -> FloatArray:
    """Offsets in radii at which equal shares of a round vessel's chord lie: its edge stays as sharp as a real one's."""
    count = int(np.clip(round(_POINTS_PER_PIXEL * width_pixels), 1, _MOST_ABREAST))
    chord = np.linspace(-1, 1, 201)
    share = np.cumsum(np.sqrt(1 - np.square(chord)))
    return np.interp((np.arange(count) + 0.5) / count, share / share[-1], chord)


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
