"""Long bones as curved elliptic tubes: a dense shell around a spongy core.

Shell and core are sampled as points and splatted, so that a rib seen edge-on gets its bright rim from geometry rather
than from a drawn line.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from model.phantom.grid import FloatArray, Grid, Map, Points

_GOLDEN_ANGLE = 2.399963
_POINT_BLUR_PIXELS = 0.35
"""Just enough to hide the points; more would take the fine detail that real films have."""
_STEP_PIXELS = 0.5
"""Distance of the slices."""
_CORE_EVERY = 2
"""A core is smooth: every second slice shows it."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tube:
    """One bone: `path` (points, 3) in cm, half sizes along `up` and across it, shell thickness; scalar or per point."""

    path: FloatArray
    along: FloatArray | float
    across: FloatArray | float
    shell: FloatArray | float
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Sampled:
    """A tube cut into slices: positions and in-plane axes (slices, 2), half sizes and shell (slices,), in cm."""

    centre: FloatArray
    up: FloatArray
    side: FloatArray
    along: FloatArray
    across: FloatArray
    shell: FloatArray
    thickness: float

    def every(self, nth: int) -> _Sampled:
        """Every `nth` slice, each so much thicker that the tube keeps its volume."""
        count = len(self.along)
        kept = slice(0, None, nth)
        return _Sampled(
            centre=self.centre[kept],
            up=self.up[kept],
            side=self.side[kept],
            along=self.along[kept],
            across=self.across[kept],
            shell=self.shell[kept],
            thickness=self.thickness * count / len(self.along[kept]),
        )


@dataclass(slots=True)
class TubeSet:
    """Collects tubes and splats all of them at once."""

    grid: Grid
    _shells: list[Points] = field(default_factory=list)
    _cores: list[Points] = field(default_factory=list)

    def add(self, tube: Tube) -> None:
        """Add one bone."""
        slices = _slices(tube, _STEP_PIXELS * self.grid.pixel_cm)
        self._shells.append(_shell_points(slices, self.grid.pixel_cm))
        self._cores.append(_core_points(slices.every(_CORE_EVERY), self.grid.pixel_cm))

    def maps(self) -> tuple[Map, Map]:
        """Depth of shells and of cores in cm."""
        return self._map(self._shells), self._map(self._cores)

    def _map(self, points: list[Points]) -> Map:
        x, y, volume = (np.concatenate([part[axis] for part in points]) for axis in range(3))
        return self.grid.blur(self.grid.splat_many(x, y, volume), _POINT_BLUR_PIXELS * self.grid.pixel_cm)


def _slices(tube: Tube, step: float) -> _Sampled:
    lengths = np.linalg.norm(np.diff(tube.path, axis=0), axis=1)
    distance = np.concatenate(([0.0], np.cumsum(lengths)))
    count = max(int(distance[-1] / step), 4)
    wanted = np.linspace(0, distance[-1], count)

    def at(values: FloatArray | float) -> FloatArray:
        return np.asarray(np.interp(wanted, distance, np.broadcast_to(values, distance.shape)))

    path = np.stack([at(tube.path[:, axis]) for axis in range(3)], axis=1)
    tangent = _unit(np.gradient(path, axis=0))
    up = np.broadcast_to(np.asarray(tube.up), tangent.shape)
    up = _unit(up - (up * tangent).sum(1, keepdims=True) * tangent)
    along, across = at(tube.along), at(tube.across)
    return _Sampled(
        centre=path[:, :2].astype(np.float32),
        up=up[:, :2].astype(np.float32),
        side=np.cross(tangent, up)[:, :2].astype(np.float32),
        along=along.astype(np.float32),
        across=across.astype(np.float32),
        shell=np.minimum(at(tube.shell), 0.8 * np.minimum(along, across)).astype(np.float32),
        thickness=float(distance[-1]) / count,
    )


def _unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9))


def _shell_points(slices: _Sampled, pixel_cm: float) -> Points:
    per_slice = int(np.clip(5.0 * slices.along.max() / pixel_cm, 12, 160))
    around = np.arange(per_slice) * (2 * np.pi / per_slice)
    cosine, sine = _turned(around, np.arange(len(slices.along)) * _GOLDEN_ANGLE)
    middle_along, middle_across = slices.along - slices.shell / 2, slices.across - slices.shell / 2
    inner = (slices.along - slices.shell) * (slices.across - slices.shell)
    area = np.pi * (slices.along * slices.across - inner)
    return _place(slices, middle_along[:, None] * cosine, middle_across[:, None] * sine, area)


def _core_points(slices: _Sampled, pixel_cm: float) -> Points:
    per_slice = int(np.clip(1.1 * slices.along.max() * slices.across.max() / pixel_cm**2, 8, 300))
    radius = np.sqrt((np.arange(per_slice, dtype=np.float32) + np.float32(0.5)) / per_slice)[None]
    cosine, sine = _turned(np.arange(per_slice) * _GOLDEN_ANGLE, np.arange(len(slices.along)) * 1.1)
    along, across = slices.along - slices.shell, slices.across - slices.shell
    on_along, on_across = along[:, None] * (radius * cosine), across[:, None] * (radius * sine)
    return _place(slices, on_along, on_across, np.pi * along * across)


def _turned(around: FloatArray, turn: FloatArray) -> tuple[Map, Map]:
    """Cosine and sine of `around` (points,) plus `turn` (slices,), each (slices, points), by the addition theorem."""
    c, s = np.cos(around).astype(np.float32)[None], np.sin(around).astype(np.float32)[None]
    turn_c, turn_s = np.cos(turn).astype(np.float32)[:, None], np.sin(turn).astype(np.float32)[:, None]
    return turn_c * c - turn_s * s, turn_s * c + turn_c * s


def _place(slices: _Sampled, along: FloatArray, across: FloatArray, area: FloatArray) -> Points:
    """Turn offsets inside the slices (slices, points) into x, y and volume (cm3), all flat."""
    volume = np.broadcast_to((area * slices.thickness / along.shape[1])[:, None], along.shape)
    x = slices.centre[:, :1] + along * slices.up[:, :1] + across * slices.side[:, :1]
    y = slices.centre[:, 1:] + along * slices.up[:, 1:] + across * slices.side[:, 1:]
    return x.ravel(), y.ravel(), volume.ravel()
