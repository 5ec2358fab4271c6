"""Parts of every report's tree: root (TID 1500), observer (1002), image library (1600), algorithm (4019), frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from highdicom.sr import (
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    UIDRefContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation

from dicom_io import codes, uids, wording
from dicom_io import content_items as items
from dicom_io.envelope import ReportContext
from dicom_io.implementation import MODEL_NAME
from model.domain import ModelFacts

FRAME_INSET: Final = 0.02
"""The region's frame stands this far inside the field of view, so that it is visible at the image's edge."""
_MIDDLE: Final = (0.45, 0.55)
_PROJECTION_XRAY: Final = {
    ComputedRadiographyImageStorage: codes.COMPUTED_RADIOGRAPHY,
    DigitalXRayImageStorageForPresentation: codes.DIGITAL_RADIOGRAPHY,
}
_PROJECTION_MODALITIES: Final = ("CR", "DX", "IO", "MG", "PX", "RF", "RG", "XA")
"""Values of Modality (0008,0060) for which TID 1603 is written."""


def document_root(
    context: ReportContext,
    *,
    library: Sequence[ContentItem],
    groups: Sequence[Sequence[ContentItem]],
    evaluations: Sequence[ContentItem],
    more: Sequence[ContentItem] = (),
) -> ContainerContentItem:
    """The root of TID 1500 around measurement groups (TID 1410) and evaluations; every container is SEPARATE."""
    measured = [items.container(codes.MEASUREMENT_GROUP, group, template="1410") for group in groups]
    return items.container(
        codes.IMAGING_MEASUREMENT_REPORT,
        [
            items.code(codes.LANGUAGE, codes.LANGUAGES[context.language], items.MODIFIES),
            *observer(context),
            items.code(codes.PROCEDURE_REPORTED, codes.IMAGING_PROCEDURE, items.MODIFIES),
            *library,
            items.container(codes.IMAGING_MEASUREMENTS, measured),
            items.container(codes.QUALITATIVE_EVALUATIONS, evaluations),
            *more,
        ],
        template="1500",
        relationship=None,
    )


def observer(context: ReportContext) -> list[ContentItem]:
    """TID 1002 and 1004: the device that observed."""
    return [
        items.code(codes.OBSERVER_TYPE, codes.DEVICE, items.CONTEXT),
        UIDRefContentItem(codes.DEVICE_UID, uids.device_uid(context.installation.namespace), items.CONTEXT),
        items.text(codes.DEVICE_NAME, context.ae_title, items.CONTEXT),
        items.text(codes.DEVICE_MANUFACTURER, wording.MANUFACTURER, items.CONTEXT),
        items.text(codes.DEVICE_MODEL, MODEL_NAME, items.CONTEXT),
        items.text(codes.DEVICE_SERIAL, context.installation.serial, items.CONTEXT),
    ]


def tracking(header: Dataset, context: ReportContext) -> list[ContentItem]:
    """What names the result group in all versions of a report."""
    tracked = uids.tracking_uid(context.installation.namespace, str(header.SOPInstanceUID))
    return [
        items.text(codes.TRACKING_ID, wording.TRACKING, items.CONTEXT),
        UIDRefContentItem(codes.TRACKING_UID, tracked, items.CONTEXT),
    ]


def image_library(header: Dataset) -> list[ContentItem]:
    """TID 1600 with one image, left out where the source lacks what it says of it (often in CR).

    To the byte what highdicom's `ImageLibrary` makes, which looks most of its time into tables of all IODs.
    """
    orientation, spacing = header.get("PatientOrientation"), header.get("ImagerPixelSpacing")
    pairs = all(isinstance(v, Sequence) and not isinstance(v, str) and len(v) == 2 for v in (orientation, spacing))  # noqa: PLR2004
    if not pairs or not all(orientation or ()) or header.SOPClassUID not in _PROJECTION_XRAY:
        return []
    if not header.get("Rows") or not header.get("Columns"):
        return []
    image = ImageContentItem(codes.SOURCE, header.SOPClassUID, header.SOPInstanceUID, relationship_type=items.CONTAINS)
    image.ContentSequence = ContentSequence(_descriptors(header))
    return [items.container(codes.IMAGE_LIBRARY, [items.container(codes.IMAGE_LIBRARY_GROUP, [image])])]


def _descriptors(header: Dataset) -> list[ContentItem]:
    """TID 1602, and TID 1603 of a projection radiograph."""
    frame = header.get("FrameOfReferenceUID")
    described: list[ContentItem] = [
        items.code(codes.MODALITY, _PROJECTION_XRAY[header.SOPClassUID], items.ACQUISITION),
        *([UIDRefContentItem(codes.FRAME_OF_REFERENCE, frame, items.ACQUISITION)] if isinstance(frame, str) else []),
        _acquired(codes.PIXEL_ROWS, header.Rows, codes.PIXELS),
        _acquired(codes.PIXEL_COLUMNS, header.Columns, codes.PIXELS),
    ]
    if header.get("Modality") not in _PROJECTION_MODALITIES:
        return described
    (along_row, along_column), (down, across) = header.PatientOrientation, header.ImagerPixelSpacing
    return [
        *described,
        items.text(codes.ORIENTATION_ROW, along_row, items.ACQUISITION),
        items.text(codes.ORIENTATION_COLUMN, along_column, items.ACQUISITION),
        _acquired(codes.HORIZONTAL_SPACING, across, codes.MILLIMETRE),
        _acquired(codes.VERTICAL_SPACING, down, codes.MILLIMETRE),
    ]


def _acquired(name: Code, value: float, unit: Code) -> ContentItem:
    """A NUM about the image itself; its decimals stay as the header has them."""
    return NumContentItem(name, value, unit, relationship_type=items.ACQUISITION)


def algorithm(model: ModelFacts, parameters: Sequence[str]) -> list[ContentItem]:
    """TID 4019 with one Algorithm Parameters item for each of `parameters`."""
    return [
        items.text(codes.ALGORITHM_NAME, model.name, items.MODIFIES),
        items.text(codes.ALGORITHM_VERSION, model.version, items.MODIFIES),
        items.text(codes.ALGORITHM_MANUFACTURER, wording.MANUFACTURER, items.MODIFIES),
        *(items.text(codes.ALGORITHM_PARAMETERS, text, items.MODIFIES) for text in parameters),
        items.code(codes.ALGORITHM_FAMILY, codes.ARTIFICIAL_INTELLIGENCE, items.MODIFIES),
    ]


def model_parameters(model: ModelFacts) -> tuple[str, ...]:
    """Which model it is, to the byte."""
    return (
        f"calibration={model.calibration_id}",
        f"image_model_sha256={model.image_sha256}",
        f"clinical_model_sha256={model.clinical_sha256}",
        f"fusion={model.fusion}",
        f"bundle={model.bundle_id}",
        f"training={'simulated images' if model.simulated_training else 'radiographs'}",
    )


def inset_frame(top: int, left: int, bottom: int, right: int) -> tuple[int, int, int, int]:
    """A half-open field of view as the inclusive frame that is drawn."""
    down, across = round((bottom - top) * FRAME_INSET), round((right - left) * FRAME_INSET)
    return top + down, left + across, bottom - 1 - down, right - 1 - across


def whole_frame(rows: int, columns: int) -> tuple[int, int, int, int]:
    """The frame of an image analysed as a whole, or not at all."""
    return inset_frame(0, 0, rows, columns)


def frame_corners(frame: tuple[int, int, int, int]) -> list[items.Point]:
    """The frame (top, left, bottom, right) as a closed polyline that begins in the middle of its left edge.

    Both are for OHIF: it prints a group's numbers right of the first two points, halfway between them, which from the
    top edge is outside the viewport; and a rectangle of five points it takes for a measurement of its own and asks to
    track it, instead of showing it as it is.
    """
    top, left, bottom, right = frame
    above, below = (round(top + (bottom - top) * share) for share in _MIDDLE)
    return [
        (left, above),
        (left, below),
        (left, bottom),
        (right, bottom),
        (right, top),
        (left, top),
        (left, above),
    ]
