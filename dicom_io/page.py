"""The report page: one Secondary Capture image (PS3.3 A.8.1) for every viewer that shows no structured report.

A reader must grasp the category in five seconds: big words first, then the probability against its thresholds, then
what it rests on and what is missing. Nothing is said by colour alone; the page survives a black-and-white print.
Sentences come from `dicom_io.wording`, drawing from `dicom_io.canvas`. Pixels stay uncompressed: this page is the
safety net for archives and viewers that take little, and no store converts RLE on the way.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from highdicom.base import SOPClass
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pydicom.valuerep import DA, TM, PersonName

from dicom_io import codes, page_panels, uids, wording
from dicom_io.canvas import RED, WHITE, Canvas
from dicom_io.envelope import ReportContext, base_arguments, local_time, stamp
from dicom_io.page_film import draw_film
from dicom_io.page_panels import HEIGHT, WIDTH, PageFacts
from dicom_io.report_check import ReportInvalid
from dicom_io.report_tree import analysed_frame
from model.domain import Radiograph, Scored

SERIES_NUMBER: Final = 9902
_BANNERS: Final = (0, HEIGHT - page_panels.BANNER)
"""y of the simulated-training banner, top and bottom."""
_FILM_BOX: Final = (40, 660, 440, 1036)


def build_page(
    header: Dataset, radiograph: Radiograph, result: Scored, context: ReportContext, *, digest: str
) -> Dataset:
    """Build the page of one result, RGB 1000 x 1300, Explicit VR Little Endian.

    Args:
        header: clean header of the source image (`reference_header`); its elements may be shared (trap H1).
        radiograph: the analysed image, for the thumbnail.
        result: what the model said.
        context: site, installation and time.
        digest: content digest of everything that lands in the objects except times.

    Raises:
        ReportInvalid: the disclaimer or the simulated-training banner does not stand on the page in full.

    """
    namespace, source = context.installation.namespace, str(header.SOPInstanceUID)
    page = SOPClass(
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=uids.companion_series_uid(namespace, source, "page", context.version),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uids.sop_instance_uid(
            namespace, source=source, kind="page", sop_class=SecondaryCaptureImageStorage, digest=digest
        ),
        sop_class_uid=SecondaryCaptureImageStorage,
        instance_number=1,
        modality="OT",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description=wording.page_description(context.version, simulated=result.model.simulated_training),
        **base_arguments(header, result.model, context),
    )
    page.copy_patient_and_study_information(header)
    _describe(page, header, context)
    canvas = draw_page(header, radiograph, result, context)
    _check_words(canvas, result)
    _set_pixels(page, canvas)
    stamp(page, header, context)
    return page


def draw_page(header: Dataset, radiograph: Radiograph, result: Scored, context: ReportContext) -> Canvas:
    """The page as an image, without any DICOM around it."""
    facts = _facts(header, context)
    canvas = Canvas(WIDTH, HEIGHT)
    page_panels.title(canvas, facts)
    page_panels.patient(canvas, facts)
    page_panels.outcome(canvas, result)
    page_panels.scale(canvas, result)
    draw_film(canvas, _FILM_BOX, radiograph, result, analysed_frame(radiograph, result))
    page_panels.film_caption(canvas, _FILM_BOX)
    page_panels.clinical(canvas, result)
    page_panels.quality(canvas, result)
    page_panels.footer(canvas, result, facts)
    if result.model.simulated_training:
        for top in _BANNERS:
            canvas.draw.rectangle((0, top, WIDTH, top + page_panels.BANNER), fill=RED)
            middle = (WIDTH / 2, top + page_panels.BANNER / 2)
            canvas.text(middle, wording.SIMULATED, 29, weight=700, colour=WHITE, width=WIDTH - 40, anchor="mm")
    return canvas


def _check_words(canvas: Canvas, result: Scored) -> None:
    """Invariant I4 on the page: nothing of the disclaimer was shortened away."""
    words = " ".join(canvas.written)
    if wording.DISCLAIMER not in words:
        raise ReportInvalid(["I4 disclaimer missing on the page"])
    if result.model.simulated_training and words.count(wording.SIMULATED) != len(_BANNERS):
        raise ReportInvalid(["I4 simulated-training banner missing on the page"])


def _describe(page: Dataset, header: Dataset, context: ReportContext) -> None:
    """SC Equipment, SC Image and General Image (PS3.3 C.8.6.1, C.8.6.2, C.7.6.1)."""
    moment = local_time(header, context)
    page.ConversionType = "WSD"
    page.DateOfSecondaryCapture = DA(moment.date())
    page.TimeOfSecondaryCapture = TM(moment.time())
    page.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    page.PatientOrientation = ""
    page.BodyPartExamined = "CHEST"
    page.BurnedInAnnotation = "YES"
    page.DerivationDescription = "Report page of an automatic screening result"
    source, purpose = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = codes.SOURCE_IMAGE[:3]
    source.ReferencedSOPClassUID = header.SOPClassUID
    source.ReferencedSOPInstanceUID = header.SOPInstanceUID
    source.PurposeOfReferenceCodeSequence = [purpose]
    page.SourceImageSequence = [source]


def _set_pixels(page: Dataset, canvas: Canvas) -> None:
    pixels = np.asarray(canvas.image, np.uint8)
    page.SamplesPerPixel, page.PlanarConfiguration = 3, 0
    page.PhotometricInterpretation = "RGB"
    page.Rows, page.Columns = pixels.shape[:2]
    page.BitsAllocated = page.BitsStored = 8
    page.HighBit, page.PixelRepresentation = 7, 0
    page.PixelData = pixels.tobytes()


def _facts(header: Dataset, context: ReportContext) -> PageFacts:
    moment = local_time(header, context)
    return PageFacts(
        name_groups=tuple(group for group in _name_groups(header.PatientName) if group),
        patient_id=str(header.PatientID or ""),
        birth_date=_date(header.PatientBirthDate),
        sex=str(header.PatientSex or ""),
        accession=str(header.AccessionNumber or ""),
        study=f"{_date(header.StudyDate)} {_clock(header.StudyTime)}".strip(),
        image=" ".join(str(header.get(k) or "") for k in ("Modality", "ViewPosition")).strip(),
        site=context.site_name,
        made=f"{moment:%Y-%m-%d %H:%M} (UTC{moment:%z})",
        node=f"node {context.node_version}, installation {context.installation.serial}",
        replaces=_replaces(header, context),
    )


def _replaces(header: Dataset, context: ReportContext) -> str:
    """Which result this page takes the place of; empty when no earlier one left the node."""
    if context.amends is None or context.amends.replaced_at is None:
        return ""
    replaced = context.amends.replaced_at.astimezone(local_time(header, context).tzinfo)
    return wording.replaces(context.version, f"{replaced:%Y-%m-%d %H:%M}")


def _name_groups(name: PersonName | str | None) -> list[str]:
    if not name:
        return []
    person = name if isinstance(name, PersonName) else PersonName(name)
    return [_readable(str(group)) for group in (person.alphabetic, person.ideographic, person.phonetic)]


def _readable(group: str) -> str:
    family, _, rest = group.partition("^")
    given = " ".join(part for part in rest.split("^") if part)
    return f"{family}, {given}" if given else family


def _date(value: object) -> str:
    return f"{DA(str(value)):%Y-%m-%d}" if value else ""


def _clock(value: object) -> str:
    return f"{TM(str(value)):%H:%M}" if value else ""
