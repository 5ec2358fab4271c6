"""A Key Object Selection "Of Interest" that points at the screened image and its page: off unless a site asks for it.

For work lists and viewers that jump to key objects. It says nothing about the result, so that no title of CID 7010 can
read as one: the page does. The rejection note, another use of the same class, is `rejection_note`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import CodedConcept, DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from dicom_io import codes, uids, wording
from dicom_io import page_words as words
from dicom_io.content_items import separate
from dicom_io.envelope import Companion, ReportContext, base_arguments, companion_reference, stamp
from dicom_io.implementation import MODEL_NAME
from model.domain import ModelFacts

SERIES_NUMBER: Final = 9904


def build_key_objects(
    header: Dataset, page: Dataset | None, model: ModelFacts, context: ReportContext, *, digest: str
) -> Dataset:
    """Build the object over the source image and, where there is one, the page."""
    named = companion_reference(header, Companion.KOS, context, digest=digest)
    intended = wording.intended_use(simulated=model.simulated_training, language=context.language)
    said = words.KOS_IMAGE_ALONE if page is None else words.KOS_DESCRIPTION
    objects = [copy.deepcopy(one) for one in (header, page) if one is not None]
    document = KeyObjectSelectionDocument(
        evidence=objects,
        content=key_object_tree(
            objects,
            title=codes.OF_INTEREST,
            description=said.say(context.language, disclaimer=intended),
            context=context,
        ),
        series_instance_uid=named.series,
        series_number=SERIES_NUMBER,
        sop_instance_uid=named.instance,
        instance_number=1,
        series_description=wording.companion_series(
            Companion.KOS, context.version, simulated=model.simulated_training, language=context.language
        ),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **base_arguments(header, model, context),
    )
    without_purposes(document)
    document.copy_patient_and_study_information(header)
    stamp(document, header, context)
    return document


def key_object_tree(
    objects: Sequence[Dataset], *, title: Code, description: str, context: ReportContext
) -> KeyObjectSelection:
    """TID 2010 by this device, every container SEPARATE; no title modifier, which draws errors from PixelMed."""
    device = DeviceObserverIdentifyingAttributes(
        uid=uids.device_uid(context.installation.namespace),
        name=context.ae_title,
        manufacturer_name=wording.MANUFACTURER,
        model_name=MODEL_NAME,
        serial_number=context.installation.serial,
    )
    observer = ObserverContext(
        observer_type=CodedConcept.from_code(codes.DEVICE), observer_identifying_attributes=device
    )
    content = KeyObjectSelection(
        document_title=CodedConcept.from_code(title),
        referenced_objects=list(objects),
        observer_device_context=observer,
        description=description,
    )
    separate(content[0])
    return content


def without_purposes(document: Dataset) -> None:
    """Take the concept name off the references: "Purpose of Reference is forbidden" (TID 2010; trap H15)."""
    for item in document.ContentSequence:
        if item.ValueType in ("COMPOSITE", "IMAGE") and "ConceptNameCodeSequence" in item:
            del item.ConceptNameCodeSequence
