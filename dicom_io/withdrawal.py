"""What the withdrawal of a result takes from the result's frozen SR: header, image, model and region.

The image and its header may be gone and the bundle replaced when a wrong result is found; the SR's bytes are kept as
long as the result may be asked about. So they are the only source, for a withdrawal on the next day too: one way, the
same at every time. Patient and study come as the SR carried them, which is as the archive knows them.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, Literal

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation

from dicom_io import codes, wording
from dicom_io.content_items import Point, named, walk
from dicom_io.document_check import ReportInvalid
from dicom_io.envelope import ReportContext
from dicom_io.reference_header import ReferenceHeader, reference_header
from dicom_io.statement_tree import StatementEvidence
from model.domain import ModelFacts

LONGEST_REASON: Final = 1024
_MODEL_SHOWN: Final = {
    "bundle": "bundle_id",
    "image_model_sha256": "image_sha256",
    "clinical_model_sha256": "clinical_sha256",
    "fusion": "fusion",
    "calibration": "calibration_id",
}
"""Algorithm Parameters (`dicom_io.tree_parts.model_parameters`) by the field of `ModelFacts` they hold."""
_SIMULATED: Final = "training=simulated images"
_AS_WITHDRAWN: Final = "as the report that is withdrawn"
_MODALITIES: Final = {ComputedRadiographyImageStorage: "CR", DigitalXRayImageStorageForPresentation: "DX"}
"""Of the image, whose class the report names; the report's own Modality is SR. Other classes hold films of several."""
_OF_THE_DOCUMENT: Final = (
    "ContentSequence",
    "ContentTemplateSequence",
    "ConceptNameCodeSequence",
    "ContributingEquipmentSequence",
    "CurrentRequestedProcedureEvidenceSequence",
    "PredecessorDocumentsSequence",
    "ReferencedRequestSequence",
    "CompletionFlagDescription",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A frozen report, as far as its withdrawal speaks of it."""

    reference: ReferenceHeader
    """Patient, study and the source image's UIDs."""
    model: ModelFacts
    qualification: Literal["RESEARCH", "PRODUCT"]
    """Content Qualification (0018,9004)."""
    evidence: StatementEvidence
    series: str
    """Series Instance UID of the SR."""
    companions: Mapping[str, str]
    """SOP Instance UID -> Series Instance UID of the objects that were sent with it."""


def stated_reason(reason: str) -> str:
    """The reason as one line.

    Raises:
        ReportInvalid: it is empty, too long, or says what no output may say.

    """
    said = " ".join(reason.split())
    if not 0 < len(said) <= LONGEST_REASON:
        raise ReportInvalid([f"the reason must have 1 to {LONGEST_REASON} characters"])
    if phrases := wording.forbidden(said):
        raise ReportInvalid([f"the reason must not say {', '.join(repr(phrase) for phrase in phrases)}"])
    return said


def raise_revision(context: ReportContext) -> ReportContext:
    """The context of the withdrawal itself: what it rejects is burnt, its own objects are the first after it.

    Raises:
        ValueError: there is no earlier version.

    """
    if context.amends is None:
        msg = "nothing to withdraw: no earlier version"
        raise ValueError(msg)
    amends = dataclasses.replace(context.amends, revision=context.amends.revision + 1)
    return dataclasses.replace(context, amends=amends)


def qualified(context: ReportContext, earlier: Earlier) -> ReportContext:
    """The context of what speaks of `earlier`: research or product as that was, whatever the site writes by now.

    A pilot's report by another bundle must be taken back after PRODUCT was written, too.
    """
    reason = _AS_WITHDRAWN if earlier.qualification == "PRODUCT" else ""
    return dataclasses.replace(context, content_qualification=earlier.qualification, product_reason=reason)


def read_earlier(part10: bytes) -> Earlier:
    """Read a frozen SR of the node's own making.

    Raises:
        ValueError, AttributeError, IndexError, KeyError: it is none.

    """
    document = hd.sr.srread(BytesIO(part10))
    items = list(walk(document))
    parameters = tuple(str(i.TextValue) for i in named(items, codes.ALGORITHM_PARAMETERS))
    region = next(i for i in items if i.ValueType == "SCOORD")
    data = [float(v) for v in region.GraphicData]
    points: tuple[Point, ...] = tuple(zip(data[0::2], data[1::2], strict=True))
    library: list[Any] = named(document.content[0].ContentSequence, codes.IMAGE_LIBRARY)
    source = str(region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
    evidence = {str(instance): str(series) for _, series, instance, _ in document.get_evidence()}
    model = _model(items, parameters)
    as_product = document.get("ContentQualification") == "PRODUCT" and not model.simulated_training
    return Earlier(
        reference=reference_header(_source_header(document, region)),
        series=str(document.SeriesInstanceUID),
        companions={instance: series for instance, series in evidence.items() if instance != source},
        model=model,
        qualification="PRODUCT" if as_product else "RESEARCH",
        evidence=StatementEvidence(
            region=points, parameters=parameters, library=tuple(copy.deepcopy(one) for one in library)
        ),
    )


def _source_header(document: Dataset, region: Dataset) -> Dataset:
    """The image's header as far as the report carried it: patient, study, request and the image's UIDs."""
    image = region.ContentSequence[0].ReferencedSOPSequence[0]
    header = Dataset()
    header.update({e.tag: copy.deepcopy(e) for e in document if e.keyword not in _OF_THE_DOCUMENT})
    header.SOPClassUID, header.SOPInstanceUID = image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID
    header.Modality = _MODALITIES.get(image.ReferencedSOPClassUID, "")
    header.SeriesInstanceUID = next(
        series for _, series, instance, _ in document.get_evidence() if instance == image.ReferencedSOPInstanceUID
    )
    request = Dataset()
    for keyword in ("RequestedProcedureID", "RequestedProcedureDescription"):
        setattr(request, keyword, document.ReferencedRequestSequence[0].get(keyword, ""))
    header.RequestAttributesSequence = [request]
    _acquired_with(header, document)
    return header


def _acquired_with(header: Dataset, document: Dataset) -> None:
    """The device that took the image, which reports name as contributing equipment, stands in for the node again."""
    equipment = [
        item
        for item in document.get("ContributingEquipmentSequence", [])
        if item.PurposeOfReferenceCodeSequence[0].CodeValue == codes.ACQUISITION_EQUIPMENT.value
    ]
    for keyword in _EQUIPMENT:
        if keyword in header:
            del header[keyword]
        if equipment and keyword in equipment[0]:
            header[keyword] = copy.deepcopy(equipment[0][keyword])


def _model(items: list[Dataset], parameters: tuple[str, ...]) -> ModelFacts:
    shown = dict(text.split("=", 1) for text in parameters)
    facts = {field: shown[key] for key, field in _MODEL_SHOWN.items()}
    return ModelFacts(
        name=str(named(items, codes.ALGORITHM_NAME)[0].TextValue),
        version=str(named(items, codes.ALGORITHM_VERSION)[0].TextValue),
        simulated_training=_SIMULATED in parameters,
        **facts,
    )


_EQUIPMENT: Final = (
    "Manufacturer",
    "InstitutionName",
    "InstitutionAddress",
    "StationName",
    "InstitutionalDepartmentName",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "DeviceUID",
    "SpatialResolution",
    "DateOfLastCalibration",
    "TimeOfLastCalibration",
)
