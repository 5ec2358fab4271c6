"""Area averaging: the mean grey value of the source rectangle under each target pixel.

The same numbers as OpenCV's INTER_AREA to float rounding (a test compares them), in less than half its time on a
detector's image: two sparse products, one per axis, each source pixel read once and in order. One thread by
construction, the same bits on every run. An axis that grows is OpenCV's own business.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

Floats = npt.NDArray[np.float32]

_LEAST_PART = 1e-3
"""A smaller part of a source pixel does not count, as in OpenCV."""


def resized(pixels: Floats, region: tuple[int, int, int, int], rows: int, columns: int) -> Floats:
    """INTER_AREA of `region` as (rows, columns): by `shrink`, unless an axis grows; arguments as there."""
    top, left, bottom, right = region
    if rows <= bottom - top and columns <= right - left:
        return shrink(pixels, region, rows, columns)
    cv2.setNumThreads(1)
    larger = cv2.resize(pixels[top:bottom, left:right], (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(larger, np.float32).reshape(rows, columns)


def shrink(pixels: Floats, region: tuple[int, int, int, int], rows: int, columns: int) -> Floats:
    """Area mean of `region` (top, left, bottom, right; half-open) of float32 `pixels` as (rows, columns).

    Raises ValueError where an axis would grow. The region is cut between the two products: cutting columns out of the
    full image first would copy it.
    """
    top, left, bottom, right = region
    by_row = (_averages(bottom - top, rows) @ pixels[top:bottom])[:, left:right]
    by_column = _averages(right - left, columns) @ cv2.transpose(by_row).reshape(right - left, rows)
    return np.ascontiguousarray(by_column.T, np.float32)


@functools.lru_cache(maxsize=64)
def _averages(length: int, cells: int) -> Any:
    """(cells, length) sparse matrix of means along one axis; a hospital's detectors have a handful of sizes."""
    if not 1 <= cells <= length:
        msg = f"cannot average {length} lines to {cells}"
        raise ValueError(msg)
    starts: list[int] = [0]
    weights: list[float] = []
    ends: list[int] = []
    for cell in range(cells):
        first, parts = _parts(length, length / cells, cell)
        ends.extend(range(first, first + len(parts)))
        weights.extend(parts)
        starts.append(len(ends))
    return csr_array((np.array(weights, np.float32), np.array(ends), np.array(starts)), shape=(cells, length))


def _parts(length: int, scale: float, cell: int) -> tuple[int, list[float]]:
    """First source line of a cell, and the share of the cell that each line from there on makes up."""
    begin, end = cell * scale, (cell + 1) * scale
    width = min(scale, length - begin)
    last = min(math.floor(end), length - 1)
    first = min(math.ceil(begin), last)
    parts = [1.0 / width] * (last - first)
    if end - last > _LEAST_PART:
        parts.append(min(end - last, 1.0, width) / width)
    if first - begin > _LEAST_PART:
        return first - 1, [(first - begin) / width, *parts]
    return first, parts
