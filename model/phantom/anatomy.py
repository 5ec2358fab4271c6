"""Puts the organs together: how much soft tissue, fat, bone and air each ray passes.

Organs do not know each other; what one displaces of another is decided here and only here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.phantom.air import airway_depth, gas_depth
from model.phantom.body import draw_body
from model.phantom.bone import BoneMaps, BoneState
from model.phantom.devices import device_depth
from model.phantom.grid import FloatArray, Grid, Map, positive, resample
from model.phantom.lungs import lung_depth, vessel_depth
from model.phantom.scenario import Acquisition
from model.phantom.skeleton import skeleton_depth
from model.phantom.spine import draw_column, spine_depth
from model.phantom.streams import Part, stream
from model.phantom.subject import Subject
from model.phantom.texture import power_law_field
from model.phantom.thorax import Canvas, draw_thorax

_PARENCHYMA = 0.27
"""Soft tissue in a centimetre of aerated lung, in cm."""
_PARENCHYMA_SD = 0.05
"""Relative SD of the interstitium; with this slope and SD the films' power falls with frequency as real films' does."""
_FINEST = 12.0
"""Cycles per cm at which the interstitium's amplitude has fallen to 1/e."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Anatomy:
    """Depth in cm of each material, float32 (rows, columns); marrow is not yet part of `soft`."""

    soft: Map
    fat: Map
    lung: Map
    metal: Map
    """Devices, as the depth of bone that stops as much."""
    bones: BoneMaps


def build_anatomy(subject: Subject, acquisition: Acquisition, state: BoneState, grid: Grid, seed: int) -> Anatomy:
    """Draw the person of `seed` on `grid`."""
    thorax = draw_thorax(subject, acquisition, stream(seed, Part.THORAX))
    canvas = Canvas.over(grid, thorax, acquisition.view)
    lung = lung_depth(canvas, subject, lungs=stream(seed, Part.LUNGS), heart=stream(seed, Part.HEART))
    bones = _bones(canvas, subject, state, seed)
    body = draw_body(canvas, subject, stream(seed, Part.BODY))
    vessels_rng = stream(seed, Part.VESSELS)
    vessels = vessel_depth(canvas, lung, vessels_rng)
    air = airway_depth(canvas) + gas_depth(canvas, stream(seed, Part.AIR))
    shape = (grid.rows, grid.columns)
    grain = power_law_field(shape, grid.pixel_cm, vessels_rng, slope=2.0, low_cut=0.3, high_cut=_FINEST)
    soft = positive(body.depth - lung - body.fat - air - _volume(bones))
    soft = soft + _PARENCHYMA * lung * (1 + _PARENCHYMA_SD * grain) + vessels
    metal = device_depth(canvas, stream(seed, Part.DEVICES))
    return Anatomy(soft=_map(soft), fat=_map(body.fat), lung=_map(lung), metal=_map(metal), bones=bones)


def enlarge(anatomy: Anatomy, shape: tuple[int, int]) -> Anatomy:
    """Bring an anatomy drawn on a coarser grid to `shape`."""
    bones = anatomy.bones
    return Anatomy(
        soft=resample(anatomy.soft, shape),
        fat=resample(anatomy.fat, shape),
        lung=resample(anatomy.lung, shape),
        metal=resample(anatomy.metal, shape),
        bones=BoneMaps(
            spine_cortical=resample(bones.spine_cortical, shape),
            spine_trabecular=resample(bones.spine_trabecular, shape),
            other_cortical=resample(bones.other_cortical, shape),
            other_trabecular=resample(bones.other_trabecular, shape),
        ),
    )


def _bones(canvas: Canvas, subject: Subject, state: BoneState, seed: int) -> BoneMaps:
    spine_rng = stream(seed, Part.SPINE)
    column = draw_column(subject, canvas.thorax, state, spine_rng)
    spine_cortical, spine_trabecular = spine_depth(canvas, column, state, spine_rng)
    cortical, trabecular = skeleton_depth(canvas, subject, column, state, stream(seed, Part.SKELETON))
    return BoneMaps(
        spine_cortical=spine_cortical,
        spine_trabecular=spine_trabecular,
        other_cortical=cortical,
        other_trabecular=trabecular,
    )


def _volume(bones: BoneMaps) -> Map:
    return bones.spine_cortical + bones.spine_trabecular + bones.other_cortical + bones.other_trabecular


def _map(values: FloatArray) -> Map:
    return np.asarray(values, dtype=np.float32)
