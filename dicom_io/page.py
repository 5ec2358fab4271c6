"""The report page: one Secondary Capture image for every viewer that shows no structured report.

A reader must grasp the category in five seconds: big words first, then every probability against its thresholds on one
scale, then what it rests on and what is missing. Nothing is said by colour alone; the page survives a black-and-white
print. Sentences come from the wording table (`words`, `page_words`), drawing from `canvas`, places from the panels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM, PersonName

from dicom_io import page_panels, page_scale, wording
from dicom_io import page_words as words
from dicom_io.canvas import GREY, INK, Canvas, wrapped
from dicom_io.document_check import ReportInvalid
from dicom_io.envelope import ReportContext, local_time
from dicom_io.outcomes import Statement, Withdrawn
from dicom_io.page_film import draw_film
from dicom_io.page_panels import FOOTER, HEIGHT, LEFT, RIGHT, STRIP, WIDTH, PageFacts
from dicom_io.report_tree import analysed_frame
from dicom_io.secondary_capture import Capture, secondary_capture
from dicom_io.typeface import BOLD, REGULAR
from dicom_io.words import NOT_ANALYSED_WHY, WITHDRAWN_WHY
from model.domain import ModelFacts, Radiograph, Scored

SERIES_NUMBER: Final = 9902
_FILM_WIDTH: Final = 400
_SMALL: Final = 17
_TEXT_LEFT: Final = LEFT + _FILM_WIDTH + 30
_LIMIT: Final = HEIGHT - STRIP - FOOTER
"""Lowest y above the footer."""


def build_page(
    header: Dataset, radiograph: Radiograph, result: Scored, context: ReportContext, *, digest: str
) -> Dataset:
    """Build the page of one result, RGB 1000 x 1300, RLE Lossless; `secondary_capture` says what the arguments are.

    Raises:
        ReportInvalid: the disclaimer or the simulated-training banner does not stand on the page in full.

    """
    canvas = draw_page(header, radiograph, result, context)
    return _captured(header, canvas, result.model, context, digest=digest)


def build_statement_page(header: Dataset, said: Statement, context: ReportContext, *, digest: str) -> Dataset:
    """Build the page of a result without a number; no image, since a withdrawal outlives it.

    Raises:
        ReportInvalid: the disclaimer or the simulated-training banner does not stand on the page in full.

    """
    return _captured(header, draw_statement_page(header, said, context), said.model, context, digest=digest)


def draw_page(header: Dataset, radiograph: Radiograph, result: Scored, context: ReportContext) -> Canvas:
    """The page as an image and marks, without any DICOM around it."""
    facts, language = _facts(header, context), context.language
    canvas = Canvas(WIDTH, HEIGHT)
    page_panels.strips(canvas, result.model, language)
    y = page_panels.title(canvas, facts, STRIP)
    y = page_panels.patient(canvas, facts, y + 8)
    y = page_panels.outcome(canvas, result, y + 2, language)
    y = page_scale.scale(canvas, result, y + 14, language) + 14
    bottom = page_panels.quality(canvas, result, _LIMIT, language) - 8
    caption = words.FILM.say(language)
    film = (LEFT, round(y), LEFT + _FILM_WIDTH, round(bottom) - _caption_height(caption))
    draw_film(canvas, film, radiograph, result, analysed_frame(radiograph, result))
    _caption(canvas, caption, film)
    page_scale.clinical(canvas, result, (_TEXT_LEFT, y - 4), bottom, language)
    page_panels.footer(canvas, result.model, facts)
    return canvas


def draw_statement_page(header: Dataset, said: Statement, context: ReportContext) -> Canvas:
    """The page of a result without a number, as an image and marks."""
    facts, language = _facts(header, context), context.language
    canvas = Canvas(WIDTH, HEIGHT)
    page_panels.strips(canvas, said.model, language)
    y = page_panels.title(canvas, facts, STRIP)
    y = page_panels.patient(canvas, facts, y + 8)
    y = page_panels.statement(canvas, said, y + 2, language) + 34
    why = WITHDRAWN_WHY if isinstance(said, Withdrawn) else NOT_ANALYSED_WHY
    canvas.text((LEFT, y), why.say(language), 26, weight=BOLD, width=RIGHT - LEFT)
    y += 46
    for sentence in wording.because(said, language=language):
        canvas.box((LEFT + 2, y + 13, LEFT + 10, y + 21), fill=INK)
        y = canvas.paragraph((LEFT + 26, y), sentence, 24, width=RIGHT - LEFT - 26, lines=6) + 10
    page_panels.footer(canvas, said.model, facts)
    return canvas


def _captured(header: Dataset, canvas: Canvas, model: ModelFacts, context: ReportContext, *, digest: str) -> Dataset:
    _check_words(canvas, model, context)
    simulated = model.simulated_training
    capture = Capture(
        kind="page",
        series_number=SERIES_NUMBER,
        description=wording.page_description(context.version, simulated=simulated, language=context.language),
        derivation="Report page of an automatic screening result",
    )
    pixels = np.asarray(canvas.image, np.uint8)
    return secondary_capture(header, pixels, capture, context, model=model, digest=digest)


def _check_words(canvas: Canvas, model: ModelFacts, context: ReportContext) -> None:
    """Invariant I4 on the page: nothing of the disclaimer was shortened away."""
    said = " ".join(canvas.written)
    if wording.disclaimer(context.language) not in said:
        raise ReportInvalid(["I4 disclaimer missing on the page"])
    banners = said.count(wording.simulated_training(context.language))
    if model.simulated_training and banners != 2:  # noqa: PLR2004 - top and bottom
        raise ReportInvalid(["I4 simulated-training banner missing on the page"])


def _caption_height(text: str) -> int:
    return 8 + round(_SMALL * 1.32) * len(wrapped(text, _SMALL, REGULAR, width=_FILM_WIDTH, lines=3))


def _caption(canvas: Canvas, text: str, film: tuple[int, int, int, int]) -> None:
    canvas.paragraph((film[0], film[3] + 5), text, _SMALL, width=film[2] - film[0], lines=3, colour=GREY)


def _facts(header: Dataset, context: ReportContext) -> PageFacts:
    moment = local_time(header, context)
    return PageFacts(
        language=context.language,
        name_groups=tuple(group for group in _name_groups(header.PatientName) if group),
        patient_id=str(header.PatientID or ""),
        birth_date=_date(header.PatientBirthDate),
        sex=str(header.PatientSex or ""),
        accession=str(header.AccessionNumber or ""),
        study=f"{_date(header.StudyDate)} {_clock(header.StudyTime)}".strip(),
        image=" ".join(str(header.get(k) or "") for k in ("Modality", "ViewPosition")).strip(),
        site=context.site_name,
        made=f"{moment:%Y-%m-%d %H:%M} (UTC{moment:%z})",
        node=context.node_version,
        serial=context.installation.serial,
        replaces=_replaces(header, context),
    )


def _replaces(header: Dataset, context: ReportContext) -> str:
    """Which result this page takes the place of; empty when no earlier one left the node."""
    if context.amends is None or context.amends.replaced_at is None:
        return ""
    replaced = context.amends.replaced_at.astimezone(local_time(header, context).tzinfo)
    return wording.replaces(context.version, f"{replaced:%Y-%m-%d %H:%M}", language=context.language)


def _name_groups(name: PersonName | str | None) -> list[str]:
    if not name:
        return []
    person = name if isinstance(name, PersonName) else PersonName(name)
    groups = ((person.alphabetic, ", "), (person.ideographic, " "), (person.phonetic, " "))
    return [_readable(str(group), between) for group, between in groups]


def _readable(group: str, between: str) -> str:
    family, _, rest = group.partition("^")
    given = " ".join(part for part in rest.split("^") if part)
    return f"{family}{between}{given}" if given else family


def _date(value: object) -> str:
    return f"{DA(str(value)):%Y-%m-%d}" if value else ""


def _clock(value: object) -> str:
    return f"{TM(str(value)):%H:%M}" if value else ""
