"""Which typeface draws a text, and honesty about characters none of them has.

Two packaged fonts, both OFL-1.1, nothing fetched at run time: Noto Sans (`fontpkg-noto-sans`: Latin, Cyrillic, Greek in
two weights) and Noto Sans CJK (`noto-cjk-sans-otc`: Chinese, Japanese, Korean, one weight). Han characters look
different by country, so kana choose the Japanese and Hangul the Korean face of the collection; Chinese otherwise.
"""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image, ImageDraw, ImageFont

REGULAR: Final = 400
BOLD: Final = 700
_UNASSIGNED: Final = "\U0010fffe"
_MARGIN: Final = 2
"""Pixels around a line: what a fraction of a pixel, and smoothing, add to its box."""
_JAPANESE, _KOREAN, _CHINESE = 0, 1, 2
"""Faces of the collection."""


class Face(NamedTuple):
    """One typeface in one weight."""

    path: Path
    number: int
    """Inside a collection."""
    weight: int


class Stamp(NamedTuple):
    """A line of text that was drawn once, to be inked in any colour."""

    mask: Image.Image
    """Grey, 255 where all of a pixel is ink."""
    left: int
    """From the begin of the line on its baseline to the mask's corner, in pixels; the next is downwards."""
    top: int


def can_draw(text: str) -> bool:
    """Whether one typeface has every character of `text`."""
    return any(_has_all(path, text) for path in _paths())


def drawable(text: str) -> str:
    """`text` with plain spaces, and `?` for what cannot be drawn.

    For texts whose loss is harmless; a name asks `can_draw` first.
    """
    spaced = "".join(" " if c.isspace() else c for c in text)  # a tab has no glyph: it would be drawn as a box
    if can_draw(spaced):
        return spaced
    return "".join(c if c == " " or _has(_paths()[0], c) else "?" for c in spaced)


def face_of(text: str, weight: int, *, among: str = "") -> Face:
    """The typeface for `text`; `among` is what stands with it and may tell Japanese or Korean from Chinese."""
    latin, cjk = _paths()
    if _has_all(latin, text) or not _has_all(cjk, text):
        return Face(latin, 0, weight)
    return Face(cjk, _country(text + among), REGULAR)


@functools.lru_cache(maxsize=256)
def font(face: Face, size: int) -> ImageFont.FreeTypeFont:
    """`face` at `size` pixels."""
    made = ImageFont.truetype(str(face.path), size, index=face.number)
    if face.path == _paths()[0]:
        made.set_variation_by_axes([face.weight, 100])
    return made


@functools.lru_cache(maxsize=4096)
def length(text: str, face: Face, size: int) -> float:
    """Width of a line in pixels."""
    return float(font(face, size).getlength(text))


@functools.lru_cache(maxsize=256)
def stamp(text: str, face: Face, size: int, fraction: tuple[float, float]) -> Stamp | None:
    """One line that begins at `fraction` of a pixel; None where there is nothing to see. Kept: some 4 MB."""
    drawing = font(face, size)
    left, top, right, bottom = (round(edge) for edge in drawing.getbbox(text, anchor="ls"))
    if right <= left or bottom <= top:
        return None
    mask = Image.new("L", (right - left + 2 * _MARGIN, bottom - top + 2 * _MARGIN))
    place = (_MARGIN - left + fraction[0], _MARGIN - top + fraction[1])
    ImageDraw.Draw(mask).text(place, text, font=drawing, fill=255, anchor="ls")
    return Stamp(mask, left - _MARGIN, top - _MARGIN)


def _country(text: str) -> int:
    if any("\u3040" <= c <= "\u30ff" for c in text):
        return _JAPANESE
    return _KOREAN if any("\uac00" <= c <= "\ud7a3" or "\u1100" <= c <= "\u11ff" for c in text) else _CHINESE


@functools.cache
def _paths() -> tuple[Path, Path]:
    latin = resources.files("fontpkg_noto_sans") / "files" / "NotoSans[wdth,wght].ttf"
    cjk = resources.files("noto_cjk_sans_otc") / "NotoSansCJK-Regular.ttc"
    return Path(str(latin)), Path(str(cjk))


def _has_all(path: Path, text: str) -> bool:
    return all(_has(path, c) for c in set(text) if not c.isspace())


@functools.lru_cache(maxsize=4096)
def _has(path: Path, character: str) -> bool:
    """Pillow shows no coverage table: a character without glyph is drawn as that of an unassigned code point."""
    drawing = font(Face(path, 0, REGULAR), 32)
    drawn, absent = drawing.getmask(character), drawing.getmask(_UNASSIGNED)
    return drawn.size != absent.size or bytes(drawn) != bytes(absent)
