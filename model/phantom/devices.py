"""What people carry in or on the chest: pacemakers with leads, central lines, sternal wires, ECG leads.

Metal is added as the depth of bone that stops as much. Drawn from the thorax and the view alone: the sicker the person
the more devices, in life; here they know nothing of the label, so that no network can learn them as its sign.
"""

from __future__ import annotations

import numpy as np

from model.domain import View
from model.phantom.grid import FloatArray, Map, smoothstep
from model.phantom.thorax import Canvas

_PACED, _WIRED, _LINED = 0.04, 0.05, 0.05
_LINED_BEDSIDE, _MONITORED, _MONITORED_BEDSIDE = 0.25, 0.02, 0.45
_STEP_PIXELS = 0.3
_STEEL, _PLASTIC = 9.0, 2.2
"""Centimetres of bone that stop as much as one of wire, or of a radio-opaque line."""
_CAN_CM = 4.0
_ELECTRODE_CM = 0.35
Path = list[tuple[float, float]]


def device_depth(canvas: Canvas, rng: np.random.Generator) -> Map:
    """Depth of bone equivalent to the devices on the film in cm, zero on most films."""
    bedside = canvas.view is View.AP
    depth = np.zeros((canvas.grid.rows, canvas.grid.columns), np.float32)
    paced, wired, lined, monitored = rng.random(4)
    if paced < _PACED:
        depth += _pacemaker(canvas, rng)
    if wired < _WIRED:
        depth += _sternal_wires(canvas, rng)
    if lined < (_LINED_BEDSIDE if bedside else _LINED):
        depth += _central_line(canvas, rng)
    if monitored < (_MONITORED_BEDSIDE if bedside else _MONITORED):
        depth += _ecg_leads(canvas, rng)
    return depth


def _pacemaker(canvas: Canvas, rng: np.random.Generator) -> FloatArray:
    """Generator below the collar bone, one or two leads through the upper caval vein into the right heart."""
    thorax, side = canvas.thorax, 1 if rng.random() < 0.8 else -1  # noqa: PLR2004 - usually on the left
    x, y = side * thorax.half_width * rng.uniform(0.62, 0.75), thorax.at(rng.uniform(0.12, 0.22))
    reach = ((canvas.x - x) / rng.uniform(2.1, 2.6)) ** 4 + ((canvas.y - y) / rng.uniform(1.9, 2.4)) ** 4
    can = _CAN_CM * smoothstep((1 - reach) / 0.15)
    caval: Path = [(-1.6, thorax.at(0.16)), (-2.0, thorax.at(0.45))]
    ventricle: Path = [(-1.2, thorax.at(0.85)), (thorax.half_width * 0.4, thorax.dome - 0.8)]
    atrium: Path = [(-2.2, thorax.at(0.72)), (-2.8, thorax.at(0.62))]
    start: Path = [(x, y), (x - side * 1.5, y - 2.6), (side * 3.0, thorax.at(0.1))]
    leads = _wire(canvas, start + caval + ventricle, 0.09, _STEEL)
    return can + leads + (_wire(canvas, start + caval + atrium, 0.09, _STEEL) if rng.random() < 0.6 else 0.0)  # noqa: PLR2004 - two chambers


def _sternal_wires(canvas: Canvas, rng: np.random.Generator) -> FloatArray:
    turn = np.linspace(0, 2 * np.pi, 40)
    total: FloatArray = np.zeros((canvas.grid.rows, canvas.grid.columns), np.float32)
    for level in np.linspace(0.28, 0.78, int(rng.integers(4, 7))):
        x, y = rng.normal(0, 0.15), canvas.thorax.at(float(level)) + rng.normal(0, 0.2)
        loop = [(x + 1.1 * float(np.cos(a)), y + 0.35 * float(np.sin(a))) for a in turn]
        total = total + _wire(canvas, loop, 0.05, _STEEL)
    return total


def _central_line(canvas: Canvas, rng: np.random.Generator) -> FloatArray:
    """From the right neck or a subclavian vein to the upper caval vein."""
    thorax = canvas.thorax
    neck: Path = [(-4.5, thorax.apex - 6.0), (-3.0, thorax.apex - 1.0)]
    arm: Path = [(thorax.half_width * 0.8, thorax.at(0.12)), (4.0, thorax.at(0.05))]
    start = neck if rng.random() < 0.6 else arm  # noqa: PLR2004 - the neck is the usual way
    end: Path = [(-1.6, thorax.at(0.15)), (-2.0, thorax.at(rng.uniform(0.4, 0.55)))]
    return _wire(canvas, start + end, 0.11, _PLASTIC)


def _ecg_leads(canvas: Canvas, rng: np.random.Generator) -> FloatArray:
    thorax = canvas.thorax
    total: FloatArray = np.zeros((canvas.grid.rows, canvas.grid.columns), np.float32)
    for _ in range(int(rng.integers(3, 6))):
        x = rng.choice((-1, 1)) * thorax.half_width * rng.uniform(0.4, 1.0)
        y = thorax.at(rng.uniform(0.0, 0.95))
        radius = np.hypot(canvas.x - x, canvas.y - y)
        total = total + _ELECTRODE_CM * smoothstep((rng.uniform(0.4, 0.7) - radius) / 0.1)
        middle = (x + rng.normal(0, 4), y + rng.uniform(4, 10))
        total = total + _wire(canvas, [(x, y), middle, (x + rng.normal(0, 8), y + 40.0)], 0.07, _STEEL / 2)
    return total


def _wire(canvas: Canvas, path: Path, radius_cm: float, equivalent: float) -> Map:
    """A round wire along a smoothed path of points (x from the midline, y) in cm."""
    corners = np.asarray(path, np.float64)
    for _ in range(3):  # Chaikin's corner cutting: a wire bends, it has no corners
        ahead = 0.75 * corners[:-1] + 0.25 * corners[1:], 0.25 * corners[:-1] + 0.75 * corners[1:]
        corners = np.concatenate([corners[:1], np.stack(ahead, axis=1).reshape(-1, 2), corners[-1:]])
    pixel_cm = canvas.grid.pixel_cm
    distance = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))))
    count = max(int(distance[-1] / (_STEP_PIXELS * pixel_cm)), 4)
    wanted = np.linspace(0, distance[-1], count)
    x, y = (np.interp(wanted, distance, corners[:, axis]) for axis in range(2))
    volume = np.full(count, equivalent * np.pi * radius_cm**2 * distance[-1] / count)
    depth = canvas.grid.splat(x + canvas.thorax.centre, y, volume)
    return canvas.grid.blur(depth, max(0.5 * radius_cm, 0.3 * pixel_cm))
