"""Seventeen vertebrae, C6 to L3: bodies with shell and end plates, arches, processes, and compression at low T."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.phantom.bone import BoneState
from model.phantom.grid import FloatArray, Map, positive, smoothstep
from model.phantom.subject import Subject
from model.phantom.thorax import Canvas, Thorax, profile

FIRST_THORACIC = 2
"""Index of T1 in the column."""
_HEIGHTS = (1.45, 1.5, 1.6, 1.72, 1.78, 1.84, 1.88, 1.92, 1.98, 2.05, 2.12, 2.2, 2.3, 2.45, 2.6, 2.7, 2.75)
_HALF_WIDTHS = (1.15, 1.2, 1.32, 1.32, 1.33, 1.35, 1.4, 1.45, 1.52, 1.6, 1.7, 1.82, 1.95, 2.05, 2.15, 2.25, 2.35)
_DISCS = (0.42,) * 3 + (0.34,) * 6 + (0.42,) * 5 + (0.62,) * 3
_UNBROKEN = 3
"""The first vertebrae, which are not seen to collapse."""
_FRACTURE_RATE = 0.10
_SCOLIOSIS_CM = (0.14, 0.35, 0.42, 0.35, 0.21)
_SMALLEST_WINDOW = 3


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Column:
    """Geometry of the vertebral bodies, one value each in cm; `loss` is the share of height lost to compression."""

    x: FloatArray
    y: FloatArray
    height: FloatArray
    half_width: FloatArray
    loss: FloatArray


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Vertebra:
    """One vertebra in its window: coordinates from its centre, half width, height and end plates' sinking in cm."""

    x: FloatArray
    y: FloatArray
    half_width: float
    height: float
    sinking: float
    plate_cm: float


def draw_column(subject: Subject, thorax: Thorax, state: BoneState, rng: np.random.Generator) -> Column:
    """Draw the column: sizes, discs that narrow with age, a slight scoliosis, fractures at low bone mass."""
    count, scale = len(_HEIGHTS), thorax.scale
    height = np.array(_HEIGHTS) * scale * rng.normal(1, 0.025)
    narrowing = float(np.clip(rng.normal(1, 0.12) - 0.004 * (subject.age_years - 60), 0.5, 1.4))
    disc = np.array(_DISCS) * scale * narrowing
    fractured = rng.random(count) < _FRACTURE_RATE * state.deformity
    loss = np.where(fractured, rng.uniform(0.12, 0.38, count) * min(state.deformity, 1.0), 0.0)
    loss[:_UNBROKEN] = 0.0
    pitch = height * (1 - loss) + disc
    top = thorax.apex + 0.3 * scale - float(pitch[:FIRST_THORACIC].sum())
    y = top + np.concatenate(([0.0], np.cumsum(pitch)[:-1])) + height * (1 - loss) / 2
    levels = tuple(float(level) for level in np.linspace(y[0], y[-1] + 3, len(_SCOLIOSIS_CM)))
    curve = profile(levels, rng.normal(0, 1, len(levels)) * np.array(_SCOLIOSIS_CM), y)
    width = np.array(_HALF_WIDTHS) * (0.93 if subject.female else 1.04) * scale * rng.normal(1, 0.03)
    return Column(x=thorax.centre + curve, y=y, height=height * (1 - loss), half_width=width, loss=loss)


def spine_depth(canvas: Canvas, column: Column, state: BoneState, rng: np.random.Generator) -> tuple[Map, Map]:
    """Depth of the column's cortical and trabecular bone in cm."""
    cortical = np.zeros((canvas.grid.rows, canvas.grid.columns), np.float32)
    trabecular = np.zeros_like(cortical)
    for index in range(len(column.y)):
        tilt = rng.normal(0, 0.02)
        window = _window(canvas, column, index)
        rows, columns = window
        if min(rows.stop - rows.start, columns.stop - columns.start) < _SMALLEST_WINDOW:
            continue
        bone = _vertebra(canvas, column, index, window, tilt, state)
        shell, core = _body(bone, state, plate_width=0.055 + 0.005 * abs(index - 8))
        arch_shell, arch_core = _arch(bone)
        cortical[window] += shell + state.cortex * arch_shell
        trabecular[window] += core + arch_core
    return cortical, trabecular


