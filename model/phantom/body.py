"""The outline of the trunk: chest wall, shoulders, neck, arms and breasts, with the fat under the skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.domain import View
from model.phantom.grid import FloatArray, positive, smoothstep
from model.phantom.subject import Subject
from model.phantom.thorax import Canvas

SIDES = (-1, 1)
"""Image left (the patient's right) and image right."""


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """Depth of everything inside the skin, and of the fat in it, both in cm."""

    depth: FloatArray
    fat: FloatArray


def draw_body(canvas: Canvas, subject: Subject, rng: np.random.Generator) -> Body:
    """Draw the trunk of `subject`; everything widens with the body mass index."""
    shoulder_y = canvas.thorax.apex + 1.4 + rng.normal(0, 0.5)
    slope = 0.30 + rng.normal(0, 0.05)
    belly = smoothstep((canvas.level - 0.75) / 0.5)
    half_width, trunk = _trunk(canvas, subject, belly)
    outline = np.maximum(trunk, _shoulders(canvas, subject, half_width, shoulder_y, slope))
    outline = np.maximum(outline, _neck(canvas, subject, shoulder_y))
    for side in SIDES:
        outline = np.maximum(outline, _arm(canvas, subject, side))
    front = _breasts(canvas, subject, rng) if subject.female else _pectorals(canvas)
    depth = canvas.grid.blur(outline.astype(np.float32), 0.15) + front
    fat_cm = float(np.clip(0.9 + 0.16 * (subject.bmi - 18), 0.3, 6))
    return Body(depth, fat_cm * smoothstep(depth / 4) * (1 + 0.25 * belly))


def _trunk(canvas: Canvas, subject: Subject, belly: FloatArray) -> tuple[FloatArray, FloatArray]:
    wall = 1.5 + 0.17 * float(np.clip(subject.bmi - 17, 0, 25)) * (1.05 if subject.female else 0.9)
    half_width = canvas.half_width + wall + 0.7 + belly * (0.12 * (subject.bmi - 22))
    half_depth = canvas.half_depth + wall * 0.85 + 0.8 + belly * (1.2 + 0.16 * (subject.bmi - 22))
    chord = 2 * half_depth * positive(1 - np.abs(canvas.x / half_width) ** 2.6) ** 0.48
    return half_width, chord * smoothstep((canvas.y - (canvas.thorax.apex - 2.5)) / 9)


def _shoulders(
    canvas: Canvas, subject: Subject, trunk_half_width: FloatArray, shoulder_y: float, slope: float
) -> FloatArray:
    lean = subject.bmi - 24
    half_width = (18.5 if subject.female else 20.3) * canvas.thorax.scale + 0.25 * lean
    skin = shoulder_y - 5.0 + positive(np.abs(canvas.x) - 5.0) * slope
    chord = (18.5 + 0.4 * lean) * np.sqrt(positive(1 - np.abs(canvas.x / half_width) ** 3))
    fade = 1 - smoothstep((canvas.y - (canvas.thorax.apex + 5)) / 13)
    within = fade + (1 - fade) * (np.abs(canvas.x) < trunk_half_width)
    return chord * np.sqrt(smoothstep((canvas.y - skin) / 6.5)) * within


def _neck(canvas: Canvas, subject: Subject, shoulder_y: float) -> FloatArray:
    half_width = 5.4 + 0.1 * (subject.bmi - 24)
    chord = 2 * 7.2 * np.sqrt(positive(1 - np.square(canvas.x / half_width)))
    return chord * (1 - smoothstep((canvas.y - shoulder_y - 1) / 4))


def _arm(canvas: Canvas, subject: Subject, side: int) -> FloatArray:
    thorax = canvas.thorax
    radius = 4.9 + 0.14 * (subject.bmi - 24)
    joint = (17.2 if subject.female else 18.8) * thorax.scale + (0.0 if canvas.view is View.PA else 0.6)
    axis = side * (joint + 2.2 * positive((canvas.y - (thorax.apex + 3.2)) / 12))
    chord = 2.5 * radius * np.sqrt(positive(1 - np.square((canvas.x - axis) / radius)))
    return chord * smoothstep((canvas.y - (thorax.apex - 0.5)) / 5)


def _breasts(canvas: Canvas, subject: Subject, rng: np.random.Generator) -> FloatArray:
    thorax = canvas.thorax
    size = float(np.clip(0.8 + 0.09 * (subject.bmi - 22) + rng.normal(0, 0.2), 0.35, 2.4))
    half_width = 5.6 + 0.25 * (subject.bmi - 22)
    total: FloatArray = np.zeros_like(canvas.x)
    for side in SIDES:
        below = canvas.y - thorax.at(0.70 + rng.normal(0, 0.05))
        across = np.square((canvas.x - side * thorax.half_width * 0.58) / half_width)
        down = np.where(below > 0, np.square(below / (4.2 + 0.3 * size)), np.square(below / 9.0))
        fold = np.where(below > 0, 1, np.exp(-np.square(below / 6)))
        total = total + 2.5 * size * np.sqrt(positive(1 - across - down)) * fold
    return total


def _pectorals(canvas: Canvas) -> FloatArray:
    thorax = canvas.thorax
    total: FloatArray = np.zeros_like(canvas.x)
    for side in SIDES:
        across = np.square((canvas.x - side * thorax.half_width * 0.6) / 6.5)
        down = np.square((canvas.y - thorax.at(0.30)) / 6.0)
        total = total + 1.1 * np.sqrt(positive(1 - across - down))
    return total
