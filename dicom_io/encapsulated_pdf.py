"""The report page as an Encapsulated PDF (PS3.3 A.45.1): off unless a site asks for it.

Highdicom has no such class; the modules of the document are set here. For archives that file reports as documents.
"""

from __future__ import annotations

from typing import Final

from highdicom.base import SOPClass
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_io import page_words as words
from dicom_io import wording
from dicom_io.envelope import Companion, ReportContext, base_arguments, companion_reference, local_time, stamp
from dicom_io.page import check_words, draw_page
from model.domain import Radiograph, Scored

SERIES_NUMBER: Final = 9906


def build_pdf(
    header: Dataset, radiograph: Radiograph, result: Scored, context: ReportContext, *, digest: str
) -> Dataset:
    """Build the object; `secondary_capture.secondary_capture` says what the arguments are.

    Raises:
        ReportInvalid: the disclaimer or the simulated-training banner does not stand on the page in full.

    """
    from dicom_io.page_pdf import page_pdf  # noqa: PLC0415 - a third of a second, for what few sites ask for

    named = companion_reference(header, Companion.PDF, context, digest=digest)
    simulated = result.model.simulated_training
    document = SOPClass(
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=named.series,
        series_number=SERIES_NUMBER,
        sop_instance_uid=named.instance,
        sop_class_uid=named.sop_class,
        instance_number=1,
        modality="DOC",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description=wording.companion_series(
            Companion.PDF, context.version, simulated=simulated, language=context.language
        ),
        **base_arguments(header, result.model, context),
    )
    document.copy_patient_and_study_information(header)
    title = words.PDF_TITLE.say(context.language)
    if simulated:
        title = f"{title} - {wording.simulated_training(context.language)}"
    canvas = draw_page(header, radiograph, result, context)
    check_words(canvas, result.model, context)
    _encapsulate(
        document,
        page_pdf(canvas, title=title, language=context.language.value, at=local_time(header, context)),
        title,
    )
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    document.SourceInstanceSequence = [reference]
    stamp(document, header, context)
    return document


def _encapsulate(document: Dataset, pdf: bytes, title: str) -> None:
    """SC Equipment and Encapsulated Document (PS3.3 C.8.6.1, C.24.2)."""
    document.ConversionType = "WSD"
    document.AcquisitionDateTime = ""
    document.BurnedInAnnotation = "YES"
    document.RecognizableVisualFeatures = "NO"
    document.ConceptNameCodeSequence = []
    document.DocumentTitle = title
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocumentLength = len(pdf)
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
