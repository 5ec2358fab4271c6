"""The result's numbers on the report page: every probability against both thresholds on one scale; clinical inputs.

The scale is linear from 0 to 100 %; zones are told apart by ground and hatching and named above, so that a reader needs
no legend and no colour.
"""

from __future__ import annotations

from typing import Final

from dicom_io import page_words as words
from dicom_io import wording
from dicom_io.canvas import GREY, INK, PALE, SHADE, WHITE, Canvas, Point, wrapped
from dicom_io.page_panels import LEFT, RIGHT
from dicom_io.typeface import BOLD, REGULAR, face_of, length
from dicom_io.words import NOT_USED, Language
from model.domain import ClinicalInput, Mode, Scored

_AXIS: Final = (296, 844)
"""x of 0 % and 100 %."""
_NAMES: Final = 26
_FIGURES: Final = 34
_ROW: Final = 44
_FINE: Final = 18
_INPUT: Final = 53
_COMPACT: Final = 28


def scale(canvas: Canvas, result: Scored, y: float, language: Language) -> float:
    """Each probability with the thresholds and the indeterminate zone."""
    shown = wording.percentages(result)
    decisive = words.DECISIVE.say(
        language, row=(words.ROW_IMAGE if result.p_fused is None else words.ROW_FUSED).say(language)
    )
    rows = [(decisive, result.p_image, shown.image, True)]
    if result.p_clinical is not None and result.p_fused is not None:
        rows = [
            (words.ROW_IMAGE.say(language), result.p_image, shown.image, False),
            (words.ROW_CLINICAL.say(language), result.p_clinical, shown.clinical or "", False),
            (decisive, result.p_fused, shown.fused or "", True),
        ]
    top = y + _NAMES + _FIGURES
    bottom = top + _ROW * max(2, len(rows))
    _zones(canvas, result, (top, bottom), language)
    first = top + _ROW / 2 + (_ROW / 2 if len(rows) == 1 else 0)
    for number, (name, probability, text, decides) in enumerate(rows):
        row = name, f"{wording.figure(text, language)} %"
        _reading(canvas, first + _ROW * number, row, probability, decides=decides)
    _axis(canvas, bottom)
    if result.prevalence is not None:
        text = wording.at_prevalence(result.prevalence, language=language)
        canvas.paragraph((LEFT, bottom + 6), text, 16, width=_AXIS[0] - LEFT - 40, lines=2, colour=GREY)
    return bottom + 36


def clinical(canvas: Canvas, result: Scored, at: Point, bottom: float, language: Language) -> None:
    """Clinical inputs with age and source; what is missing, and why. Nothing is drawn below `bottom`."""
    left, y = at
    width = RIGHT - left
    canvas.text((left, y), words.CLINICAL_INPUTS.say(language), 24, weight=BOLD)
    found = _sentence(wording.match(result.match, language=language))
    weight = REGULAR if result.match.joins else BOLD
    y = canvas.paragraph((left, y + 35), found, 19, width=width, lines=2, weight=weight) + 8
    if result.mode is Mode.IMAGE_ONLY and any(item.value is not None for item in result.inputs):
        unused = _sentence(NOT_USED.say(language))
        y = canvas.paragraph((left, y - 4), unused, 19, width=width, lines=2, weight=BOLD) + 8
    tools = wording.comparison(result.comparators, language=language)
    tools = words.TOOLS.say(language, tools=tools) if tools else ""
    rows = min(3, len(wrapped(tools, _FINE, REGULAR, width=width, lines=99)))
    y = _inputs(canvas, result, (left, y), bottom - rows * 24 - 4, language)
    canvas.paragraph((left, y + 4), tools, _FINE, width=width, lines=3, colour=GREY)


