"""All bones but the spine: 24 ribs, clavicles, humeri, scapulae and manubrium, plus calcified rib cartilage."""

from __future__ import annotations

import numpy as np

from model.domain import View
from model.phantom.body import SIDES
from model.phantom.bone import BoneState
from model.phantom.grid import FloatArray, Map, smoothstep
from model.phantom.spine import FIRST_THORACIC, Column
from model.phantom.subject import Subject
from model.phantom.thorax import Canvas
from model.phantom.tubes import Tube, TubeSet

_RIB_PAIRS = 12
SHELL_CM = 0.085
"""Thickness of a rib's shell where the cortex is a young adult's."""
_RIB_DROP_CM = ((0, 1, 4, 7, 9, 11), (3.0, 4.6, 8.2, 9.5, 9.0, 7.0))
_RIB_REACH_DEGREES = ((0, 2, 5, 7, 8, 9, 10, 11), (142, 146, 140, 126, 116, 104, 78, 55))
_RIB_THICKNESS = ((0, 1, 4, 10, 11), (1.25, 1.05, 1.1, 0.95, 0.8))
_HUMERUS_ALONG = (0, 0.004, 0.02, 0.05, 0.08, 0.11, 0.16, 0.25, 1)
_HUMERUS_RADIUS_CM = (0.15, 0.8, 1.75, 2.25, 2.2, 1.8, 1.35, 1.12, 1.05)


def skeleton_depth(
    canvas: Canvas, subject: Subject, column: Column, state: BoneState, rng: np.random.Generator
) -> tuple[Map, Map]:
    """Depth of cortical and trabecular bone outside the spine in cm."""
    tubes, shell = TubeSet(canvas.grid), SHELL_CM * state.cortex
    for tube in rib_cage(canvas, subject, column, shell, rng):
        tubes.add(tube)
    for side in SIDES:
        tubes.add(_clavicle(canvas, subject, side, shell, rng))
        for tube in _shoulder(canvas, subject, side, shell):
            tubes.add(tube)
    shells, cores = tubes.maps()
    manubrium = _manubrium(canvas)
    plates = sum((_scapular_plate(canvas, subject, side) for side in SIDES), manubrium)
    cortical = shells + 0.10 * state.cortex * plates + _calcified_cartilage(canvas, subject, rng)
    return cortical.astype(np.float32), (cores + 0.8 * manubrium).astype(np.float32)


def rib_cage(
    canvas: Canvas, subject: Subject, column: Column, shell: float, rng: np.random.Generator
) -> tuple[Tube, ...]:
    """Draw the ribs of both sides; `shell` in cm."""
    pairs = (_ribs(canvas, subject, column, pair, shell, rng) for pair in range(_RIB_PAIRS))
    return tuple(tube for pair in pairs for tube in pair)


def _ribs(
    canvas: Canvas, subject: Subject, column: Column, pair: int, shell: float, rng: np.random.Generator
) -> tuple[Tube, ...]:
    thorax, vertebra = canvas.thorax, pair + FIRST_THORACIC
    head = float(column.y[vertebra] - 0.45 * column.height[vertebra]) + rng.normal(0, 0.08)
    width = float(thorax.half_width_at(np.asarray((head + 2.2 - thorax.apex) / thorax.length))) + 0.25
    depth = float(thorax.half_depth_at(np.asarray((head + 3.0 - thorax.apex) / thorax.length)))
    drop = float(np.interp(pair, *_RIB_DROP_CM)) * thorax.scale * rng.normal(1, 0.06)
    reach = float(np.deg2rad(np.interp(pair, *_RIB_REACH_DEGREES)))
    build = 1.0 if subject.female else 1.1
    thickness = float(np.interp(pair, *_RIB_THICKNESS)) * build * thorax.scale
    tubes = []
    for side in SIDES:
        turn = np.linspace(np.deg2rad(9), reach * rng.normal(1, 0.02), 90)
        x = float(column.x[vertebra]) + side * width * np.sin(turn) ** 0.92
        neck = 0.55 * np.exp(-np.square((turn - 0.38) / 0.28))
        y = head + drop * (1 - np.cos(turn)) / 2 - neck + rng.normal(0, 0.05)
        tubes.append(
            Tube(
                path=np.stack([x, y, -depth * np.cos(turn)], axis=1),
                along=np.interp(turn, (0, 0.5, 1.4, 2.4), (0.42, 0.50, 0.56, 0.70)) * thickness,
                across=0.32 * thorax.scale * build,
                shell=shell * np.interp(turn, (0, 1.2, 1.7, 2.6), (1.1, 1.1, 0.8, 0.5)),
            )
        )
    return tuple(tubes)


