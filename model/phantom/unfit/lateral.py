"""The lateral film: the same person projected from side to side, for the gate that must refuse it.

Real human laterals were not to be had, so a gate learns the view from these alone; the model card says so. This
subpackage shapes no frontal film and is therefore no part of the name of the training films' cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from model.phantom.anatomy import Anatomy
from model.phantom.body import SIDES
from model.phantom.bone import BoneMaps, BoneState, bone_state
from model.phantom.grid import FloatArray, Grid, Map, ellipsoid, positive, smoothstep
from model.phantom.lungs import vessel_depth
from model.phantom.render import expose, pixel_spacing_mm
from model.phantom.scenario import Acquisition
from model.phantom.skeleton import SHELL_CM, rib_cage
from model.phantom.spine import Column, draw_column
from model.phantom.streams import Part, stream
from model.phantom.subject import Subject
from model.phantom.thorax import Canvas, Thorax, draw_thorax
from model.phantom.tubes import Tube, TubeSet

_PARENCHYMA = 0.27
_PLATE_CM = 0.06
_ROUNDNESS = 2.6
_UPRIGHT_UP, _SIDEWAYS_UP = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Trunk:
    depth: FloatArray
    fat: FloatArray


def render_lateral(
    subject: Subject, acquisition: Acquisition, seed: int, size: tuple[int, int] = (512, 512), *, facing: int = -1
) -> Map:
    """Render the person of `seed` from the side: float32 (rows, columns) = `size`, range [0, 1], bone bright.

    `facing` is -1 for the front to the image's left and 1 for its right. The acquisition's view is of no account.
    """
    pixel_cm = pixel_spacing_mm(size) / 10 / acquisition.magnification
    grid = Grid.spanning(*size, pixel_cm * size[0])
    state = bone_state(subject, stream(seed, Part.BONE_STATE))
    thorax = draw_thorax(subject, acquisition, stream(seed, Part.THORAX))
    canvas = Canvas.over(grid, thorax, acquisition.view)
    anatomy = _anatomy(canvas, subject, state, seed)
    return expose(anatomy if facing < 0 else _mirrored(anatomy), state, acquisition, pixel_cm, seed)


def _anatomy(canvas: Canvas, subject: Subject, state: BoneState, seed: int) -> Anatomy:
    """Depths with x running from the front (negative) to the back."""
    lung = _lung(canvas, stream(seed, Part.LUNGS))
    bones = _bones(canvas, subject, state, seed)
    trunk = _trunk(canvas, subject)
    vessels = vessel_depth(canvas, lung, stream(seed, Part.VESSELS))
    volume = bones.spine_cortical + bones.spine_trabecular + bones.other_cortical + bones.other_trabecular
    soft = positive(trunk.depth - lung - trunk.fat - _airway(canvas) - volume) + _PARENCHYMA * lung + vessels
    maps = (np.asarray(values, np.float32) for values in (soft, trunk.fat, lung))
    soft_map, fat_map, lung_map = maps
    return Anatomy(soft=soft_map, fat=fat_map, lung=lung_map, metal=np.zeros_like(soft_map), bones=bones)


def _mirrored(anatomy: Anatomy) -> Anatomy:
    bones = anatomy.bones
    return Anatomy(
        soft=_flip(anatomy.soft),
        fat=_flip(anatomy.fat),
        lung=_flip(anatomy.lung),
        metal=anatomy.metal,
        bones=BoneMaps(
            spine_cortical=_flip(bones.spine_cortical),
            spine_trabecular=_flip(bones.spine_trabecular),
            other_cortical=_flip(bones.other_cortical),
            other_trabecular=_flip(bones.other_trabecular),
        ),
    )


def _flip(values: Map) -> Map:
    return np.ascontiguousarray(values[:, ::-1])


def _lung(canvas: Canvas, rng: np.random.Generator) -> FloatArray:
    """Both lungs behind one another, minus heart, great vessels and what rises into them from below."""
    thorax = canvas.thorax
    chord = 2 * canvas.half_width * np.sqrt(positive(1 - np.square(canvas.x / canvas.half_depth)))
    chord = chord * np.minimum(np.sqrt(positive(canvas.y - thorax.apex - 0.03 * np.square(canvas.x)) / 6.0), 1)
    total: FloatArray = np.zeros_like(chord)
    for _ in SIDES:
        dome = thorax.dome + rng.normal(0.4, 0.6) + rng.normal(0.045, 0.006) * np.square(canvas.x + 1.0)
        below = positive(canvas.y - dome - 0.05 * np.square(positive(canvas.x)))
        total = total + chord / 2 * positive(1 - (0.40 * np.sqrt(below) + 0.12 * below))
    heart_centre = (-0.32 * thorax.half_depth, thorax.dome - 3.6 * thorax.scale)
    heart_radii = (5.0 * thorax.scale, 6.2 * thorax.scale, rng.normal(4.2, 0.4))
    arch_radii = (3.2, 2.2, 1.2)
    taken = ellipsoid(canvas.x, canvas.y, centre=heart_centre, radii=heart_radii, tilt=0.5)
    taken = np.maximum(taken, ellipsoid(canvas.x, canvas.y, centre=(0.6, thorax.at(0.27)), radii=arch_radii))
    shoulders = 0.35 * smoothstep((thorax.at(0.2) - canvas.y) / 4)
    return positive(total * (1 - shoulders) - 1.05 * taken) * 0.93


def _trunk(canvas: Canvas, subject: Subject) -> _Trunk:
    """Chest and belly seen from the side, with shoulders, neck and the arms held up in front."""
    lean = subject.bmi - 22
    wall = 1.5 + 0.17 * float(np.clip(subject.bmi - 17, 0, 25))
    belly = smoothstep((canvas.level - 0.75) / 0.5)
    half_width = canvas.half_width + wall + 0.7
    half_depth = canvas.half_depth + 0.85 * wall + 0.8 + belly * (0.6 + 0.08 * lean)
    chord = 2 * half_width * positive(1 - np.abs(canvas.x / half_depth) ** _ROUNDNESS) ** 0.48
    chord = chord * smoothstep((canvas.y - (canvas.thorax.apex - 2.5)) / 7)
    shoulder = ellipsoid(canvas.x, canvas.y, centre=(0.5, canvas.thorax.apex + 3.0), radii=(8.5, 8.0, 9.0))
    neck = 2 * 5.4 * np.sqrt(positive(1 - np.square((canvas.x - 0.5) / 6.0)))
    neck = neck * (1 - smoothstep((canvas.y - canvas.thorax.apex - 2) / 4))
    depth = np.maximum(np.maximum(chord, shoulder), np.maximum(neck, _raised_arms(canvas, subject)))
    if subject.female:
        size = float(np.clip(0.8 + 0.09 * lean, 0.35, 2.4))
        front = (-float(canvas.thorax.half_depth) - wall, canvas.thorax.at(0.68))
        depth = depth + ellipsoid(canvas.x, canvas.y, centre=front, radii=(2.2 * size, 5.0, 8.0))
    smooth = canvas.grid.blur(np.asarray(depth, np.float32), 0.15)
    fat_cm = float(np.clip(0.9 + 0.16 * (subject.bmi - 18), 0.3, 6))
    return _Trunk(depth=smooth, fat=fat_cm * smoothstep(smooth / 4))


def _raised_arms(canvas: Canvas, subject: Subject) -> FloatArray:
    radius = 4.6 + 0.14 * (subject.bmi - 24)
    along_x, along_y = -0.62, -0.78
    dx, dy = canvas.x - 0.5, canvas.y - (canvas.thorax.apex + 3.0)
    across, along = dx * along_y - dy * along_x, dx * along_x + dy * along_y
    return 4 * np.sqrt(positive(radius**2 - np.square(across))) * smoothstep(along / 3)


def _airway(canvas: Canvas) -> FloatArray:
    axis = 0.8 + 1.6 * np.clip(canvas.level / 0.36, -0.5, 1)
    within = 1 - smoothstep((canvas.level - 0.36) / 0.05)
    return 2 * 0.85 * np.sqrt(positive(1 - np.square((canvas.x - axis) / 0.88))) * within


def _bones(canvas: Canvas, subject: Subject, state: BoneState, seed: int) -> BoneMaps:
    thorax, rng = canvas.thorax, stream(seed, Part.SKELETON)
    column = draw_column(subject, thorax, state, stream(seed, Part.SPINE))
    spine_cortical, spine_trabecular = _spine(canvas, column, state)
    shell = SHELL_CM * state.cortex
    tubes = TubeSet(canvas.grid)
    for rib in rib_cage(canvas, subject, column, shell, rng):
        turned = np.stack([thorax.centre - rib.path[:, 2], rib.path[:, 1], rib.path[:, 0]], axis=1)
        tubes.add(replace(rib, path=turned))
    for tube in _other_bones(thorax, shell):
        tubes.add(tube)
    cortical, trabecular = tubes.maps()
    return BoneMaps(
        spine_cortical=spine_cortical,
        spine_trabecular=spine_trabecular,
        other_cortical=cortical,
        other_trabecular=trabecular,
    )


def _spine(canvas: Canvas, column: Column, state: BoneState) -> tuple[Map, Map]:
    """Vertebral bodies seen from the side along a kyphotic line, arches as one band behind them."""
    cortical: FloatArray = np.zeros((canvas.grid.rows, canvas.grid.columns), np.float32)
    trabecular = cortical
    for index, middle in enumerate(column.y):
        width, height = float(column.half_width[index]), float(column.height[index])
        x, y = canvas.x - _spine_x(canvas.thorax, float(middle)), canvas.y - np.float32(middle)
        chord = 2 * width * np.sqrt(positive(1 - np.square(x / (0.95 * width + 0.25))))
        edge = height / 2 - np.abs(y)
        inside = smoothstep(edge / 0.10 + 0.5)
        plate = np.exp(-0.5 * np.square(edge / _PLATE_CM)) / (_PLATE_CM * 2.507)
        shell = np.minimum(0.12 * state.cortex * inside, chord)
        cortical = cortical + 2.0 * shell + plate * chord * 0.06 * state.cortex
        trabecular = trabecular + positive(chord - shell) * inside
        spinous = ellipsoid(x, y, centre=(2.6, 0.5 * height), radii=(2.0, 0.5 * height, 0.5), tilt=0.5)
        cortical = cortical + 0.3 * state.cortex * spinous
    return np.asarray(cortical, np.float32), np.asarray(trabecular, np.float32)


def _spine_x(thorax: Thorax, y: float) -> float:
    level = (y - thorax.apex) / thorax.length
    return thorax.half_depth * (0.58 - 0.55 * (level - 0.5) ** 2)


def _other_bones(thorax: Thorax, shell: float) -> tuple[Tube, ...]:
    """Sternum, both scapulae and both raised humeri."""
    front = thorax.centre - thorax.half_depth - 0.6
    sternum = [(front + 2.6, thorax.at(0.1)), (front + 0.6, thorax.at(0.35)), (front + 0.2, thorax.at(0.68))]
    tubes = [Tube(path=_line(sternum, 0.0), along=0.55, across=1.7, shell=1.2 * shell, up=_SIDEWAYS_UP)]
    for side in SIDES:
        back, top = thorax.centre + 5.0 + 0.6 * side, thorax.apex + 1.5
        blade = [(back, top), (back + 1.6, top + 10.0)]
        tubes.append(Tube(path=_line(blade, 8.0 * side), along=0.35, across=0.4, shell=1.8 * shell, up=_SIDEWAYS_UP))
        joint = (thorax.centre + 0.5 + 0.5 * side, thorax.apex + 3.0)
        arm = [joint, (joint[0] - 15.0, joint[1] - 19.0)]
        tubes.append(Tube(path=_line(arm, 9.0 * side), along=1.2, across=1.2, shell=3.0 * shell, up=_UPRIGHT_UP))
    return tuple(tubes)


def _line(points: list[tuple[float, float]], z: float) -> FloatArray:
    along, knots = np.linspace(0, 1, 40), np.linspace(0, 1, len(points))
    x, y = zip(*points, strict=True)
    return np.stack([np.interp(along, knots, x), np.interp(along, knots, y), np.full_like(along, z)], axis=1)
