"""Drawing with one bundled typeface: text that fits, and honesty about characters the typeface cannot draw.

Noto Sans (package `fontpkg-noto-sans`, OFL-1.1) covers Latin, Cyrillic and Greek. Where the system has Noto Sans CJK,
ideographic text is drawn with it. What neither can draw is never drawn as boxes: the caller is told. No layout here.
"""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

INK: Final = (20, 24, 30)
GREY: Final = (90, 96, 106)
PALE: Final = (226, 229, 233)
WHITE: Final = (255, 255, 255)
RED: Final = (190, 18, 32)
REGULAR: Final = 400
BOLD: Final = 700
Colour = tuple[int, int, int]
_SMALLEST: Final = 14
_UNASSIGNED: Final = "\U0010fffe"
_CJK: Final = (
    Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"),
    Path("/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc"),
    Path("/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc"),
    Path("/usr/share/fonts/google-noto-sans-cjk-fonts/NotoSansCJK-Regular.ttc"),
)


class Canvas:
    """An RGB page of `width` x `height` pixels, white at first. Positions are (x, y) from the top left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), WHITE)
        self.draw = ImageDraw.Draw(self.image)
        self.written: list[str] = []
        """Every line as it stands on the page, in order: what the page says to whoever checks it without eyes."""

    def text(
        self,
        at: tuple[float, float],
        text: str,
        size: int,
        *,
        weight: int = REGULAR,
        colour: Colour = INK,
        width: float | None = None,
        anchor: str = "la",
    ) -> float:
        """Write one line, shrunk and at last shortened to `width` pixels; returns the width used."""
        shown = drawable(text)
        font = _face(shown, size, weight)
        while width is not None and size > _SMALLEST and font.getlength(shown) > width:
            size -= 1
            font = _face(shown, size, weight)
        if width is not None and font.getlength(shown) > width:
            while shown and font.getlength(shown + "…") > width:
                shown = shown[:-1]
            shown += "…"
        self.draw.text(at, shown, font=font, fill=colour, anchor=anchor)
        self.written.append(shown)
        return font.getlength(shown)

    def paragraph(
        self,
        at: tuple[float, float],
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
        rows = _wrap(drawable(text), _face(text, size, weight), width)
        if len(rows) > lines:
            rows = [*rows[: lines - 1], " ".join(rows[lines - 1 :])]
        for row in rows:
            self.text((x, y), row, size, weight=weight, colour=colour, width=width)
            y += size * 1.32
        return y

    def dashed(self, start: tuple[int, int], end: tuple[int, int], colour: Colour, *, width: int = 2) -> None:
        """A horizontal or vertical dashed line, dashes of 10 px."""
        (x0, y0), (x1, y1) = start, end
        length = max(abs(x1 - x0), abs(y1 - y0))
        for done in range(0, length, 16):
            a, b = done / length, min(done + 10, length) / length
            self.draw.line(
                [(x0 + (x1 - x0) * a, y0 + (y1 - y0) * a), (x0 + (x1 - x0) * b, y0 + (y1 - y0) * b)],
                fill=colour,
                width=width,
            )

    def hatched(self, box: tuple[int, int, int, int], colour: Colour) -> None:
        """Fill (left, top, right, bottom) with diagonal lines: a shade that survives a black-and-white print."""
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        if width < 1 or height < 1:
            return
        tile = Image.new("RGB", (width, height), WHITE)
        pen = ImageDraw.Draw(tile)
        for offset in range(-height, width, 9):
            pen.line([(offset, height), (offset + height, 0)], fill=colour, width=2)
        self.image.paste(tile, (left, top))


def can_draw(text: str) -> bool:
    """Whether one available typeface has every character of `text`."""
    return any(all(_has(path, c) for c in set(text) if not c.isspace()) for path in _paths())


def drawable(text: str) -> str:
    """`text`, with `?` for what cannot be drawn. For texts whose loss is harmless; a name asks `can_draw` first."""
    if can_draw(text):
        return text
    return "".join(c if c.isspace() or _has(_paths()[0], c) else "?" for c in text)


def _face(text: str, size: int, weight: int) -> ImageFont.FreeTypeFont:
    path = next((p for p in _paths() if all(_has(p, c) for c in set(text) if not c.isspace())), _paths()[0])
    return _font(path, size, weight)


@functools.lru_cache(maxsize=128)
def _font(path: Path, size: int, weight: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.truetype(str(path), size)
    if path not in _CJK:
        font.set_variation_by_axes([weight, 100])
    return font


@functools.cache
def _paths() -> tuple[Path, ...]:
    folder = resources.files("fontpkg_noto_sans") / "files"
    return (Path(str(folder / "NotoSans[wdth,wght].ttf")), *[path for path in _CJK if path.is_file()][:1])


@functools.lru_cache(maxsize=4096)
def _has(path: Path, character: str) -> bool:
    """Pillow shows no coverage table: a character without glyph is drawn as that of an unassigned code point."""
    font = _font(path, 32, REGULAR)
    drawn, absent = font.getmask(character), font.getmask(_UNASSIGNED)
    return drawn.size != absent.size or bytes(drawn) != bytes(absent)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    rows: list[str] = []
    for word in text.split():
        if rows and font.getlength(f"{rows[-1]} {word}") <= width:
            rows[-1] += f" {word}"
        else:
            rows.append(word)
    return rows