def _clavicle(canvas: Canvas, subject: Subject, side: int, shell: float, rng: np.random.Generator) -> Tube:
    thorax, along = canvas.thorax, np.linspace(0, 1, 60)
    length = (13.6 if subject.female else 15.2) * thorax.scale
    x = thorax.centre + side * (1.7 + along * length)
    lowered = 0.6 if canvas.view is View.PA else 0.0
    y = thorax.apex + 3.6 + rng.normal(0, 0.5) - rng.normal(0.22, 0.06) * along * 12 + lowered
    y = y - 0.75 * thorax.scale * np.sin(along * 2 * np.pi * 0.9)
    half_height = 0.60 - 0.12 * np.sin(along * np.pi) + 0.28 * np.exp(-along / 0.08)
    path = np.stack([x, y, np.full_like(along, 5.0)], axis=1)
    return Tube(path=path, along=half_height * thorax.scale, across=0.55 * thorax.scale, shell=1.7 * shell)


def _shoulder(canvas: Canvas, subject: Subject, side: int, shell: float) -> tuple[Tube, ...]:
    """Humerus, the scapula's two borders and spine, and the rim of the glenoid."""
    thorax = canvas.thorax
    joint = thorax.centre + side * (17.2 if subject.female else 18.8) * thorax.scale
    blade, y = _blade_x(canvas, subject, side, (12.6, 13.6)), thorax.apex + 3.0
    medial = [(blade - side * 0.2, -1.2), (blade - side * 0.9, 4), (blade - side * 0.3, 9), (blade + side * 0.7, 11.6)]
    lateral = [(blade + side * 0.7, 11.6), (blade + side * 2.4, 7.5), (joint - side * 2.0, 2.2)]
    ridge = [(blade - side * 0.1, 2.0), (joint - side * 2.2, -0.6), (joint + side * 0.6, -2.6)]
    turn = np.linspace(0, 2 * np.pi, 60)
    rim = np.stack([joint - side * 2.15 + 0.55 * np.cos(turn), y + 0.6 + 1.7 * np.sin(turn), 0 * turn], axis=1)
    sideways, forwards = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
    return (
        _humerus(joint, y, side, shell),
        Tube(path=_polyline(medial, y, -6.0), along=0.22, across=0.28, shell=1.2 * shell, up=sideways),
        Tube(path=_polyline(lateral, y, -6.0), along=0.32, across=0.40, shell=1.8 * shell, up=sideways),
        Tube(path=_polyline(ridge, y, -7.0), along=0.35, across=0.55, shell=1.6 * shell),
        Tube(path=rim, along=0.22, across=0.3, shell=1.6 * shell, up=forwards),
    )


def _humerus(joint: float, y: float, side: int, shell: float) -> Tube:
    along = np.linspace(0, 1, 120)
    radius = np.interp(along, _HUMERUS_ALONG, _HUMERUS_RADIUS_CM)
    path = np.stack([joint + side * (along * 4.0 - 0.3), y - 1.6 + along * 24, 0 * along], axis=1)
    thickness = shell * np.interp(along, (0, 0.15, 0.3), (1.0, 1.6, 3.4))
    return Tube(path=path, along=radius, across=radius, shell=thickness, up=(1.0, 0.0, 0.0))


def _polyline(points: list[tuple[float, float]], y: float, z: float) -> FloatArray:
    along, knots = np.linspace(0, 1, 50), np.linspace(0, 1, len(points))
    x_knots, y_knots = zip(*points, strict=True)
    x = np.interp(along, knots, x_knots)
    return np.stack([x, y + np.interp(along, knots, y_knots), np.full_like(along, z)], axis=1)


def _blade_x(canvas: Canvas, subject: Subject, side: int, reach_cm: tuple[float, float]) -> float:
    """Give the x of the shoulder blade, rolled off the lungs on a PA film; `reach_cm` is (women, men)."""
    rolled = 1.2 if canvas.view is View.PA else -0.6
    return canvas.thorax.centre + side * (reach_cm[0 if subject.female else 1] * canvas.thorax.scale + rolled)


def _scapular_plate(canvas: Canvas, subject: Subject, side: int) -> FloatArray:
    x = _blade_x(canvas, subject, side, (12.9, 13.9)) - canvas.thorax.centre + side * 1.6
    y = canvas.thorax.apex + 8.2
    return smoothstep((1 - np.square((canvas.x - x) / 2.4) - np.square((canvas.y - y) / 5.4)) / 0.25)


def _manubrium(canvas: Canvas) -> FloatArray:
    below = canvas.y - (canvas.thorax.apex + 4.2)
    return smoothstep((1 - np.square(canvas.x / 2.6) - np.square(below / 2.6)) / 0.3)


def _calcified_cartilage(canvas: Canvas, subject: Subject, rng: np.random.Generator) -> FloatArray | float:
    """Specks of calcium along the rib cartilages; more often with age, whatever the bone."""
    thorax = canvas.thorax
    if rng.random() >= float(np.clip((subject.age_years - 45) / 50, 0, 0.8)):
        return 0.0
    count = int(rng.integers(200, 900))
    offset = rng.uniform(2.6, 0.62 * thorax.half_width, count)
    x = thorax.centre + rng.choice(SIDES, count) * offset
    y = thorax.apex + thorax.length * rng.uniform(0.28, 0.78, count) + 0.25 * offset
    return canvas.grid.blur(canvas.grid.splat(x, y, rng.gamma(1.2, 0.0016, count)), 0.09)
