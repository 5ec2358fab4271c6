"""Regions of high model attention as measurement groups of the SR (TID 1410), for programs that draw them.

They show where the model looked, never what it saw: the finding is "region of high model attention" and the number its
share of all attention. Off by default; a viewer that prints every finding would make it look like one.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from highdicom.sr import ContentItem, UIDRefContentItem
from pydicom.dataset import Dataset

from dicom_io import codes, uids
from dicom_io import content_items as items
from dicom_io.attention import AttentionMap, Contour, attention_map, attention_outline
from dicom_io.envelope import ReportContext
from dicom_io.outcomes import Analysed
from model.domain import Scored

ENCLOSED: Final = 0.5
"""The regions together hold this share of the attention, or a little more."""
MOST: Final = 3
"""Regions with the largest shares; a scattered map makes no page of specks."""
_SIDE: Final = 256
"""Pixels of the longer side at which outlines are traced; a region needs no finer edge."""
_TRACKING: Final = "Model attention region"
_TOLERANCE: Final = 1.0
"""How far, in traced pixels, the polygon may leave the outline."""
_CORNERS: Final = 3


def attention_groups(
    header: Dataset, radiograph: Analysed, result: Scored, context: ReportContext
) -> list[list[ContentItem]]:
    """One group for each region, largest share first; none without an attention map."""
    shape = radiograph.shape
    scale = min(1.0, _SIDE / max(shape))
    found = attention_map(result, shape, scale=scale)
    if found is None:
        return []
    outlines = attention_outline(result, shape, ENCLOSED, scale=scale)
    shares = sorted(((_share(found, outline), outline) for outline in outlines), key=lambda one: -one[0])
    drawn = [(share, _polygon(outline, shape, scale)) for share, outline in shares[:MOST]]
    wide = [(share, points) for share, points in drawn if len(set(points)) >= _CORNERS]
    return [_group(header, context, number, *region) for number, region in enumerate(wide, start=1)]


def _group(
    header: Dataset, context: ReportContext, number: int, share: float, points: list[items.Point]
) -> list[ContentItem]:
    source = str(header.SOPInstanceUID)
    tracked = uids.attention_uid(context.installation.namespace, source, number)
    return [
        items.text(codes.TRACKING_ID, f"{_TRACKING} {number}", items.CONTEXT),
        UIDRefContentItem(codes.TRACKING_UID, tracked, items.CONTEXT),
        items.code(codes.FINDING, codes.HIGH_ATTENTION),
        items.number(codes.ATTENTION_SHARE, round(100 * share, 1), codes.PERCENT),
        items.region(points, str(header.SOPClassUID), source),
    ]


def _share(found: AttentionMap, outline: Contour) -> float:
    """Of the whole attention, inside `outline`."""
    inside = np.zeros(found.share.shape, np.uint8)
    cv2.drawContours(inside, [outline - (found.left, found.top)], -1, 1, cv2.FILLED)
    return float(found.share[inside > 0].sum() / found.share.sum())


def _polygon(outline: Contour, shape: tuple[int, ...], scale: float) -> list[items.Point]:
    """Closed corners in pixels of the source image, clipped to it."""
    corners = cv2.approxPolyDP(outline, _TOLERANCE, closed=True)[:, 0, :] / scale
    rows, columns = shape[:2]
    points = [
        (float(np.clip(round(x), 0, columns - 1)), float(np.clip(round(y), 0, rows - 1))) for x, y in corners.tolist()
    ]
    return [*points, points[0]]
