"""Where the model looked, in the source image's own pixels: outlines that enclose a share of its attention.

One place for the page, the heat map and the presentation state, so that they show the same. The map covers the square
in which the model saw the analysed region (letter-box). A region of attention, never a cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from model.domain import Scored

Contour = npt.NDArray[np.int32]
"""OpenCV's form: (points, 1, 2), x before y."""
_LEAST: Final = 4
"""Cells a map must have to be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionMap:
    """Attention over the image at some scale; zero outside the square the model saw."""

    share: npt.NDArray[np.float32]
    """(side, side), not negative."""
    left: int
    top: int
    """Place of the square's corner in the scaled image; may be negative."""

    def level(self, enclosed: float) -> float:
        """The value above which `enclosed` (0 to 1) of the attention lies."""
        ordered = np.sort(self.share, axis=None)[::-1]
        place = int(np.searchsorted(np.cumsum(ordered), enclosed * ordered.sum()))
        return float(ordered[min(place, ordered.size - 1)])


def attention_map(result: Scored, shape: Sequence[int], *, scale: float = 1.0) -> AttentionMap | None:
    """The smoothed map over an image of `shape` (rows, columns) drawn at `scale`; None where there is none to show."""
    share = np.array(result.attention, np.float32)
    if share.ndim != 2 or share.size < _LEAST or not np.isfinite(share).all() or share.sum() <= 0:  # noqa: PLR2004
        return None
    top, left, bottom, right = result.analysed_region
    if bottom <= top or right <= left:
        top, left, bottom, right = 0, 0, shape[0], shape[1]
    side = max(2, round(max(bottom - top, right - left) * scale))
    smooth = cv2.resize(share, (side, side), interpolation=cv2.INTER_CUBIC)
    return AttentionMap(
        share=np.clip(smooth, 0, None),
        left=round((left + right) / 2 * scale) - side // 2,
        top=round((top + bottom) / 2 * scale) - side // 2,
    )


def attention_outline(
    result: Scored, shape: Sequence[int], enclosed: float, *, scale: float = 1.0
) -> tuple[Contour, ...]:
    """Outlines of the smallest region holding `enclosed` of the attention, in the image drawn at `scale`."""
    found = attention_map(result, shape, scale=scale)
    if found is None:
        return ()
    inside = (found.share >= found.level(enclosed)).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(found.left, found.top))
    return tuple(np.asarray(one, np.int32) for one in contours)
