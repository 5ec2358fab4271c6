"""The attention map over the film, as a Secondary Capture of its own series: off unless a site asks for it.

One hue of rising strength and two outlines, no rainbow: a colour scale would invite a reading as a finding. What it is
not is burned in above and below the film, outside the anatomy.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset

from dicom_io import page_words as words
from dicom_io import wording
from dicom_io.attention import attention_map, attention_outline
from dicom_io.canvas import INK, RED, SLATE, WHITE, Canvas, wrapped
from dicom_io.envelope import ReportContext
from dicom_io.page_film import shrunk
from dicom_io.secondary_capture import Capture, secondary_capture
from dicom_io.typeface import BOLD
from model.domain import Radiograph, Scored

SERIES_NUMBER: Final = 9907
SIDE: Final = 1024
"""Pixels of the film's longer side."""
_STRIP: Final = 46
_FINE: Final = 18
_NARROWEST: Final = 700
"""Pixels the words need."""
_AMBER: Final = np.array((255, 176, 0), np.float32)
_STRENGTH: Final = 0.6
_ENCLOSED: Final = ((0.8, 2), (0.5, 4))
"""Share of the attention within each outline, and its width."""


def build_heat_map(
    header: Dataset, radiograph: Radiograph, result: Scored, context: ReportContext, *, digest: str
) -> Dataset:
    """Build the object; `secondary_capture` says what the arguments are."""
    canvas = draw_heat_map(radiograph, result, context)
    capture = Capture(
        kind="heat-map",
        series_number=SERIES_NUMBER,
        description=wording.companion_series(
            "heat-map",
            context.version,
            simulated=result.model.simulated_training,
            language=context.language,
        ),
        derivation="Film with the attention of an image model",
    )
    pixels = np.asarray(canvas.image, np.uint8)
    return secondary_capture(header, pixels, capture, context, model=result.model, digest=digest)


def draw_heat_map(radiograph: Radiograph, result: Scored, context: ReportContext) -> Canvas:
    """The film with map, outlines and words, as an image."""
    rows, columns = radiograph.pixels.shape
    scale = SIDE / max(rows, columns)
    width, height = max(1, round(columns * scale)), max(1, round(rows * scale))
    film = shrunk(radiograph, (width, height))
    _tint(film, result, (rows, columns), scale)
    language, model = context.language, result.model
    full, foot = max(width, _NARROWEST), height + 2 * _STRIP
    said = f"{words.HEAT_MAP_EXPLAINED.say(language)} {wording.disclaimer(language)}"
    lines = len(wrapped(said, _FINE, BOLD, width=full - 32, lines=9))
    canvas = Canvas(full, foot + 16 + lines * round(_FINE * 1.32))
    canvas.box((0, 0, *canvas.image.size), fill=INK)
    canvas.picture(((full - width) // 2, 2 * _STRIP), Image.fromarray(film))
    _strip(canvas, wording.companion_series("heat-map", simulated=False, language=language), 0, (full, SLATE, 27))
    simulated = model.simulated_training
    second = wording.simulated_training(language) if simulated else f"{model.name} {model.version}"
    _strip(canvas, second, _STRIP, (full, RED if simulated else SLATE, 20))
    canvas.box((0, foot, *canvas.image.size), fill=SLATE)
    canvas.paragraph((16, foot + 8), said, _FINE, width=full - 32, lines=lines, weight=BOLD, colour=WHITE)
    return canvas


def _strip(canvas: Canvas, text: str, top: int, look: tuple[int, tuple[int, int, int], int]) -> None:
    width, ground, size = look
    canvas.box((0, top, width, top + _STRIP), fill=ground)
    middle = (width / 2, top + _STRIP / 2)
    canvas.text(middle, text, size, weight=BOLD, colour=WHITE, width=width - 24, anchor="mm")


def _tint(film: npt.NDArray[np.uint8], result: Scored, shape: tuple[int, int], scale: float) -> None:
    """Blend the map into `film`, uint8 (rows, columns, 3), and draw its outlines."""
    found = attention_map(result, shape, scale=scale)
    if found is None:
        return
    over = np.zeros((film.shape[0], film.shape[1]), np.float32)
    side = found.share.shape[0]
    top, left = max(0, found.top), max(0, found.left)
    bottom, right = min(over.shape[0], found.top + side), min(over.shape[1], found.left + side)
    over[top:bottom, left:right] = found.share[
        top - found.top : bottom - found.top, left - found.left : right - found.left
    ]
    alpha = (over / max(float(over.max()), 1e-12) * _STRENGTH)[:, :, None]
    film[:] = (film * (1 - alpha) + _AMBER * alpha).astype(np.uint8)
    for enclosed, width in _ENCLOSED:
        outline = attention_outline(result, shape, enclosed, scale=scale)
        cv2.drawContours(film, outline, -1, INK, width + 2, cv2.LINE_AA)
        cv2.drawContours(film, outline, -1, WHITE, width, cv2.LINE_AA)
