"""Renders one simulated frontal chest radiograph. Pure: same arguments, same pixels, on any machine with this numpy.

The phantom is a test fixture with a known truth. Nothing measured on it says anything about patients.
"""

from __future__ import annotations

import math

import numpy as np

from model.phantom.anatomy import Anatomy, build_anatomy, enlarge
from model.phantom.bone import BoneState, bone_state, marrow_depth, mineral_depth
from model.phantom.detector import detect, process
from model.phantom.grid import Grid, Map
from model.phantom.marks import burn_in
from model.phantom.physics import primary
from model.phantom.scenario import Acquisition
from model.phantom.streams import Part, stream
from model.phantom.subject import Subject
from model.phantom.texture import power_law_field

_LARGEST_GEOMETRY = 1024
"""Longest side in pixels on which geometry is drawn; larger films enlarge it and add texture and noise in full."""
_SMALLEST_SIDE = 48
_SOFT_GRAIN = 0.008
"""Relative SD of the striation of muscle and fat; as fine and as strong whatever the bone."""


def render(subject: Subject, acquisition: Acquisition, seed: int, size: tuple[int, int] = (512, 512)) -> Map:
    """Render `subject` as taken by `acquisition`: float32 (rows, columns) = `size`, range [0, 1], **bone bright**.

    `seed` (non-negative) fixes everything that is neither in the subject nor in the acquisition; two calls that differ
    in the subject's bone latents only give the same person with other bones. Raises ValueError below 48 pixels a side.
    """
    if min(size) < _SMALLEST_SIDE:
        msg = f"size {size} is too small: a phantom needs at least {_SMALLEST_SIDE} pixels a side"
        raise ValueError(msg)
    pixel_cm = pixel_spacing_mm(size) / 10 / acquisition.magnification
    coarser = math.ceil(max(size) / _LARGEST_GEOMETRY)
    rows, columns = round(size[0] / coarser), round(size[1] / coarser)
    grid = Grid.spanning(rows, columns, pixel_cm * size[0])
    state = bone_state(subject, stream(seed, Part.BONE_STATE))
    anatomy = enlarge(build_anatomy(subject, acquisition, state, grid, seed), size)
    return expose(anatomy, state, acquisition, pixel_cm, seed)


def expose(anatomy: Anatomy, state: BoneState, acquisition: Acquisition, pixel_cm: float, seed: int) -> Map:
    """Give bone and soft tissue their grain and turn depths (`pixel_cm` per pixel) into the film of `seed`."""
    size = anatomy.soft.shape
    mineral = mineral_depth(anatomy.bones, state, pixel_cm, stream(seed, Part.BONE_TEXTURE))
    grain = power_law_field(size, pixel_cm, stream(seed, Part.SOFT_TEXTURE), slope=2.2, low_cut=0.2, high_cut=12.0)
    soft = (anatomy.soft + marrow_depth(anatomy.bones, state)) * (1 + _SOFT_GRAIN * grain)
    signal = primary(soft, anatomy.fat, mineral + anatomy.metal, acquisition.spectrum)
    density = detect(np.asarray(signal, dtype=np.float32), pixel_cm, acquisition, stream(seed, Part.NOISE))
    return burn_in(process(density, anatomy.lung, pixel_cm, acquisition), stream(seed, Part.MARKS))


def pixel_spacing_mm(size: tuple[int, int]) -> float:
    """Pixel spacing at the detector in mm of a film of `size` (rows, columns); pixels are square.

    A cassette of 43 cm in height holds a portrait film, one of 41.5 cm a square or landscape one.
    """
    rows, columns = size
    height_mm = 415.0 if rows <= columns * 1.05 else 430.0
    return height_mm / rows
