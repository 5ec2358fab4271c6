"""Radiographs that are no chest: hand, lower leg, hip, skull, abdomen, and exposures of nothing.

Crude on purpose: a gate needs them to learn what is not the question, not to tell one joint from another. Real
objects of these kinds are what it is measured on.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from model.phantom.anatomy import Anatomy
from model.phantom.bone import BoneMaps, BoneState, bone_state
from model.phantom.grid import FloatArray, Grid, Map, ellipsoid, positive, smoothstep
from model.phantom.render import expose
from model.phantom.scenario import Acquisition
from model.phantom.skeleton import SHELL_CM
from model.phantom.streams import Part, stream
from model.phantom.subject import Subject
from model.phantom.texture import power_law_field
from model.phantom.tubes import Tube, TubeSet

_SIDEWAYS_UP = (1.0, 0.0, 0.0)
_BACK = 0.25
"""Least soft tissue in cm that counts as the object; the window's lower end is taken there."""


class Stranger(enum.StrEnum):
    """What is on the film instead of a chest."""

    HAND = "hand"
    LOWER_LEG = "lower leg"
    HIP = "hip"
    SKULL = "skull"
    ABDOMEN = "abdomen"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limb:
    """A straight piece: ends (x, y), radius of the bone and of the soft tissue around it, all in cm."""

    start: tuple[float, float]
    end: tuple[float, float]
    bone: float
    soft: float
    compact: float = 2.5
    """Thickness of the bone's shell, in shells of a rib."""


def render_stranger(
    kind: Stranger, subject: Subject, acquisition: Acquisition, seed: int, size: tuple[int, int] = (512, 512)
) -> Map:
    """Render `kind` of the person of `seed`: float32 (rows, columns) = `size`, range [0, 1], bone bright."""
    rng = stream(seed, Part.BODY)
    height_cm = {Stranger.HAND: 26.0, Stranger.SKULL: 30.0}.get(kind, 43.0) * float(rng.uniform(0.85, 1.1))
    grid = Grid.spanning(*size, height_cm)
    if kind is Stranger.NOTHING:
        return _nothing(grid, rng)
    state = bone_state(subject, stream(seed, Part.BONE_STATE))
    soft, bones = _DRAWN[kind](grid, state, rng)
    volume = bones.spine_cortical + bones.spine_trabecular + bones.other_cortical + bones.other_trabecular
    skin = grid.blur(np.asarray(soft, np.float32), 0.1)
    anatomy = Anatomy(
        soft=np.asarray(positive(skin - volume), np.float32),
        fat=np.asarray(0.15 * skin, np.float32),
        lung=np.where(skin > _BACK, np.float32(9), np.float32(0)),
        metal=np.zeros_like(volume),
        bones=bones,
    )
    return expose(anatomy, state, acquisition, grid.pixel_cm, seed)


def _nothing(grid: Grid, rng: np.random.Generator) -> Map:
    """A ramp, or clouds, with noise: a test exposure or a plate without an object."""
    ramp = rng.normal(0, 0.02) * grid.x + rng.normal(0, 0.02) * grid.y
    clouds = power_law_field((grid.rows, grid.columns), grid.pixel_cm, rng, slope=rng.uniform(0, 3.5), low_cut=0.1)
    return np.asarray(np.clip(rng.uniform(0.2, 0.8) + ramp + rng.uniform(0, 0.2) * clouds, 0, 1), np.float32)


def _hand(grid: Grid, state: BoneState, rng: np.random.Generator) -> tuple[FloatArray, BoneMaps]:
    limbs = [
        _Limb(start=(-1.0, 5.0), end=(-1.3, 14.0), bone=0.8, soft=2.6),
        _Limb(start=(1.0, 5), end=(1.2, 14), bone=0.7, soft=2.6),
    ]
    for finger in range(5):
        x, y = (finger - 2) * 1.5, 4.0
        turn = (finger - 2) * 0.17 + rng.normal(0, 0.04) - (0.45 if finger == 0 else 0)
        for length, bone in ((6.0, 0.42), (4.0, 0.38), (2.5, 0.32), (1.8, 0.28))[0 if finger else 1 :]:
            end = (x + length * float(np.sin(turn)), y - length * float(np.cos(turn)))
            limbs.append(_Limb(start=(x, y), end=end, bone=bone, soft=1.0))
            x, y = end
    soft, bones = _limbs(grid, state, limbs)
    palm = ellipsoid(grid.x, grid.y, centre=(0.0, 1.5), radii=(4.2, 5.5, 1.3))
    return np.maximum(soft, palm), bones


def _lower_leg(grid: Grid, state: BoneState, rng: np.random.Generator) -> tuple[FloatArray, BoneMaps]:
    lean = float(rng.normal(0, 1.5))
    limbs = [
        _Limb(start=(-1.0 - lean, -30.0), end=(-1.0, -2.5), bone=1.7, soft=6.5, compact=5),
        _Limb(start=(-1.0, 0.0), end=(-0.5 + lean, 40.0), bone=1.6, soft=5.5, compact=5),
        _Limb(start=(2.6, 2.0), end=(2.9 + lean, 40.0), bone=0.7, soft=4.0, compact=4),
        _Limb(start=(-3.0, -2.2), end=(1.0, -2.2), bone=2.2, soft=5.5, compact=1),
        _Limb(start=(-3.0, 1.8), end=(1.2, 1.8), bone=1.9, soft=5.5, compact=1),
    ]
    return _limbs(grid, state, limbs)


