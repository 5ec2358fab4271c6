"""Header rules of the gate (model.md section 10): what is refused before a pixel is read.

Cheap, and only about what the header *states*: an empty View Position or Body Part refuses nothing, since the pixels
decide then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_io.element import integer, items, text
from dicom_io.implementation import MODEL_NAME
from model.domain import Reason, View

_MODALITIES: Final = ("CR", "DX")
_SOP_CLASSES: Final = (
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing,
)
_SCANNED_MODALITIES: Final = (*_MODALITIES, "RG", "OT")
"""What film digitisers state; OT (other) is their most common answer."""
_SCANNED: Final = ("DF", "SI")
"""Conversion Type (0008,0064): digitised film, scanned image. A screen shot (WSD) or a page is no radiograph."""
_CHEST_WORDS: Final = frozenset(("CHEST", "THORAX", "TORAX", "TORACE", "TORAKS", "LUNG", "LUNGS", "CXR"))
_FOREIGN_WORDS: Final = frozenset(("ABDOMEN", "PELVIS", "SPINE", "NECK", "WALL", "RIB", "RIBS", "STERNUM"))
_CHEST_CODES: Final = (
    Code("816094009", "SCT", "Chest"),
    Code("51185008", "SCT", "Thorax"),
    Code("43799004", "SCT", "Thoracic cavity"),
    Code("39607008", "SCT", "Lung"),
)
_LATERAL_WORDS: Final = frozenset(("LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LATL", "LATR"))
_NOT_LATERAL_WORDS: Final = frozenset(("DECUBITUS", "OBLIQUE"))
_VIEW_CODES: Final = {
    View.LATERAL: (
        Code("399067008", "SCT", "lateral"),
        Code("399173006", "SCT", "left lateral"),
        Code("399198007", "SCT", "right lateral"),
        Code("399260004", "SCT", "medial-lateral"),
        Code("399352003", "SCT", "lateral-medial"),
        Code("R-10236", "SRT", "left lateral"),
        Code("R-10232", "SRT", "right lateral"),
    ),
    View.AP: (Code("399348003", "SCT", "antero-posterior"),),
    View.PA: (Code("272479007", "SCT", "postero-anterior"), Code("R-10214", "SRT", "postero-anterior")),
}
_HUMAN_CODE: Final = Code("337915000", "SCT", "Homo sapiens")
_HUMAN_SRT: Final = Code("L-85B00", "SRT", "Homo sapiens")
_HUMAN_WORDS: Final = ("", "HUMAN", "HOMO SAPIENS", "MAN")


def refusals(header: Dataset, *, secondary_capture: bool = False) -> tuple[Reason, ...]:
    """Every reason for which the header alone forbids an assessment; empty means: look at the pixels.

    `secondary_capture`: Secondary Captures of digitised films are radiographs too. A result of the node's own making
    has that one reason, whatever else could be said of it.
    """
    if text(header, "ManufacturerModelName") == MODEL_NAME:
        return (Reason.OWN_RESULT,)
    return tuple(_refusals(header, secondary_capture=secondary_capture))


def stated_view(header: Dataset) -> View:
    """View Position (0018,5101), else View Code Sequence (0054,0220), as stated; UNKNOWN when neither says anything."""
    words = _words(text(header, "ViewPosition"))
    if words & _LATERAL_WORDS and not words & _NOT_LATERAL_WORDS:
        return View.LATERAL
    for view in (View.PA, View.AP):
        if view.value in words:
            return view
    if words:
        return View.OTHER
    stated = next(_codes(header, "ViewCodeSequence"), None)
    if stated is None:
        return View.UNKNOWN
    return next((view for view, known in _VIEW_CODES.items() if stated in known), View.OTHER)


def _refusals(header: Dataset, *, secondary_capture: bool) -> Iterator[Reason]:
    sop_class = text(header, "SOPClassUID")
    if not (_is_projection(header) or (secondary_capture and _is_scanned_film(header))):
        yield Reason.MODALITY
    if (integer(header, "NumberOfFrames") or 1) > 1:
        yield Reason.MULTIFRAME
    if not integer(header, "Rows") or not integer(header, "Columns"):
        yield Reason.NO_PIXELS
    intent = text(header, "PresentationIntentType").upper()
    if sop_class == uid.DigitalXRayImageStorageForProcessing or intent == "FOR PROCESSING":
        yield Reason.FOR_PROCESSING
    if not _may_be_chest(header):
        yield Reason.BODY_PART
    if stated_view(header) is View.LATERAL:
        yield Reason.VIEW_LATERAL
    if not _may_be_human(header):
        yield Reason.NOT_HUMAN


def _is_projection(header: Dataset) -> bool:
    """Modality CR or DX and one of its classes: a Secondary Capture of a DX study is not the film itself."""
    modality, sop_class = text(header, "Modality").upper(), text(header, "SOPClassUID")
    if not modality and not sop_class:
        return False
    return (not modality or modality in _MODALITIES) and (not sop_class or sop_class in _SOP_CLASSES)


def _is_scanned_film(header: Dataset) -> bool:
    return (
        text(header, "SOPClassUID") == uid.SecondaryCaptureImageStorage
        and text(header, "Modality").upper() in _SCANNED_MODALITIES
        and text(header, "ConversionType").upper() in _SCANNED
    )


def _may_be_chest(header: Dataset) -> bool:
    words = _words(text(header, "BodyPartExamined"))
    if words:
        return bool(words & _CHEST_WORDS) and not words & _FOREIGN_WORDS
    region = next(_codes(header, "AnatomicRegionSequence"), None)
    if region is None:
        return True
    meaning = _words(region.meaning)
    return region in _CHEST_CODES or (bool(meaning & _CHEST_WORDS) and not meaning & _FOREIGN_WORDS)


def _may_be_human(header: Dataset) -> bool:
    if text(header, "PatientSpeciesDescription").upper() not in _HUMAN_WORDS:
        return False
    species = next(_codes(header, "PatientSpeciesCodeSequence"), None)
    return species is None or species in (_HUMAN_CODE, _HUMAN_SRT)


def _words(stated: str) -> frozenset[str]:
    return frozenset(re.findall(r"[A-Z]+", stated.upper()))


def _codes(dataset: Dataset, keyword: str) -> Iterator[Code]:
    """The coded concepts of a code sequence (PS3.3 8.8). `Code` compares SNOMED-RT and SNOMED CT values as equal."""
    for item in items(dataset, keyword):
        code = text(item, "CodeValue")
        if code:
            yield Code(code, text(item, "CodingSchemeDesignator"), text(item, "CodeMeaning"))
