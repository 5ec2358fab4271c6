"""Drawing a page of pixels, and the list of what was drawn, from which the same page can be set as vectors.

Every mark is a value (`Words`, `Box`, ...): the picture and the PDF are two readings of one list, so they cannot differ
in what they say. Text fits or is visibly shortened. No layout here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw

from dicom_io.typeface import REGULAR, Face, drawable, face_of, font, length, stamp

INK: Final = (20, 24, 30)
GREY: Final = (84, 90, 100)
SHADE: Final = (150, 156, 165)
PALE: Final = (226, 229, 233)
SLATE: Final = (44, 52, 64)
WHITE: Final = (255, 255, 255)
RED: Final = (190, 18, 32)
SMALLEST: Final = 15
"""Text is shrunk to this, then shortened."""
_SMOOTH: Final = 4
"""Slanted and round edges are drawn so many times larger and scaled down."""
_HAN: Final = "\u2e80-\u9fff\uf900-\ufaff\uff01-\uff60"
"""Chinese and Japanese, with their punctuation: no spaces, a line may end between any two. Korean has spaces."""
_OPENING, _CLOSING = "「『（【〔〈《", "、。，．：；！？」』）】〕〉》〟ーぁぃぅぇぉっゃゅょァィゥェォッャュョ"  # noqa: RUF001
"""What no line may end with, and what none may begin with."""
_UNBROKEN: Final = re.compile(f"[{_OPENING}]*[{_HAN}][{_CLOSING}]* ?|[^{_HAN} ]+[{_CLOSING}]* ?")
Colour = tuple[int, int, int]
Point = tuple[float, float]
Frame = tuple[float, float, float, float]
"""(left, top, right, bottom)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One line of text, from (x, y) on its baseline."""

    at: Point
    text: str
    size: int
    face: Face
    colour: Colour
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle, its outline inside the frame."""

    frame: Frame
    fill: Colour | None
    outline: Colour | None
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A straight line."""

    start: Point
    end: Point
    colour: Colour
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A closed polygon, or the ellipse in the frame of two points."""

    points: tuple[Point, ...]
    fill: Colour | None
    outline: Colour | None
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image pasted at its own size."""

    at: tuple[int, int]
    image: Image.Image


Mark = Words | Box | Line | Shape | Picture


class Canvas:
    """An RGB page of `width` x `height` pixels, white at first. Positions are (x, y) from the top left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), WHITE)
        self.marks: list[Mark] = []
        """Everything drawn, in order."""
        self._draw = ImageDraw.Draw(self.image)

    @property
    def written(self) -> list[str]:
        """Every line as it stands on the page, in order: what the page says to whoever checks it without eyes."""
        return [mark.text for mark in self.marks if isinstance(mark, Words)]

    def text(
        self,
        at: Point,
        text: str,
        size: int,
        *,
        weight: int = REGULAR,
        colour: Colour = INK,
        width: float | None = None,
        anchor: str = "la",
        among: str = "",
    ) -> float:
        """Write one line, shrunk and at last shortened to `width` pixels; returns the width used.

        `anchor` is Pillow's: l, m, r and a (ascender), m, s (baseline). `among` is what `typeface.face_of` asks for.
        """
        shown = drawable(text)
        face = face_of(shown, weight, among=among)
        size, shown = _fit(shown, face, size, width)
        drawing = font(face, size)
        long = length(shown, face, size)
        ascent, descent = drawing.getmetrics()
        left = at[0] - {"l": 0.0, "m": long / 2, "r": long}[anchor[0]]
        baseline = at[1] + {"a": ascent, "m": (ascent - descent) / 2, "s": 0}[anchor[1]]
        self._stamp(shown, face, size, (left, baseline), colour)
        mark = Words(at=(left, baseline), text=shown, size=size, face=face, colour=colour, width=long)
        self.marks.append(mark)
        return long

    def paragraph(
        self,
        at: Point,
        text: str,
        size: int,
        *,
        width: float,
        lines: int,
        weight: int = REGULAR,
        colour: Colour = INK,
    ) -> float:
        """Write text over at most `lines` lines of `width` pixels; returns the y below the last one."""
        x, y = at
        for row in wrapped(text, size, weight, width=width, lines=lines):
            self.text((x, y), row, size, weight=weight, colour=colour, width=width)
            y += round(size * 1.32)
        return y

    def box(self, frame: Frame, *, fill: Colour | None = None, outline: Colour | None = None, width: int = 1) -> None:
        """A rectangle."""
        self._draw.rectangle(frame, fill=fill, outline=outline, width=width)
        self.marks.append(Box(frame=frame, fill=fill, outline=outline, width=width))

    def line(self, start: Point, end: Point, colour: Colour, *, width: int = 2) -> None:
        """A straight line."""
        self._draw.line([start, end], fill=colour, width=width)
        self.marks.append(Line(start=start, end=end, colour=colour, width=width))

    def dashed(self, start: Point, end: Point, colour: Colour, *, width: int = 2) -> None:
        """A horizontal or vertical dashed line, dashes of 10 px."""
        (x0, y0), (x1, y1) = start, end
        length = round(max(abs(x1 - x0), abs(y1 - y0)))
        for done in range(0, length, 16):
            a, b = done / length, min(done + 10, length) / length
            first, last = (x0 + (x1 - x0) * a, y0 + (y1 - y0) * a), (x0 + (x1 - x0) * b, y0 + (y1 - y0) * b)
            self.line(first, last, colour, width=width)

    def dashed_box(self, frame: Frame, colour: Colour, *, width: int = 2) -> None:
        """A rectangle of dashes."""
        left, top, right, bottom = frame
        for y in (top, bottom):
            self.dashed((left, y), (right, y), colour, width=width)
        for x in (left, right):
            self.dashed((x, top), (x, bottom), colour, width=width)

    def hatched(self, frame: Frame, colour: Colour, *, step: int = 9) -> None:
        """Fill the frame with diagonal lines: a shade that survives a black-and-white print."""
        left, top, right, bottom = frame
        width, height = right - left, bottom - top
        if width < 1 or height < 1:
            return
        for offset in range(-round(height), round(width), step):
            # y falls from the bottom as x grows; both ends are clipped to the frame.
            x0, x1 = max(0, offset), min(width, offset + height)
            if x1 > x0:
                start, end = (left + x0, bottom - (x0 - offset)), (left + x1, bottom - (x1 - offset))
                self.line(start, end, colour, width=1)

    def ellipse(self, centre: Point, radius: float, *, fill: Colour | None = None, outline: Colour | None = None,
                width: int = 1) -> None:  # fmt: skip
        """A circle."""
        x, y = centre
        points = ((x - radius, y - radius), (x + radius, y + radius))
        self._shape(Shape(points=points, fill=fill, outline=outline, width=width))

    def polygon(self, points: Sequence[Point], *, fill: Colour | None = None, outline: Colour | None = None,
                width: int = 1) -> None:  # fmt: skip
        """A closed polygon."""
        self._shape(Shape(points=tuple(points), fill=fill, outline=outline, width=width))

    def picture(self, at: tuple[int, int], image: Image.Image) -> None:
        """Paste an image."""
        self.image.paste(image, at)
        self.marks.append(Picture(at=at, image=image))

    def _stamp(self, text: str, face: Face, size: int, at: Point, colour: Colour) -> None:
        """Ink one line. Most lines of a page stand on the page before, and setting them is what takes long."""
        (x, left), (y, top) = math.modf(at[0]), math.modf(at[1])
        drawn = stamp(text, face, size, (x, y))
        if drawn is not None:
            self.image.paste(colour, (int(left) + drawn.left, int(top) + drawn.top), drawn.mask)

    def _shape(self, shape: Shape) -> None:
        xs, ys = [p[0] for p in shape.points], [p[1] for p in shape.points]
        edge = shape.width
        left, top = int(min(xs)) - edge, int(min(ys)) - edge
        size = (int(max(xs)) + edge + 2 - left, int(max(ys)) + edge + 2 - top)
        scaled = [((x - left) * _SMOOTH, (y - top) * _SMOOTH) for x, y in shape.points]
        for colour, solid in ((shape.fill, True), (shape.outline, False)):
            if colour is not None:
                mask = _mask(size, scaled, solid=solid, width=edge * _SMOOTH)
                self.image.paste(colour, (left, top), mask)
        self.marks.append(shape)


