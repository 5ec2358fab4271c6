"""An SR document around a finished content tree: header, flags, evidence, request and predecessors (PS3.3 A.35.2).

Made from highdicom's plain SOP class, not from its `EnhancedSR`: that copies the whole tree and searches it three times
to find the evidence, which is known here, and took half the time of a report. What it looked at besides is looked at
where it counts, in the finished bytes: `document_check` has highdicom read them and walks them itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Final

from highdicom import ContributingEquipment
from highdicom.base import SOPClass
from highdicom.sr import ContainerContentItem
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedSRStorage, ExplicitVRLittleEndian

from dicom_io import codes, uids, versions, wording
from dicom_io.envelope import Reference, ReportContext, base_arguments, private_scheme, stamp
from dicom_io.implementation import MODEL_NAME
from model.domain import ModelFacts

SERIES_NUMBER: Final = 9901
_OF_THE_DEVICE: Final = {
    "manufacturer_model_name": "ManufacturerModelName",
    "software_versions": "SoftwareVersions",
    "device_serial_number": "DeviceSerialNumber",
    "institution_name": "InstitutionName",
    "institutional_department_name": "InstitutionalDepartmentName",
    "institution_address": "InstitutionAddress",
    "station_name": "StationName",
    "contribution_datetime": "AcquisitionDateTime",
}
"""Argument of `ContributingEquipment`: keyword in the image's header."""


def sr_reference(header: Dataset, context: ReportContext, *, digest: str) -> Reference:
    """The name of the document, known before it is made; arguments as of `sr_document`."""
    namespace, source = context.installation.namespace, str(header.SOPInstanceUID)
    instance = uids.sop_instance_uid(
        namespace, source=source, kind="sr", sop_class=EnhancedSRStorage, digest=digest, revision=context.revision
    )
    return Reference(EnhancedSRStorage, instance, str(header.StudyInstanceUID), uids.sr_series_uid(namespace, source))


def sr_document(
    header: Dataset,
    tree: ContainerContentItem,
    model: ModelFacts,
    context: ReportContext,
    *,
    digest: str,
    companions: Sequence[Reference],
    incomplete: str = "",
) -> Dataset:
    """The tree as an Enhanced SR document; the document takes the tree's elements over.

    Args:
        header: clean header of the source image (`reference_header`); its elements may be shared (trap H1).
        tree: root container.
        model: whose result it is.
        context: site, installation and time.
        digest: content digest of everything that lands in the document except times.
        companions: what is sent along; with the source image it is the evidence.
        incomplete: why the document is PARTIAL; empty for a complete one.

    """
    named = sr_reference(header, context, digest=digest)
    document = SOPClass(
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=named.series,
        series_number=SERIES_NUMBER,
        sop_instance_uid=named.instance,
        sop_class_uid=named.sop_class,
        instance_number=context.version,
        modality="SR",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description=wording.series_description(simulated=model.simulated_training, language=context.language),
        coding_schemes=[private_scheme()],
        **base_arguments(header, model, context),
    )
    document.copy_patient_and_study_information(header)
    document.ContributingEquipmentSequence = _equipment(header)
    for element in tree:
        document[element.tag] = element
    _flag(document, incomplete)
    _refer(document, header, companions, context)
    stamp(document, header, context)
    versions.take_over(document, context.amends)
    return document


def _flag(document: Dataset, incomplete: str) -> None:
    """SR Document General (PS3.3 C.17.2): made by a device, verified by nobody, never final."""
    document.CompletionFlag = "PARTIAL" if incomplete else "COMPLETE"
    if incomplete:
        document.CompletionFlagDescription = incomplete
    document.VerificationFlag = "UNVERIFIED"
    document.PreliminaryFlag = "PRELIMINARY"
    document.PerformedProcedureCodeSequence = []
    document.ReferencedPerformedProcedureStepSequence = []


def _refer(document: Dataset, header: Dataset, companions: Sequence[Reference], context: ReportContext) -> None:
    """Who made it, of which images and objects, for which request, in place of which documents."""
    document.AuthorObserverSequence = [_author(context)]
    document.ReferencedRequestSequence = [_request(header)]
    source = Reference(header.SOPClassUID, header.SOPInstanceUID, header.StudyInstanceUID, header.SeriesInstanceUID)
    document.CurrentRequestedProcedureEvidenceSequence = _studies((source, *companions))
    if context.amends is not None and context.amends.predecessors:
        document.PredecessorDocumentsSequence = _studies(context.amends.predecessors)


def _studies(references: Iterable[tuple[str, str, str, str]]) -> list[Dataset]:
    """Hierarchical SOP Instance Reference Macro (PS3.3 C.17.2.1) of what `Reference` names, in the order given."""
    found: dict[str, dict[str, list[Dataset]]] = {}
    for sop_class, instance, study, series in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        found.setdefault(study, {}).setdefault(series, []).append(item)
    return [_study(study, below) for study, below in found.items()]


def _study(study: str, below: dict[str, list[Dataset]]) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = study
    item.ReferencedSeriesSequence = [_series(series, instances) for series, instances in below.items()]
    return item


def _series(series: str, instances: list[Dataset]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = series
    item.ReferencedSOPSequence = instances
    return item


def _equipment(header: Dataset) -> list[ContributingEquipment]:
    """Contributing Equipment Sequence (0018,A001): what took the image, where it says so, and highdicom."""
    equipment = []
    if header.get("Manufacturer"):
        with contextlib.suppress(AttributeError, TypeError, ValueError):  # a header that names it in no valid way
            equipment.append(_acquired_by(header))
    return [*equipment, ContributingEquipment.for_highdicom()]


def _acquired_by(header: Dataset) -> ContributingEquipment:
    """What highdicom's `for_image_acquisition` makes, which first searches its tables whether an image is an image."""
    return ContributingEquipment(
        header.Manufacturer,
        codes.ACQUISITION_EQUIPMENT,
        contribution_description="Acquisition equipment of the source image(s)",
        **{argument: header.get(keyword) for argument, keyword in _OF_THE_DEVICE.items()},
    )


def _request(header: Dataset) -> Dataset:
    """Referenced Request Sequence (0040,A370); the procedure comes from the source's Request Attributes."""
    attributes = (header.get("RequestAttributesSequence") or [Dataset()])[0]
    item = Dataset()
    item.StudyInstanceUID = header.StudyInstanceUID
    item.ReferencedStudySequence = []
    item.AccessionNumber = header.AccessionNumber
    item.PlacerOrderNumberImagingServiceRequest = ""
    item.FillerOrderNumberImagingServiceRequest = ""
    item.RequestedProcedureID = attributes.get("RequestedProcedureID") or ""
    item.RequestedProcedureDescription = attributes.get("RequestedProcedureDescription") or ""
    item.RequestedProcedureCodeSequence = []
    return item


def _author(context: ReportContext) -> Dataset:
    """Author Observer Sequence (0040,A078)."""
    item = Dataset()
    item.ObserverType = "DEV"
    item.DeviceUID = uids.device_uid(context.installation.namespace)
    item.StationName = context.ae_title
    item.Manufacturer = wording.MANUFACTURER
    item.ManufacturerModelName = MODEL_NAME
    item.InstitutionName = context.site_name[: codes.MAX_MEANING]
    item.InstitutionCodeSequence = []
    return item