def _inputs(canvas: Canvas, result: Scored, at: Point, bottom: float, language: Language) -> float:
    """Two lines for each input, or one where they are many; at last the rest is counted. Returns the y below."""
    x, y = at
    ordered = sorted(result.inputs, key=lambda item: item.value is None)
    if len(ordered) * _INPUT <= bottom - y:
        for item in ordered:
            y = _input(canvas, (x, y), item, result, language)
        return y
    fitting = int((bottom - y) // _COMPACT)
    shown = ordered if len(ordered) <= fitting else ordered[: fitting - 1]
    for item in shown:
        y = _compact(canvas, (x, y), item, language)
    if len(shown) < len(ordered):
        more = words.MORE_INPUTS.say(language, count=len(ordered) - len(shown))
        canvas.text((x, y), more, _FINE, colour=GREY, width=RIGHT - x)
        y += _COMPACT
    return y


def _compact(canvas: Canvas, at: Point, item: ClinicalInput, language: Language) -> float:
    """One input in one line: name, how old, value; its source stands in the structured report."""
    x, y = at
    missing = item.value is None
    weight, colour = (REGULAR, GREY) if missing else (BOLD, INK)
    name = wording.variable(item.variable, language=language)
    canvas.text((x, y), name, _FINE, weight=weight, colour=colour, width=200)
    if item.age_days is not None and not missing:
        age = wording.value_age(item.age_days, language=language)
        canvas.text((x + 208, y), age, _FINE, colour=GREY, width=140)
    value = wording.value(item, language=language)
    canvas.text((RIGHT, y), value, _FINE, weight=weight, colour=colour, width=RIGHT - x - 352, anchor="ra")
    return y + _COMPACT


def _input(canvas: Canvas, at: Point, item: ClinicalInput, result: Scored, language: Language) -> float:
    """One input; returns the y below it. That none was used, or no record found, stands above all of them."""
    x, y = at
    missing = item.value is None
    weight, colour = (REGULAR, GREY) if missing else (BOLD, INK)
    name = wording.variable(item.variable, language=language)
    canvas.text((x, y), name, 20, weight=weight, colour=colour, width=RIGHT - x - 190)
    canvas.text((RIGHT, y), wording.value(item, language=language), 20, weight=weight, colour=colour, width=180,
                anchor="ra")  # fmt: skip
    if missing:
        line = wording.missing_because(item, result.match, language=language)
    else:
        age = [] if item.age_days is None else [wording.value_age(item.age_days, language=language)]
        line = ", ".join([*age, wording.source_of(item, used=True, language=language)])
    if not line:
        return y + 34
    canvas.text((x, y + 25), line, _FINE, colour=GREY, width=RIGHT - x)
    return y + _INPUT


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _zones(canvas: Canvas, result: Scored, span: tuple[float, float], language: Language) -> None:
    """Ground of the zones, their names, and the thresholds with their figures."""
    top, bottom = span
    shown = wording.percentages(result)
    low, high = _x(result.t_low if shown.t_low is not None else result.t_high), _x(result.t_high)
    canvas.box((_AXIS[0], top, _AXIS[1], bottom), fill=WHITE, outline=SHADE)
    canvas.box((high, top, _AXIS[1], bottom), fill=PALE)
    canvas.hatched((low, top + 1, high, bottom), SHADE)
    limits = ((_AXIS[0], low), (low, high), (high, _AXIS[1]))
    for phrase, (start, end) in zip(words.ZONES, limits, strict=True):
        _zone_name(canvas, phrase.say(language), (start, end), top - _FIGURES - 10)
    figures = top - 14
    canvas.line((high, figures + 2), (high, bottom), INK, width=4)
    text = words.AGAINST.say(language, high=wording.figure(shown.t_high, language))
    label = min(high - 2, RIGHT - length(text, face_of(text, BOLD), 19))
    canvas.text((label, figures - 2), text, 19, weight=BOLD, anchor="ls")
    if shown.t_low is not None:
        canvas.dashed((low, figures + 2), (low, bottom), INK)
        text = words.ZONE_FROM.say(language, low=wording.figure(shown.t_low, language))
        canvas.text((min(low + 2, label - 16), figures - 2), text, 19, anchor="rs")


def _zone_name(canvas: Canvas, text: str, span: tuple[float, float], y: float) -> None:
    """Centred over its zone; a zone too narrow for its name is named by its threshold's figure alone."""
    start, end = span
    if length(text, face_of(text, REGULAR), _FINE) <= end - start - 8:
        canvas.text(((start + end) / 2, y), text, _FINE, colour=GREY, anchor="ms")


def _reading(canvas: Canvas, y: float, row: tuple[str, str], probability: float, *, decides: bool) -> None:
    name, text = row
    weight, x = BOLD if decides else REGULAR, _x(probability)
    canvas.text((LEFT, y), name, 22, weight=weight, anchor="lm", width=_AXIS[0] - LEFT - 22)
    canvas.line((_AXIS[0], y), (x, y), INK if decides else GREY, width=6 if decides else 2)
    canvas.ellipse((x, y), 16, fill=WHITE)
    canvas.ellipse((x, y), 13 if decides else 9, fill=INK if decides else WHITE, outline=INK, width=3)
    canvas.text((RIGHT, y), text, 22, weight=weight, anchor="rm", width=86)


def _axis(canvas: Canvas, y: float) -> None:
    canvas.line((_AXIS[0], y), (_AXIS[1], y), INK)
    for tick in range(0, 101, 20):
        x = _x(tick / 100)
        canvas.line((x, y), (x, y + 7), INK)
        canvas.text((x, y + 9), f"{tick} %", 17, colour=GREY, anchor="ma")


def _x(probability: float) -> float:
    return round(_AXIS[0] + (_AXIS[1] - _AXIS[0]) * probability)