def _window(canvas: Canvas, column: Column, index: int) -> tuple[slice, slice]:
    height, reach = column.height[index], 2.6 * column.half_width[index] + 0.5
    edges_y = (column.y[index] - height - 0.6, column.y[index] + 1.3 * height + 0.6)
    top, bottom = np.searchsorted(canvas.grid.y[:, 0], edges_y)
    left, right = np.searchsorted(canvas.grid.x[0], (column.x[index] - reach, column.x[index] + reach))
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _vertebra(
    canvas: Canvas, column: Column, index: int, window: tuple[slice, slice], tilt: float, state: BoneState
) -> _Vertebra:
    rows, columns = window
    x = canvas.grid.x[:, columns] - np.float32(column.x[index])
    y = canvas.grid.y[rows] - np.float32(column.y[index]) + np.float32(tilt) * x
    loss, height = float(column.loss[index]), float(column.height[index])
    return _Vertebra(
        x=x,
        y=y,
        half_width=float(column.half_width[index]),
        height=height,
        sinking=(0.05 + 0.22 * loss + 0.05 * state.deformity * (1 - loss)) * height,
        plate_cm=0.075 * state.cortex * (1.3 if state.brittle_plates else 1.0),
    )


def _body(bone: _Vertebra, state: BoneState, *, plate_width: float) -> tuple[FloatArray, FloatArray]:
    """Shell with end plates, and core, of a waisted elliptic cylinder with biconcave ends."""
    waist = bone.half_width * (0.90 + 0.13 * np.square(np.clip(bone.y / (bone.height / 2), -1.3, 1.3)))
    half_depth, thickness = (bone.half_width * 1.05 + 0.35), 0.055 * state.cortex
    inside = positive(1 - np.square(bone.x / waist))
    half_height = bone.height / 2 - bone.sinking * inside
    within = smoothstep((half_height - np.abs(bone.y)) / 0.10 + 0.5)
    chord = half_depth * np.sqrt(inside)
    hollow = (half_depth - 2 * thickness) * np.sqrt(positive(1 - np.square(bone.x / (waist - thickness))))
    shell = positive(chord - hollow)
    plate = np.exp(-0.5 * np.square((np.abs(bone.y) - half_height) / plate_width)) / (plate_width * 2.507)
    return shell * within + plate * (bone.plate_cm * 0.55) * chord, positive(chord - shell) * within


def _arch(bone: _Vertebra) -> tuple[FloatArray, FloatArray]:
    """Pedicles, transverse processes, laminae and spinous process: shell (per unit of cortex) and core."""
    width, height = bone.half_width, bone.height
    off_centre = np.abs(bone.x)
    ring = np.sqrt(
        np.square((off_centre - 0.62 * width) / (0.30 * width)) + np.square((bone.y + 0.12 * height) / (0.30 * height))
    )
    pedicle = np.exp(-0.5 * np.square((ring - 1) / 0.20))
    transverse = np.exp(-0.5 * np.square((bone.y + 0.25 * height + 0.12 * off_centre) / 0.28))
    transverse = transverse * smoothstep((off_centre - 0.8 * width) / 0.3)
    transverse = transverse * smoothstep((1.85 * width - off_centre) / 0.35)
    lamina = np.exp(-0.5 * np.square((bone.y - 0.15 * height - 0.35 * off_centre) / 0.35))
    lamina = lamina * smoothstep((0.75 * width - off_centre) / 0.3)
    spinous = np.sqrt(np.square(bone.x / 0.30) + np.square((bone.y - 0.62 * height) / 0.55))
    rim, plate = np.exp(-0.5 * np.square((spinous - 1) / 0.28)), smoothstep((1 - spinous) / 0.3)
    shell = 0.34 * pedicle + 0.16 * transverse + 0.15 * lamina + 0.225 * rim + 0.25 * plate
    return shell, 0.5 * transverse
