"""The panels of the report page, each drawn at its fixed place.

Black, white, shape and hatching carry the message; red is kept for the simulated-training banner alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dicom_io import wording
from dicom_io.canvas import BOLD, GREY, INK, PALE, REGULAR, WHITE, Canvas, can_draw
from model.domain import Category, ClinicalInput, Mode, Quality, Scored

WIDTH: Final = 1000
HEIGHT: Final = 1300
BANNER: Final = 46
_LEFT: Final = 40
_RIGHT: Final = WIDTH - 40
_AXIS: Final = (270, 870)
"""x of 0 % and 100 %."""
_ROWS_TOP: Final = 470
_ROW: Final = 44
_SLATE: Final = (44, 52, 64)
_SHADE: Final = (150, 156, 165)
_MAX_INPUTS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """What the page prints of the header and the context, ready to draw; empty where the header is silent."""

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
    replaces: str = ""
    """Set when an earlier result left the node."""


def title(canvas: Canvas, facts: PageFacts) -> None:
    """What this page is, and whose."""
    canvas.draw.rectangle((0, BANNER, WIDTH, BANNER + 42), fill=_SLATE)
    middle = BANNER + 21
    size = 17 if facts.replaces else 22
    lines = [line for line in ("Osteoporosis screening of a chest radiograph by AI", facts.replaces) if line]
    for number, line in enumerate(lines):
        y = middle + (number - (len(lines) - 1) / 2) * 19
        canvas.text((_LEFT, y), line, size, weight=BOLD, colour=WHITE, width=580, anchor="lm")
    canvas.text((_RIGHT, middle), facts.site, 20, colour=WHITE, width=300, anchor="rm")


def patient(canvas: Canvas, facts: PageFacts) -> None:
    """Who and which study; a name the typeface cannot draw is replaced by the ID and a note, never by boxes."""
    name = next((group for group in facts.name_groups if can_draw(group)), None)
    identity = f"ID {facts.patient_id or 'not stated'}"
    if name is not None:
        canvas.text((_LEFT, 100), name, 36, weight=BOLD, width=_RIGHT - _LEFT)
        second = identity
    else:
        canvas.text((_LEFT, 100), identity, 36, weight=BOLD, width=_RIGHT - _LEFT)
        second = "name cannot be drawn here, see viewer" if facts.name_groups else "name not stated"
    sex = {"F": "female", "M": "male"}.get(facts.sex, "")
    parts = [second, f"born {facts.birth_date}" if facts.birth_date else "birth date not stated", sex]
    canvas.text((_LEFT, 150), "   |   ".join(p for p in parts if p), 23, width=_RIGHT - _LEFT)
    parts = [
        f"Study {facts.study}" if facts.study else "study date not stated",
        f"accession {facts.accession}" if facts.accession else "no accession number",
        facts.image,
    ]
    canvas.text((_LEFT, 183), "   |   ".join(p for p in parts if p), 23, colour=GREY, width=_RIGHT - _LEFT)


def outcome(canvas: Canvas, result: Scored) -> None:
    """The category in the largest words of the page, with its shape and the decisive probability."""
    top, bottom = 226, 412
    flagged = result.category is Category.ABOVE
    ground, ink = (INK, WHITE) if flagged else (WHITE, INK)
    canvas.draw.rectangle((_LEFT, top, _RIGHT, bottom), fill=ground, outline=INK, width=5)
    _symbol(canvas, (104, top + 66), 34, result.category, ink)
    canvas.text((164, top + 66), wording.headline(result), 70, weight=BOLD, colour=ink, width=510, anchor="lm")
    percent = f"{wording.percentages(result).decisive} %"
    canvas.text((_RIGHT - 24, top + 54), percent, 60, weight=BOLD, colour=ink, width=240, anchor="rm")
    mode = "image + clinical data" if result.mode is Mode.IMAGE_AND_CLINICAL else "image only"
    canvas.text((_RIGHT - 24, top + 102), f"probability, {mode}", 19, colour=ink, width=260, anchor="rm")
    canvas.text((68, top + 148), wording.advice(result), 25, weight=600, colour=ink, width=_RIGHT - 92, anchor="lm")


def scale(canvas: Canvas, result: Scored) -> None:
    """Each probability on one horizontal scale, with thresholds and the indeterminate zone."""
    shown = wording.percentages(result)
    rows = [("Image", result.p_image, shown.image, result.p_fused is None)]
    if result.p_clinical is not None and result.p_fused is not None:
        rows.append(("Clinical data", result.p_clinical, shown.clinical or "", False))
        rows.append(("Image + clinical", result.p_fused, shown.fused or "", True))
    bottom = _ROWS_TOP + 3 * _ROW
    _zones(canvas, result, (_ROWS_TOP, bottom))
    for number, (name, probability, text, decisive) in enumerate(rows):
        y = _ROWS_TOP + _ROW * number + _ROW // 2 + (_ROW if len(rows) == 1 else 0)
        weight = BOLD if decisive else REGULAR
        x = _x(probability)
        canvas.text((_LEFT, y), name, 23, weight=weight, anchor="lm", width=210)
        canvas.draw.line([(_AXIS[0], y), (x, y)], fill=INK if decisive else GREY, width=5 if decisive else 2)
        canvas.draw.ellipse(_around(x, y, 15), fill=WHITE)
        canvas.draw.ellipse(_around(x, y, 12 if decisive else 9), fill=INK if decisive else WHITE, outline=INK, width=3)
        canvas.text((_RIGHT, y), f"{text} %", 23, weight=weight, anchor="rm", width=86)
    canvas.draw.line([(_AXIS[0], bottom), (_AXIS[1], bottom)], fill=INK, width=2)
    for tick in range(0, 101, 20):
        x = _x(tick / 100)
        canvas.draw.line([(x, bottom), (x, bottom + 7)], fill=INK, width=2)
        canvas.text((x, bottom + 11), f"{tick} %", 17, colour=GREY, anchor="ma")


def film_caption(canvas: Canvas, box: tuple[int, int, int, int]) -> None:
    """What the marks on the film mean, and what they do not."""
    left, _, right, bottom = box
    canvas.paragraph((left, bottom + 4), "Dashed: analysed field. Outline: where half of the model's attention lay; "
                     "it marks no finding.", 17, width=right - left, lines=2, colour=GREY)  # fmt: skip


def clinical(canvas: Canvas, result: Scored) -> None:
    """Clinical inputs with age and source; what is missing, and why."""
    left, y = 470, 658.0
    canvas.text((left, y), "Clinical inputs", 25, weight=BOLD)
    unmatched = not result.match.joins
    found = f"{wording.match(result.match).capitalize()}."
    y = canvas.paragraph((left, y + 36), found, 19, width=490, lines=2, weight=BOLD if unmatched else REGULAR) + 8
    ordered = sorted(result.inputs, key=lambda item: item.value is None)
    for item in ordered[:_MAX_INPUTS]:
        y = _input(canvas, (left, y), item, result)
    if len(ordered) > _MAX_INPUTS:
        canvas.text((left, y), f"and {len(ordered) - _MAX_INPUTS} more in the structured report", 17, colour=GREY)
        y += 26
    if result.comparators:
        tools = "; ".join(f"{c.tool} {c.value:g} ({c.band})" for c in result.comparators)
        line = f"Published tools, for comparison only: {tools}"
        canvas.paragraph((left, y + 6), line, 17, width=490, lines=2, colour=GREY)


def quality(canvas: Canvas, result: Scored) -> None:
    """Whether the input was fit for analysis; a limitation is marked by hatching and weight."""
    top = 1090
    canvas.draw.line([(_LEFT, top), (_RIGHT, top)], fill=_SHADE, width=2)
    limited = result.quality is Quality.LIMITED
    words = "LIMITED, interpret with caution." if limited else "acceptable for analysis."
    text = " ".join([f"Input quality: {words}", *(wording.reason(r) for r in result.reasons)])
    left = _LEFT
    if limited:
        canvas.hatched((_LEFT, top + 10, _LEFT + 26, top + 58), INK)
        left += 38
    weight = BOLD if limited else REGULAR
    canvas.paragraph((left, top + 7), text, 20, width=_RIGHT - left, lines=2, weight=weight)


def footer(canvas: Canvas, result: Scored, facts: PageFacts) -> None:
    """What the result is not, which model spoke, who made the page and when."""
    top, model = 1150, result.model
    canvas.draw.rectangle((_LEFT, top, _RIGHT, top + 58), outline=INK, width=2)
    canvas.paragraph((_LEFT + 12, top + 1), wording.DISCLAIMER, 20, width=_RIGHT - _LEFT - 24, lines=2, weight=600)
    text = f"Model {model.name} {model.version}, sha256 {model.image_sha256[:12]}, calibration {model.calibration_id}"
    canvas.text((_LEFT, top + 59), text, 17, colour=GREY, width=_RIGHT - _LEFT)
    text = f"{facts.made}, {facts.node}. Made by a device, not verified by a physician."
    canvas.text((_LEFT, top + 79), text, 17, colour=GREY, width=_RIGHT - _LEFT)


def _input(canvas: Canvas, at: tuple[float, float], item: ClinicalInput, result: Scored) -> float:
    """One input; returns the y below it. Why it is missing stands above all of them when no record was found."""
    x, y = at
    missing = item.value is None
    weight, colour = (REGULAR, GREY) if missing else (BOLD, INK)
    canvas.text((x, y), wording.variable(item.variable), 21, weight=weight, colour=colour, width=270)
    canvas.text((_RIGHT, y), wording.value(item), 21, weight=weight, colour=colour, width=200, anchor="ra")
    if missing and not result.match.joins:
        return y + 32
    if missing:
        line = wording.missing_because(result)
    else:
        age = [] if item.age_days is None else [wording.value_age(item.age_days)]
        used = [wording.NOT_USED] if result.mode is Mode.IMAGE_ONLY else []
        line = ", ".join([*age, item.source or wording.UNNAMED_SOURCE, *used])
    canvas.text((x, y + 26), line, 17, colour=GREY, width=_RIGHT - x)
    return y + 54


def _zones(canvas: Canvas, result: Scored, span: tuple[int, int]) -> None:
    """Threshold lines with their figures above; the indeterminate zone hatched, the flagged range shaded."""
    top, bottom = span
    shown = wording.percentages(result)
    high = _x(result.t_high)
    canvas.draw.rectangle((high, top, _AXIS[1], bottom), fill=PALE)
    canvas.draw.rectangle((_AXIS[0], top, _AXIS[1], bottom), outline=_SHADE)
    if shown.t_low is not None:
        canvas.hatched((_x(result.t_low), top, high, bottom), _SHADE)
        canvas.dashed((_x(result.t_low), top - 6), (_x(result.t_low), bottom), INK)
    canvas.draw.line([(high, top - 10), (high, bottom)], fill=INK, width=4)
    label = min(high + 6, _RIGHT - 170)
    canvas.text((label, top - 12), f"threshold {shown.t_high} %", 19, weight=BOLD, anchor="ls")
    if shown.t_low is not None:
        end = min(_x(result.t_low) - 6, label - 14)
        canvas.text((end, top - 12), f"indeterminate from {shown.t_low} %", 19, anchor="rs")


def _symbol(canvas: Canvas, centre: tuple[int, int], r: int, category: Category, colour: tuple[int, int, int]) -> None:
    """Triangle, diamond or ring: the category's shape, readable without colour."""
    x, y = centre
    if category is Category.ABOVE:
        canvas.draw.polygon([(x, y - r), (x + r, y + r - 6), (x - r, y + r - 6)], fill=colour)
    elif category is Category.BETWEEN:
        canvas.draw.polygon([(x, y - r), (x + r, y), (x, y + r), (x - r, y)], outline=colour, width=7)
    else:
        canvas.draw.ellipse(_around(x, y, r - 4), outline=colour, width=7)


def _around(x: int, y: int, radius: int) -> tuple[int, int, int, int]:
    return x - radius, y - radius, x + radius, y + radius


def _x(probability: float) -> int:
    return round(_AXIS[0] + (_AXIS[1] - _AXIS[0]) * probability)