def _hip(grid: Grid, state: BoneState, rng: np.random.Generator) -> tuple[FloatArray, BoneMaps]:
    turn = float(rng.normal(0, 1.0))
    limbs = [
        _Limb(start=(0.0, 0.0), end=(0.4, 0.2), bone=2.4, soft=9.0, compact=1),
        _Limb(start=(0.5, 0.4), end=(5.0, 4.0), bone=1.6, soft=9.0, compact=2),
        _Limb(start=(5.0, 2.5), end=(4.0 + turn, 40.0), bone=1.6, soft=9.0, compact=4),
        _Limb(start=(-3.0, -3.0), end=(-6.0, -14.0), bone=1.8, soft=12.0, compact=1.5),
        _Limb(start=(-3.0, 2.0), end=(-11.0, 3.5), bone=1.1, soft=12.0, compact=1.5),
        _Limb(start=(-4.0, 4.0), end=(-9.0, 9.0), bone=1.0, soft=10.0, compact=1.5),
    ]
    soft, bones = _limbs(grid, state, limbs)
    wing = 0.4 * state.cortex * smoothstep(1 - np.square((grid.x + 7) / 6) - np.square((grid.y + 13) / 8))
    return soft, _with_plate(bones, wing)


def _skull(grid: Grid, state: BoneState, rng: np.random.Generator) -> tuple[FloatArray, BoneMaps]:
    centre, width = (float(rng.normal(0, 1)), float(rng.normal(-3, 1))), float(rng.uniform(7.5, 10.0))
    outside = ellipsoid(grid.x, grid.y, centre=centre, radii=(width, 9.5, 7.5))
    inside = ellipsoid(grid.x, grid.y, centre=centre, radii=(width - 0.6, 8.9, 6.9))
    neck = _Limb(start=(centre[0] + 1.5, centre[1] + 6.0), end=(centre[0] + 2.0, centre[1] + 40), bone=1.4, soft=5.5)
    jaw = _Limb(start=(centre[0] - 6.0, centre[1] + 11), end=(centre[0] + 1.0, centre[1] + 8), bone=1.0, soft=3.0)
    soft, bones = _limbs(grid, state, [neck, jaw])
    return np.maximum(soft, outside + 0.6), _with_plate(bones, 0.5 * (outside - inside))


def _abdomen(grid: Grid, state: BoneState, rng: np.random.Generator) -> tuple[FloatArray, BoneMaps]:
    wall = 22.0 * np.sqrt(positive(1 - np.square(grid.x / float(rng.uniform(14, 20))))) + 0 * grid.y
    for _ in range(int(rng.integers(4, 14))):
        centre = (float(rng.normal(0, 7)), float(rng.normal(0, 9)))
        radii = (float(rng.uniform(1, 3)), float(rng.uniform(1, 3)), float(rng.uniform(1, 2.5)))
        wall = wall - ellipsoid(grid.x, grid.y, centre=centre, radii=radii, tilt=float(rng.normal(0, 1)))
    spine = [
        _Limb(start=(0.0, y), end=(0.0, y + 2.7), bone=2.3, soft=3.0, compact=1) for y in np.arange(-20.0, 12.0, 3.5)
    ]
    _, bones = _limbs(grid, state, spine)
    wings: FloatArray = np.zeros_like(wall)
    for side in (-1, 1):
        wing = 1 - np.square((grid.x - side * 9) / 5.5) - np.square((grid.y - 16) / 7)
        wings = wings + 0.5 * state.cortex * smoothstep(wing)
    return positive(wall), _with_plate(bones, wings)


_DRAWN = {
    Stranger.HAND: _hand,
    Stranger.LOWER_LEG: _lower_leg,
    Stranger.HIP: _hip,
    Stranger.SKULL: _skull,
    Stranger.ABDOMEN: _abdomen,
}


def _limbs(grid: Grid, state: BoneState, limbs: list[_Limb]) -> tuple[FloatArray, BoneMaps]:
    """Soft tissue as the widest of the limbs' capsules, and their bones."""
    tubes = TubeSet(grid)
    soft: FloatArray = np.zeros((grid.rows, grid.columns), np.float32)
    for limb in limbs:
        ends = np.array([[*limb.start, 0.0], [*limb.end, 0.0]])
        path = ends[0] + np.linspace(0, 1, 30)[:, None] * (ends[1] - ends[0])
        swollen = limb.bone * (1 + 0.35 * np.square(np.linspace(-1, 1, 30)) ** 2)
        shell = limb.compact * SHELL_CM * state.cortex
        tubes.add(Tube(path=path, along=swollen, across=swollen, shell=shell, up=_SIDEWAYS_UP))
        soft = np.maximum(soft, _capsule(grid, limb))
    cortical, trabecular = tubes.maps()
    none = np.zeros_like(cortical)
    return soft, BoneMaps(
        spine_cortical=none, spine_trabecular=none, other_cortical=cortical, other_trabecular=trabecular
    )


def _capsule(grid: Grid, limb: _Limb) -> FloatArray:
    dx, dy = limb.end[0] - limb.start[0], limb.end[1] - limb.start[1]
    x, y = grid.x - limb.start[0], grid.y - limb.start[1]
    along = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-6), 0, 1)
    squared = np.square(x - along * dx) + np.square(y - along * dy)
    return 2 * np.sqrt(positive(limb.soft**2 - squared))


def _with_plate(bones: BoneMaps, plate: FloatArray) -> BoneMaps:
    return BoneMaps(
        spine_cortical=bones.spine_cortical,
        spine_trabecular=bones.spine_trabecular,
        other_cortical=np.asarray(bones.other_cortical + plate, np.float32),
        other_trabecular=bones.other_trabecular,
    )
