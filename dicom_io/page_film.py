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

from dicom_io.attention import attention_outline
from dicom_io.canvas import PALE, WHITE, Canvas
from model.area import resized
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
    rgb = shrunk(radiograph, (width, height))
    _outline_attention(rgb, radiograph, result, scale)
    canvas.box(box, fill=PALE)
    canvas.picture((x0, y0), Image.fromarray(rgb))
    f_top, f_left, f_bottom, f_right = (round(v * scale) for v in frame)
    corners = (x0 + f_left, y0 + f_top, x0 + f_right, y0 + f_bottom)
    canvas.box(corners, outline=_BLACK, width=4)
    canvas.dashed_box((corners[0] + 1, corners[1] + 1, corners[2] - 2, corners[3] - 2), WHITE)


def shrunk(radiograph: Radiograph, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The film at (width, height), uint8 (rows, columns, 3), bone bright."""
    (width, height), (rows, columns) = size, radiograph.pixels.shape
    film = resized(radiograph.pixels, (0, 0, rows, columns), height, width)
    grey: npt.NDArray[np.uint8] = (np.clip(film, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _outline_attention(rgb: npt.NDArray[np.uint8], radiograph: Radiograph, result: Scored, scale: float) -> None:
    """Draw on `rgb`, uint8 (rows, columns, 3), which is the film at `scale`."""
    contours = attention_outline(result, radiograph.pixels.shape, ATTENTION_SHARE, scale=scale)
    layer = rgb.copy()
    for thickness, colour in ((4, _BLACK), (2, _AMBER)):
        cv2.drawContours(layer, contours, -1, colour, thickness, cv2.LINE_AA)
    np.copyto(rgb, cv2.addWeighted(layer, 0.7, rgb, 0.3, 0))
