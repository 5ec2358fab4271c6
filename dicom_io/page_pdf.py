"""The report page as vectors: the marks of a `Canvas` set again as PDF, with real text that can be searched and copied.

One list of marks, two readings: what the PDF says is what the page says. fpdf2 writes the file and embeds what is used
of the fonts. It sets Noto Sans' weights by instancing the whole variable font (15 s), so a subset is instanced here
first: Latin once for each process and weight (about 2 s), and again for a name in another script.
"""

from __future__ import annotations

import datetime as dt
import functools
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Final

from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer
from fpdf import FPDF
from fpdf.enums import RenderStyle

from dicom_io.canvas import Box, Canvas, Colour, Line, Picture, Shape, Words
from dicom_io.typeface import BOLD, Face

_LATIN: Final = frozenset(map(chr, (*range(0x20, 0x180), *range(0x2010, 0x2040), 0x20AC)))
_BOLD_FROM: Final = 600
"""Semi-bold is set bold: one instance less."""
_POINTS: Final = 0.5
"""Points a pixel: the page of 1000 x 1300 then fits A4."""


def page_pdf(canvas: Canvas, *, title: str, language: str, at: dt.datetime) -> bytes:
    """Set the page; `at` (aware) is the file's creation time, so that equal pages give equal bytes."""
    pdf = FPDF(unit="pt", format=(canvas.image.width * _POINTS, canvas.image.height * _POINTS))
    pdf.set_auto_page_break(auto=False)
    pdf.set_margin(0)
    pdf.set_title(title)
    pdf.set_lang(language)
    pdf.set_creation_date(at)
    pdf.set_producer("Osteon")
    pdf.add_page()
    latin = (mark.text for mark in canvas.marks if isinstance(mark, Words) and _is_variable(mark.face))
    beyond = frozenset("".join(latin)) - _LATIN
    for mark in canvas.marks:
        if isinstance(mark, Words):
            _words(pdf, mark, beyond)
        else:
            _set(pdf, mark)
    return bytes(pdf.output())


def _set(pdf: FPDF, mark: Box | Line | Shape | Picture) -> None:
    match mark:
        case Box(frame=(left, top, right, bottom)):
            inset = mark.width / 2 if mark.outline else 0.0  # Pillow draws the outline inside the frame
            corners = ((left + inset, top + inset), (right - inset, bottom - inset))
            _shape(pdf, Shape(points=corners, fill=mark.fill, outline=mark.outline, width=mark.width), box=True)
        case Line():
            pdf.set_draw_color(*mark.colour)
            pdf.set_line_width(mark.width * _POINTS)
            pdf.line(*_scaled(mark.start), *_scaled(mark.end))
        case Shape():
            _shape(pdf, mark, box=False)
        case Picture():
            x, y = _scaled(mark.at)
            pdf.image(mark.image, x=x, y=y, w=mark.image.width * _POINTS, h=mark.image.height * _POINTS)


def _words(pdf: FPDF, mark: Words, beyond: frozenset[str]) -> None:
    """One line, stretched to the width it has on the page: the PDF sets no kerning."""
    family = _family(pdf, mark.face, beyond)
    pdf.set_font(family, size=mark.size * _POINTS)
    pdf.set_text_color(*mark.colour)
    pdf.set_stretching(100.0)
    own = pdf.get_string_width(mark.text)
    if own > 0:
        pdf.set_stretching(100.0 * mark.width * _POINTS / own)
    pdf.text(*_scaled(mark.at), mark.text)


def _shape(pdf: FPDF, mark: Shape, *, box: bool) -> None:
    for colour, style in ((mark.fill, RenderStyle.F), (mark.outline, RenderStyle.D)):
        if colour is None:
            continue
        _colour(pdf, colour, style)
        pdf.set_line_width(mark.width * _POINTS)
        if len(mark.points) > 2:  # noqa: PLR2004 - two points are the corners of a box or an ellipse
            pdf.polygon([_scaled(p) for p in mark.points], style=style)
            continue
        (left, top), (right, bottom) = (_scaled(p) for p in mark.points)
        draw = pdf.rect if box else pdf.ellipse
        draw(left, top, right - left, bottom - top, style=style)


def _colour(pdf: FPDF, colour: Colour, style: RenderStyle) -> None:
    if style is RenderStyle.F:
        pdf.set_fill_color(*colour)
    else:
        pdf.set_draw_color(*colour)


def _scaled(point: tuple[float, float]) -> tuple[float, float]:
    return point[0] * _POINTS, point[1] * _POINTS


def _family(pdf: FPDF, face: Face, beyond: frozenset[str]) -> str:
    """The document's name of a typeface, embedded at its first use."""
    variable = _is_variable(face)
    weight = face.weight if face.weight < _BOLD_FROM else BOLD
    name = f"{'latin' if variable else 'cjk'}{face.number}-{weight}"
    if name not in pdf.fonts:
        if variable:
            with tempfile.NamedTemporaryFile(suffix=".ttf") as file:
                file.write(_instance(face.path, weight, beyond))
                file.flush()
                pdf.add_font(name, fname=file.name)
        else:
            pdf.add_font(name, fname=str(face.path), collection_font_number=face.number)
    return name


def _is_variable(face: Face) -> bool:
    return face.path.suffix == ".ttf"


@functools.lru_cache(maxsize=8)
def _instance(path: Path, weight: int, beyond: frozenset[str]) -> bytes:
    """The variable font at one weight, reduced to Latin and to what else the page is written in."""
    options = subset.Options(layout_features=["ccmp", "mark", "mkmk"], notdef_outline=True)
    cutter = subset.Subsetter(options)
    cutter.populate(text="".join(_LATIN | beyond))
    with TTFont(path, lazy=True, recalcTimestamp=False) as made, BytesIO() as buffer:
        cutter.subset(made)
        instancer.instantiateVariableFont(made, {"wght": weight, "wdth": 100}, inplace=True)
        made.save(buffer)
        return buffer.getvalue()
