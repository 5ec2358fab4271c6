"""What the node agrees to at negotiation (PS3.7 D.3.2): every other SOP class is refused there, in its own context.

Radiographs are offered because they may be screened. Secondary Captures, SRs, presentation states and key object notes
are offered because an archive that routes by study sends our own results back, and a refused context would make it
repeat or park the whole study; nobody can tell own from foreign before the object is here. What is screened is decided
by `acceptance`, from the object.
"""

from __future__ import annotations

from typing import Final

from pydicom import uid

from config.settings import Reception
from dicom_io.syntaxes import TRANSFER_SYNTAXES

RADIOGRAPHS: Final = (uid.ComputedRadiographyImageStorage, uid.DigitalXRayImageStorageForPresentation)
RETURNED_RESULTS: Final = (
    uid.SecondaryCaptureImageStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.Comprehensive3DSRStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.EncapsulatedPDFStorage,
)
"""Classes of objects the node makes, and of what viewers derive from them."""
VERIFICATION: Final = uid.UID("1.2.840.10008.1.1")
UNCOMPRESSED: Final = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
"""For what carries no pixels."""


def storage_classes(settings: Reception) -> tuple[uid.UID, ...]:
    """The storage SOP classes this configuration accepts."""
    for_processing = (uid.DigitalXRayImageStorageForProcessing,) if settings.accept_for_processing else ()
    return (*RADIOGRAPHS, *for_processing, *RETURNED_RESULTS)


def offered(settings: Reception) -> tuple[tuple[uid.UID, tuple[uid.UID, ...]], ...]:
    """Return (abstract syntax, transfer syntaxes) of everything the node supports as SCP."""
    storage = ((sop_class, TRANSFER_SYNTAXES) for sop_class in storage_classes(settings))
    return ((VERIFICATION, UNCOMPRESSED), *storage)
