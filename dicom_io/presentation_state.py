"""Analysed field and attention outline as a Grayscale Softcopy Presentation State (PS3.3 A.33.1): off unless asked for.

For viewers that lay it over the image. It must not change how the image looks: highdicom always writes the polarity of
MONOCHROME2, which turns a MONOCHROME1 image into its negative (trap H14), so the shape is set from the source; and what
it says of the grey scale comes from `softcopy`, since highdicom copies it strictly or wrongly.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    TextObject,
)
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM

from dicom_io import page_words as words
from dicom_io import wording
from dicom_io.attention import attention_outline
from dicom_io.envelope import Companion, ReportContext, base_arguments, companion_reference, local_time, stamp
from dicom_io.page_film import ATTENTION_SHARE
from dicom_io.report_tree import analysed_frame
from dicom_io.softcopy import take_grayscale
from dicom_io.tree_parts import frame_corners
from model.domain import Radiograph, Scored

SERIES_NUMBER: Final = 9903
_LABEL: Final = "AI SCREENING"
"""Content Label (0070,0080), at most 16 characters (CS)."""
_LAYER: Final = "OSTEON"
_SMOOTHING: Final = 0.004
"""Outline points may lie off by this share of the image's longer side: some tens of points instead of thousands."""
_TRIANGLE: Final = 3


def build_presentation_state(
    header: Dataset, radiograph: Radiograph, result: Scored, context: ReportContext, *, digest: str
) -> Dataset:
    """Build the object; `secondary_capture.secondary_capture` says what the arguments are."""
    grayscale = take_grayscale(header)
    named = companion_reference(header, Companion.GSPS, context, digest=digest)
    if "SamplesPerPixel" not in header:  # what was decoded had one; highdicom asks
        header.SamplesPerPixel = 1
    arguments = base_arguments(header, result.model, context)
    del arguments["content_date"], arguments["content_time"]  # a presentation state has creation date and time instead
    simulated = result.model.simulated_training
    layer = GraphicLayer(_LAYER, order=1, description=words.STRIP.say(context.language))
    state = GrayscaleSoftcopyPresentationState(
        referenced_images=[header],
        series_instance_uid=named.series,
        series_number=SERIES_NUMBER,
        sop_instance_uid=named.instance,
        instance_number=1,
        content_label=_LABEL,
        content_description=wording.companion_series(Companion.GSPS, simulated=simulated, language=context.language),
        graphic_layers=[layer],
        graphic_annotations=[_annotation(header, layer, radiograph, result, context)],
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description=wording.companion_series(
            Companion.GSPS, context.version, simulated=simulated, language=context.language
        ),
        **arguments,
    )
    state.update(grayscale)
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        state.PresentationLUTShape = "INVERSE"
    state.BodyPartExamined = "CHEST"  # else a laterality is required (PS3.3 C.7.3.1)
    moment = local_time(header, context)
    state.PresentationCreationDate, state.PresentationCreationTime = DA(moment.date()), TM(moment.time())
    stamp(state, header, context)
    return state


def _annotation(
    header: Dataset, layer: GraphicLayer, radiograph: Radiograph, result: Scored, context: ReportContext
) -> GraphicAnnotation:
    frame = analysed_frame(radiograph, result)
    said = [words.GSPS_FIELD.say(context.language)]
    shapes = [_polyline(np.array(frame_corners(frame), float))]
    for outline in _outlines(radiograph, result):
        shapes.append(_polyline(outline))
        said[1:] = [words.GSPS_ATTENTION.say(context.language)]
    if result.model.simulated_training:
        said.insert(0, wording.simulated_training(context.language))
    said.append(words.STRIP.say(context.language))
    rows = radiograph.pixels.shape[0]
    texts = [
        TextObject(
            text_value=line,
            units=AnnotationUnitsValues.PIXEL,
            anchor_point=(float(frame[1]), float(frame[0] + rows * 0.03 * number)),
        )
        for number, line in enumerate(said, start=1)
    ]
    return GraphicAnnotation(
        referenced_images=[header], graphic_layer=layer, graphic_objects=shapes, text_objects=texts
    )


def _polyline(points: npt.NDArray[np.float64]) -> GraphicObject:
    return GraphicObject(
        graphic_type=GraphicTypeValues.POLYLINE, graphic_data=points, units=AnnotationUnitsValues.PIXEL
    )


def _outlines(radiograph: Radiograph, result: Scored) -> list[npt.NDArray[np.float64]]:
    """Closed (points, 2) of column and row inside the image."""
    rows, columns = radiograph.pixels.shape
    found = []
    for contour in attention_outline(result, (rows, columns), ATTENTION_SHARE):
        points = cv2.approxPolyDP(contour, _SMOOTHING * max(rows, columns), closed=True)[:, 0, :].astype(float)
        if len(points) >= _TRIANGLE:
            points = np.clip(points, 0, (columns - 1, rows - 1))
            found.append(np.vstack([points, points[:1]]))
    return found
