"""The radiograph on the report page: thumbnail, analysed frame and a soft outline of the model's attention.

The outline encloses the smallest region that holds half of the attention. It shows where the model looked, never what
it saw: the caption says so, and no colour scale invites a reading as a finding.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from dicom_io.canvas import PALE, WHITE, Canvas
from model.domain import Radiograph, Scored

ATTENTION_SHARE: Final = 0.5
_BLACK: Final = (0, 0, 0)
_AMBER: Final = (255, 176, 0)
Frame = tuple[int, int, int, int]


def draw_film(canvas: Canvas, box: Frame, radiograph: Radiograph, result: Scored, frame: Frame) -> None:
    """Draw the film into `box` (left, top, right, bottom), bone bright; `frame` is (top, left, bottom, right) in it."""
    left, top, right, bottom = box
    rows, columns = radiograph.pixels.shape
    scale = min((right - left) / columns, (bottom - top) / rows)
    width, height = max(1, round(columns * scale)), max(1, round(rows * scale))
    x0, y0 = left + (right - left - width) // 2, top + (bottom - top - height) // 2
    film = cv2.resize(radiograph.pixels, (width, height), interpolation=cv2.INTER_AREA)
    rgb = np.repeat((np.clip(film, 0, 1) * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    _outline_attention(rgb, result, scale, (rows, columns))
    canvas.draw.rectangle(box, fill=PALE)
    canvas.image.paste(Image.fromarray(rgb), (x0, y0))
    f_top, f_left, f_bottom, f_right = (round(v * scale) for v in frame)
    corners = (x0 + f_left, y0 + f_top, x0 + f_right, y0 + f_bottom)
    canvas.draw.rectangle(corners, outline=_BLACK, width=4)
    _dashed_box(canvas, corners)


def _dashed_box(canvas: Canvas, box: Frame) -> None:
    left, top, right, bottom = box
    for start, end in (
        ((left + 1, top + 1), (right, top + 1)),
        ((left + 1, bottom - 2), (right, bottom - 2)),
        ((left + 1, top + 1), (left + 1, bottom)),
        ((right - 2, top + 1), (right - 2, bottom)),
    ):
        canvas.dashed(start, end, WHITE)


def _outline_attention(rgb: npt.NDArray[np.uint8], result: Scored, scale: float, shape: tuple[int, int]) -> None:
    """Draw on `rgb`, uint8 (rows, columns, 3), which is the film at `scale`."""
    share = np.array(result.attention, np.float32)
    if share.ndim != 2 or share.size < 4 or not np.isfinite(share).all() or share.sum() <= 0:  # noqa: PLR2004
        return
    top, left, bottom, right = result.analysed_region
    if bottom <= top or right <= left:
        top, left, bottom, right = 0, 0, *shape
    # The model sees the region centred in a square (letter-box); the map covers that square.
    side = max(2, round(max(bottom - top, right - left) * scale))
    y, x = round((top + bottom) / 2 * scale) - side // 2, round((left + right) / 2 * scale) - side // 2
    smooth = cv2.resize(share, (side, side), interpolation=cv2.INTER_CUBIC)
    ordered = np.sort(np.clip(smooth, 0, None), axis=None)[::-1]
    limit = ordered[int(np.searchsorted(np.cumsum(ordered), ATTENTION_SHARE * ordered.sum()))]
    contours, _ = cv2.findContours((smooth >= limit).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    layer = rgb.copy()
    for thickness, colour in ((4, _BLACK), (2, _AMBER)):
        cv2.drawContours(layer, contours, -1, colour, thickness, cv2.LINE_AA, offset=(x, y))
    np.copyto(rgb, cv2.addWeighted(layer, 0.7, rgb, 0.3, 0))
