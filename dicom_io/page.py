"""The report page: one Secondary Capture image for every viewer that shows no structured report.

A reader must grasp the category in five seconds: big words first, then every probability against its thresholds on one
scale, then what it rests on and what is missing. Nothing is said by colour alone; the page survives a black-and-white
print. Sentences come from the wording table (`words`, `page_words`), drawing from `canvas`, places from the panels.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM, PersonName

from dicom_io import page_panels, page_scale, wording
from dicom_io import page_words as words
from dicom_io.canvas import GREY, Canvas, wrapped
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
_COMPOSABLE: Final = re.compile("[^\uf900-\ufaff\U0002f800-\U0002fa1f]+")
"""Everything but CJK compatibility ideographs."""


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
    page_panels.reasons(canvas, wording.because(said, language=language), (y, _LIMIT - 34))
    image = words.SOURCE_IMAGE.say(language, uid=header.SOPInstanceUID)
    canvas.text((LEFT, _LIMIT - 26), image, _SMALL, colour=GREY, width=RIGHT - LEFT)
    page_panels.footer(canvas, said.model, facts)
    return canvas


def check_words(canvas: Canvas, model: ModelFacts, context: ReportContext) -> None:
    """Invariant I4 on the page: nothing of the disclaimer was shortened away.

    Raises:
        ReportInvalid: the disclaimer or the simulated-training banner does not stand on the page in full.

    """
    said = " ".join(canvas.written)
    if wording.disclaimer(context.language) not in said:
        raise ReportInvalid(["I4 disclaimer missing on the page"])
    banners = said.count(wording.simulated_training(context.language))
    if model.simulated_training and banners != 2:  # noqa: PLR2004 - top and bottom
        raise ReportInvalid(["I4 simulated-training banner missing on the page"])


def _captured(header: Dataset, canvas: Canvas, model: ModelFacts, context: ReportContext, *, digest: str) -> Dataset:
    check_words(canvas, model, context)
    simulated = model.simulated_training
    capture = Capture(
        kind="page",
        series_number=SERIES_NUMBER,
        description=wording.companion_series("page", context.version, simulated=simulated, language=context.language),
        derivation="Report page of an automatic screening result",
    )
    pixels = np.asarray(canvas.image, np.uint8)
    return secondary_capture(header, pixels, capture, context, model=model, digest=digest)


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
    return [_readable(_composed(str(group)), between) for group, between in groups]


def _readable(group: str, between: str) -> str:
    family, *rest = (" ".join(part.split()) for part in group.split("^"))
    given = " ".join(part for part in rest if part)
    return between.join(part for part in (family, given) if part)


def _composed(text: str) -> str:
    """Letters and their marks as one character (NFC): set apart, the PDF would draw the mark beside its letter.

    Compatibility ideographs stay as they are: NFC makes another form of the same character of them, and a name has its.
    """
    return _COMPOSABLE.sub(lambda run: unicodedata.normalize("NFC", run.group()), text)


def _date(value: object) -> str:
    return f"{DA(str(value)):%Y-%m-%d}" if value else ""


def _clock(value: object) -> str:
    return f"{TM(str(value)):%H:%M}" if value else ""
