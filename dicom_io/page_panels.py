"""The panels of the report page, each drawn from the y it is given; it returns the y below itself.

Black, white, shape and hatching carry the message; red is kept for the simulated-training banner alone. No text is
smaller than 18 px unless it has to shrink: on a screen of 1280 x 1024 the page is shown at three quarters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dicom_io import page_words as words
from dicom_io import wording
from dicom_io.canvas import GREY, INK, RED, SHADE, SLATE, SMALLEST, WHITE, Canvas, Point, wrapped
from dicom_io.outcomes import Statement, Withdrawn
from dicom_io.typeface import BOLD, REGULAR, can_draw
from dicom_io.words import FEMALE, MALE, Language
from model.domain import Category, Mode, ModelFacts, Quality, Scored

WIDTH: Final = 1000
HEIGHT: Final = 1300
LEFT: Final = 40
RIGHT: Final = WIDTH - LEFT
INNER: Final = RIGHT - LEFT
STRIP: Final = 44
"""Height of the strips at top and bottom that say what the page is not."""
FOOTER: Final = 166
"""Height of disclaimer, model and origin together."""
_TITLE: Final = 46
_OUTCOME: Final = 182
_LINE: Final = 20
"""Size of ordinary text."""
_FINE: Final = 18
_REASON: Final = 24
_APART: Final = 10
"""Pixels between two reasons."""
_POINT: Final = 26
"""Pixels that the point before each takes."""
_SEXES: Final = {"F": FEMALE, "M": MALE, "O": words.SEX_OTHER}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """What the page prints of the header and the context, ready to draw; empty where the header is silent."""

    language: Language
    name_groups: tuple[str, ...]
    """Readable name by component group: alphabetic, ideographic, phonetic."""
    patient_id: str
    birth_date: str
    sex: str
    accession: str
    study: str
    image: str
    site: str
    made: str
    node: str
    serial: str
    replaces: str = ""
    """Set when an earlier result left the node."""


def strips(canvas: Canvas, model: ModelFacts, language: Language) -> None:
    """Top and bottom: that the training was simulated, or else that this is an aid and no diagnosis."""
    simulated = model.simulated_training
    text = wording.simulated_training(language) if simulated else words.STRIP.say(language)
    for top in (0, HEIGHT - STRIP):
        canvas.box((0, top, WIDTH, top + STRIP), fill=RED if simulated else SLATE)
        middle = (WIDTH / 2, top + STRIP / 2)
        canvas.text(middle, text, 28 if simulated else 22, weight=BOLD, colour=WHITE, width=INNER, anchor="mm")


def title(canvas: Canvas, facts: PageFacts, y: float) -> float:
    """What this page is, and of which site."""
    middle = y + _TITLE / 2
    room = 300.0
    used = canvas.text((RIGHT, middle), facts.site, _LINE, colour=GREY, width=room, anchor="rm")
    text = words.TITLE.say(facts.language)
    canvas.text((LEFT, middle), text, 22, weight=600, width=INNER - used - 24, anchor="lm")
    canvas.line((LEFT, y + _TITLE), (RIGHT, y + _TITLE), SHADE)
    return y + _TITLE + 4


def patient(canvas: Canvas, facts: PageFacts, y: float) -> float:
    """Who and which study; a name no typeface can draw is replaced by the ID and a note, never by boxes."""
    say = facts.language
    identity = words.ID.say(say, value=facts.patient_id) if facts.patient_id else words.ID_NOT_STATED.say(say)
    names = [group for group in facts.name_groups[:2] if can_draw(group)]
    second = [identity]
    if names:
        _names(canvas, names, facts, y)
    else:
        canvas.text((LEFT, y), identity, 36, weight=BOLD, width=INNER)
        second = [(words.NAME_NOT_DRAWN if facts.name_groups else words.NAME_NOT_STATED).say(say)]
    born = words.BORN.say(say, value=facts.birth_date) if facts.birth_date else words.BIRTH_NOT_STATED.say(say)
    sex = _SEXES.get(facts.sex, words.SEX_NOT_STATED).say(say)
    _facts_line(canvas, (LEFT, y + 50), [*second, born, sex], weight=600)
    study = words.STUDY.say(say, value=facts.study) if facts.study else words.STUDY_NOT_STATED.say(say)
    number = words.ACCESSION.say(say, value=facts.accession) if facts.accession else words.NO_ACCESSION.say(say)
    _facts_line(canvas, (LEFT, y + 82), [study, number, facts.image])
    if not facts.replaces:
        return y + 122
    canvas.box((LEFT, y + 120, RIGHT, y + 156), fill=SLATE)
    canvas.text((LEFT + 16, y + 138), facts.replaces, _LINE, weight=BOLD, colour=WHITE, width=INNER - 32, anchor="lm")
    return y + 166


def outcome(canvas: Canvas, result: Scored, y: float, language: Language) -> float:
    """The category in the largest words of the page, with its shape and the decisive probability."""
    flagged = result.category is Category.ABOVE
    ground, ink = (INK, WHITE) if flagged else (WHITE, INK)
    canvas.box((LEFT, y, RIGHT, y + _OUTCOME), fill=ground, outline=INK, width=5)
    _symbol(canvas, (100, y + 62), 32, result.category, ink)
    headline = wording.headline(result, language=language)
    canvas.text((150, y + 58), headline, 68, weight=BOLD, colour=ink, width=515, anchor="lm")
    inputs = words.IMAGE_AND_CLINICAL if result.mode is Mode.IMAGE_AND_CLINICAL else words.IMAGE_ONLY
    canvas.text((154, y + 107), inputs.say(language), 22, colour=ink, width=400, anchor="lm")
    shown = wording.percentages(result)
    right = RIGHT - 24
    percent = f"{wording.figure(shown.decisive, language)} %"
    canvas.text((right, y + 44), percent, 58, weight=BOLD, colour=ink, width=250, anchor="rm")
    canvas.text((right, y + 84), words.PROBABILITY.say(language), _LINE, colour=ink, width=250, anchor="rm")
    against = words.AGAINST.say(language, high=wording.figure(shown.t_high, language))
    canvas.text((right, y + 109), against, _LINE, weight=BOLD, colour=ink, width=250, anchor="rm")
    _advice(canvas, wording.advice(result, language=language), y + 150, ink)
    return y + _OUTCOME


def statement(canvas: Canvas, said: Statement, y: float, language: Language) -> float:
    """No result: why stands in its place, framed by hatching, which no result has."""
    canvas.hatched((LEFT, y, RIGHT, y + _OUTCOME), SHADE)
    canvas.box((LEFT + 14, y + 14, RIGHT - 14, y + _OUTCOME - 14), fill=WHITE, outline=INK, width=4)
    canvas.box((LEFT, y, RIGHT, y + _OUTCOME), outline=INK, width=2)
    _mark(canvas, (104, y + 70), 26, crossed=isinstance(said, Withdrawn))
    headline = wording.headline(said, language=language)
    canvas.text((154, y + 70), headline, 60, weight=BOLD, width=RIGHT - 154 - 36, anchor="lm")
    _advice(canvas, wording.advice(said, language=language), y + 138, INK)
    return y + _OUTCOME


def reasons(canvas: Canvas, sentences: Sequence[str], span: tuple[float, float]) -> None:
    """Why there is no result, one point each, between two y: as large as lets all of it stand there."""
    y, bottom = span
    size = next((size for size in range(_REASON, SMALLEST, -1) if _tall(sentences, size) <= bottom - y), SMALLEST)
    for sentence in sentences:
        rows = max(1, int((bottom - y) // round(size * 1.32)))
        middle = y + size * 0.7
        canvas.box((LEFT + 2, middle - 4, LEFT + 10, middle + 4), fill=INK)
        y = canvas.paragraph((LEFT + _POINT, y), sentence, size, width=INNER - _POINT, lines=rows) + _APART


def quality(canvas: Canvas, result: Scored, bottom: float, language: Language) -> float:
    """Whether the input was fit for analysis, ending at `bottom`; returns its top. A limitation is hatched and bold."""
    limited = result.quality is Quality.LIMITED
    grade = (words.QUALITY_LIMITED if limited else words.QUALITY_PASS).say(language)
    reasons = [wording.reason(r, language=language) for r in result.reasons]
    text = " ".join([words.QUALITY.say(language, quality=grade), *reasons])
    weight = BOLD if limited else REGULAR
    left = LEFT + (40 if limited else 0)
    rows = min(3, len(wrapped(text, _LINE, weight, width=RIGHT - left, lines=99)))
    top = bottom - 14 - rows * round(_LINE * 1.32)
    canvas.line((LEFT, top), (RIGHT, top), SHADE)
    if limited:
        canvas.hatched((LEFT, top + 9, LEFT + 26, bottom - 5), INK)
    canvas.paragraph((left, top + 5), text, _LINE, width=RIGHT - left, lines=rows, weight=weight)
    return top


def footer(canvas: Canvas, model: ModelFacts, facts: PageFacts) -> None:
    """What the result is not, which model spoke, who made the page and when."""
    say, top = facts.language, HEIGHT - STRIP - FOOTER + 6
    canvas.box((LEFT, top, RIGHT, top + 82), outline=INK, width=3)
    text = wording.disclaimer(say)
    canvas.paragraph((LEFT + 16, top + 11), text, 22, width=INNER - 32, lines=2, weight=BOLD)
    line = words.MODEL.say(
        say, name=model.name, version=model.version, sha=model.image_sha256[:12], calibration=model.calibration_id
    )
    canvas.text((LEFT, top + 91), line, _FINE, colour=GREY, width=INNER)
    line = words.MADE.say(say, made=facts.made, node=facts.node, serial=facts.serial)
    canvas.text((LEFT, top + 116), line, _FINE, colour=GREY, width=INNER)


def _tall(sentences: Sequence[str], size: int) -> int:
    """Pixels that the points take, one below the other."""
    rows = (len(wrapped(one, size, REGULAR, width=INNER - _POINT, lines=99)) for one in sentences)
    return sum(_APART + round(size * 1.32) * count for count in rows)


def _names(canvas: Canvas, names: list[str], facts: PageFacts, y: float) -> None:
    """The alphabetic name, and beside it the one in the patient's own script."""
    among = "".join(facts.name_groups)
    room = INNER if len(names) == 1 else INNER * 0.62
    used = canvas.text((LEFT, y + 39), names[0], 36, weight=BOLD, width=room, anchor="ls", among=among)
    if len(names) > 1:
        at = (LEFT + used + 28, y + 39)
        canvas.text(at, names[1], 34, width=INNER - used - 28, anchor="ls", among=among)


