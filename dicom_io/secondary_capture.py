"""An RGB picture of Osteon's as a Secondary Capture of the source's study (PS3.3 A.8.1): report page and heat map.

RLE Lossless; a peer without it gets the plain form (`storage_scu`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from highdicom.base import SOPClass
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from pydicom.valuerep import DA, TM

from dicom_io import codes, rle
from dicom_io.envelope import ReportContext, base_arguments, companion_reference, local_time, stamp
from model.domain import ModelFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What tells one kind of picture from another."""

    kind: str
    """Key of the series and instance UID, and kind in the ledger."""
    series_number: int
    description: str
    """Series Description, at most 64 characters."""
    derivation: str
    """What was done to the source, in one sentence."""


def secondary_capture(
    header: Dataset,
    pixels: npt.NDArray[np.uint8],
    capture: Capture,
    context: ReportContext,
    *,
    model: ModelFacts,
    digest: str,
) -> Dataset:
    """Build the object.

    Args:
        header: clean header of the source image (`reference_header`); its elements may be shared (trap H1).
        pixels: uint8 (rows, columns, 3).
        capture: which picture it is.
        context: site, installation and time.
        model: whose result it shows.
        digest: content digest of everything that lands in the object except times.

    """
    named = companion_reference(header, capture.kind, context, digest=digest)
    image = SOPClass(
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=named.series,
        series_number=capture.series_number,
        sop_instance_uid=named.instance,
        sop_class_uid=named.sop_class,
        instance_number=1,
        modality="OT",
        transfer_syntax_uid=RLELossless,
        series_description=capture.description,
        **base_arguments(header, model, context),
    )
    image.copy_patient_and_study_information(header)
    _describe(image, header, context)
    image.DerivationDescription = capture.derivation
    rle.set_rgb(image, pixels)
    stamp(image, header, context)
    return image


def _describe(image: Dataset, header: Dataset, context: ReportContext) -> None:
    """SC Equipment, SC Image and General Image (PS3.3 C.8.6.1, C.8.6.2, C.7.6.1)."""
    moment = local_time(header, context)
    image.ConversionType = "WSD"
    image.DateOfSecondaryCapture = DA(moment.date())
    image.TimeOfSecondaryCapture = TM(moment.time())
    image.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    image.PatientOrientation = ""
    image.BodyPartExamined = "CHEST"
    image.BurnedInAnnotation = "YES"
    source, purpose = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = codes.SOURCE_IMAGE[:3]
    source.ReferencedSOPClassUID = header.SOPClassUID
    source.ReferencedSOPInstanceUID = header.SOPInstanceUID
    source.PurposeOfReferenceCodeSequence = [purpose]
    image.SourceImageSequence = [source]