def wrapped(text: str, size: int, weight: int, *, width: float, lines: int) -> list[str]:
    """`text` in at most `lines` lines; what does not fit stands in the last one, for `Canvas.text` to shrink."""
    shown = drawable(text)
    face = face_of(shown, weight)
    rows: list[str] = []
    for piece in _UNBROKEN.findall(" ".join(shown.split())):
        if rows and length(rows[-1] + piece.rstrip(), face, size) <= width:
            rows[-1] += piece
        else:
            rows.append(piece)
    kept = rows if len(rows) <= lines else [*rows[: lines - 1], "".join(rows[lines - 1 :])]
    return [row.rstrip() for row in kept]


def _fit(text: str, face: Face, size: int, width: float | None) -> tuple[int, str]:
    if width is None:
        return size, text
    if (long := length(text, face, size)) > width:
        size = max(SMALLEST, min(size - 1, int(size * width / long) + 1))
    while size > SMALLEST and length(text, face, size) > width:
        size -= 1
    if length(text, face, size) <= width:
        return size, text
    while text and length(text + "…", face, size) > width:
        text = text[:-1]
    return size, text + "…"


def _mask(size: tuple[int, int], points: list[Point], *, solid: bool, width: int) -> Image.Image:
    large = Image.new("L", (size[0] * _SMOOTH, size[1] * _SMOOTH), 0)
    pen = ImageDraw.Draw(large)
    if len(points) == 2:  # noqa: PLR2004 - the corners of an ellipse
        frame = (*points[0], *points[1])
        pen.ellipse(frame, fill=255 if solid else None, outline=None if solid else 255, width=width)
    elif solid:
        pen.polygon(points, fill=255)
    else:
        pen.line([*points, points[0], points[1]], fill=255, width=width, joint="curve")
    return large.resize(size, Image.Resampling.BOX)