def _facts_line(canvas: Canvas, at: Point, parts: list[str], *, weight: int = REGULAR) -> None:
    colour = INK if weight > REGULAR else GREY
    text = "   |   ".join(part for part in parts if part)
    canvas.text(at, text, 22, weight=weight, colour=colour, width=INNER)


def _advice(canvas: Canvas, text: str, y: float, ink: tuple[int, int, int]) -> None:
    canvas.text((66, y), text, 25, weight=600, colour=ink, width=RIGHT - 90, anchor="lm")


def _symbol(canvas: Canvas, centre: Point, r: float, category: Category, colour: tuple[int, int, int]) -> None:
    """Triangle, diamond or ring: the category's shape, readable without colour."""
    x, y = centre
    if category is Category.ABOVE:
        canvas.polygon([(x, y - r), (x + r, y + r - 6), (x - r, y + r - 6)], fill=colour)
    elif category is Category.BETWEEN:
        canvas.polygon([(x, y - r), (x + r, y), (x, y + r), (x - r, y)], outline=colour, width=7)
    else:
        canvas.ellipse(centre, r - 2, outline=colour, width=7)


def _mark(canvas: Canvas, centre: Point, r: float, *, crossed: bool) -> None:
    """A cross for what was taken back, a bar for what never was."""
    x, y = centre
    if crossed:
        for d in (-r, r):
            canvas.polygon(_bar((x - r, y - d), (x + r, y + d), 5), fill=INK)
    else:
        canvas.box((x - r, y - 6, x + r, y + 6), fill=INK)


def _bar(start: Point, end: Point, half: float) -> list[Point]:
    (x0, y0), (x1, y1) = start, end
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    dx, dy = (y1 - y0) / length * half, (x1 - x0) / length * half
    return [(x0 - dx, y0 + dy), (x1 - dx, y1 + dy), (x1 + dx, y1 - dy), (x0 + dx, y0 - dy)]
