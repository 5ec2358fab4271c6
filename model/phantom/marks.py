"""What is burned into a film besides the patient: the laterality marker and the collimator's edges.

Drawn without knowledge of the subject, so neither can betray the label.
"""

from __future__ import annotations

import numpy as np

from model.phantom.grid import Map

_MARKED, _RIGHT_MARKED = 0.8, 0.25
_COLLIMATED = 0.35
_WIDEST_COLLIMATION = 0.035


def burn_in(image: Map, rng: np.random.Generator) -> Map:
    """Return `image` (range [0, 1], bone bright) with a marker letter and collimated borders, each on some films."""
    marked = image.copy()
    if rng.random() < _MARKED:
        _burn_marker(marked, rng)
    if rng.random() < _COLLIMATED:
        rows, columns = marked.shape
        top, bottom, left, right = rng.integers(0, int(_WIDEST_COLLIMATION * columns) + 1, 4)
        marked[:top] = 0
        marked[rows - bottom :] = 0
        marked[:, :left] = 0
        marked[:, columns - right :] = 0
    return marked


def _burn_marker(image: Map, rng: np.random.Generator) -> None:
    rows, columns = image.shape
    right = rng.random() < _RIGHT_MARKED
    letter = _letter(rows, right=right)
    top = int(rng.uniform(0.04, 0.14) * rows)
    left = int((rng.uniform(0.03, 0.09) if right else rng.uniform(0.88, 0.94)) * columns)
    target = image[top : top + letter.shape[0], left : left + letter.shape[1]]
    target[letter[: target.shape[0], : target.shape[1]]] = 1.0


def _letter(rows: int, *, right: bool) -> np.typing.NDArray[np.bool_]:
    """Give an L, or a boxy R, about 3 % of the film high."""
    height, width, line = max(3, int(0.030 * rows)), max(3, int(0.018 * rows)), max(1, int(0.0045 * rows))
    letter = np.zeros((height, width), np.bool_)
    letter[:, :line] = True
    if not right:
        letter[-line:] = True
        return letter
    middle = height // 2 - line // 2
    letter[:line] = letter[middle : middle + line] = True
    letter[:, -line:] = True
    return letter
