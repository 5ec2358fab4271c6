"""Long bones as curved elliptic tubes: a dense shell around a spongy core.

Shell and core are sampled as points and splatted, so that a rib seen edge-on gets its bright rim from geometry rather
than from a drawn line.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from model.phantom.grid import FloatArray, Grid, Map

_GOLDEN_ANGLE = 2.399963
_POINT_BLUR_PIXELS = 0.35
"""Just enough to hide the points; more would take the fine detail that real films have."""
_Points = tuple[FloatArray, FloatArray, FloatArray]


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


@dataclass(slots=True)
class TubeSet:
    """Collects tubes and splats all of them at once."""

    grid: Grid
    _shells: list[_Points] = field(default_factory=list)
    _cores: list[_Points] = field(default_factory=list)

    def add(self, tube: Tube) -> None:
        """Add one bone."""
        slices = _slices(tube, 0.5 * self.grid.pixel_cm)
        self._shells.append(_shell_points(slices, self.grid.pixel_cm))
        self._cores.append(_core_points(slices, self.grid.pixel_cm))

    def maps(self) -> tuple[Map, Map]:
        """Depth of shells and of cores in cm."""
        return self._map(self._shells), self._map(self._cores)

    def _map(self, points: list[_Points]) -> Map:
        x, y, volume = (np.concatenate([part[axis] for part in points]) for axis in range(3))
        return self.grid.blur(self.grid.splat(x, y, volume), _POINT_BLUR_PIXELS * self.grid.pixel_cm)


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
        centre=path[:, :2],
        up=up[:, :2],
        side=np.cross(tangent, up)[:, :2],
        along=along,
        across=across,
        shell=np.minimum(at(tube.shell), 0.8 * np.minimum(along, across)),
        thickness=float(distance[-1]) / count,
    )


def _unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9))


def _shell_points(slices: _Sampled, pixel_cm: float) -> _Points:
    per_slice = int(np.clip(5.0 * slices.along.max() / pixel_cm, 12, 160))
    angle = 2 * np.pi * np.arange(per_slice)[None] / per_slice
    angle = angle + np.arange(len(slices.along))[:, None] * _GOLDEN_ANGLE
    middle_along, middle_across = slices.along - slices.shell / 2, slices.across - slices.shell / 2
    inner = (slices.along - slices.shell) * (slices.across - slices.shell)
    area = np.pi * (slices.along * slices.across - inner)
    return _place(slices, middle_along[:, None] * np.cos(angle), middle_across[:, None] * np.sin(angle), area)


def _core_points(slices: _Sampled, pixel_cm: float) -> _Points:
    per_slice = int(np.clip(1.1 * slices.along.max() * slices.across.max() / pixel_cm**2, 8, 300))
    radius = np.sqrt((np.arange(per_slice) + 0.5) / per_slice)[None]
    angle = np.arange(per_slice)[None] * _GOLDEN_ANGLE + np.arange(len(slices.along))[:, None] * 1.1
    along, across = slices.along - slices.shell, slices.across - slices.shell
    on_along, on_across = along[:, None] * radius * np.cos(angle), across[:, None] * radius * np.sin(angle)
    return _place(slices, on_along, on_across, np.pi * along * across)


def _place(slices: _Sampled, along: FloatArray, across: FloatArray, area: FloatArray) -> _Points:
    """Turn offsets inside the slices (slices, points) into x, y and volume (cm3), all flat."""
    volume = np.broadcast_to((area * slices.thickness / along.shape[1])[:, None], along.shape)
    x = slices.centre[:, :1] + along * slices.up[:, :1] + across * slices.side[:, :1]
    y = slices.centre[:, 1:] + along * slices.up[:, 1:] + across * slices.side[:, 1:]
    return x.ravel(), y.ravel(), volume.ravel()
