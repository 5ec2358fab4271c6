"""What a site may ask for beside page and SR: which objects, in sending order.

Each has a series of its own with its own number; 9901 is the SR's, 9902 the page's, 9990 a rejection note's. Their
names are known before they are made, so that the SR can be written at the same time.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from pydicom.dataset import Dataset

from dicom_io.encapsulated_pdf import build_pdf
from dicom_io.envelope import Companion, Reference, ReportContext, companion_reference
from dicom_io.heat_map import build_heat_map
from dicom_io.key_objects import build_key_objects
from dicom_io.presentation_state import build_presentation_state
from model.domain import Radiograph, Scored


def named_companions(
    header: Dataset, context: ReportContext, *, digest: str, more: Sequence[Companion] = ()
) -> tuple[Reference, ...]:
    """The page, where `context` asks for one, and `more`; arguments as of `build_companions`."""
    kinds = (*(("page",) if context.with_page else ()), *more)
    return tuple(companion_reference(header, kind, context, digest=digest) for kind in kinds)


def build_companions(
    header: Dataset,
    radiograph: Radiograph,
    result: Scored,
    context: ReportContext,
    *,
    digest: str,
    page: Dataset | None,
) -> list[tuple[str, Dataset]]:
    """Kind and object of every companion that `context` asks for.

    Args:
        header: clean header of the source image; it is copied for each (trap H1).
        radiograph: the analysed image.
        result: what the model said.
        context: site, installation, time and wishes.
        digest: content digest of everything that lands in the objects except times.
        page: the page, where there is one, for the key objects to point at.

    """
    return [
        (kind.value, _build(kind, copy.deepcopy(header), radiograph, result, context, digest=digest, page=page))
        for kind in context.companions
    ]


def _build(
    kind: Companion,
    header: Dataset,
    radiograph: Radiograph,
    result: Scored,
    context: ReportContext,
    *,
    digest: str,
    page: Dataset | None,
) -> Dataset:
    match kind:
        case Companion.HEAT_MAP:
            return build_heat_map(header, radiograph, result, context, digest=digest)
        case Companion.GSPS:
            return build_presentation_state(header, radiograph, result, context, digest=digest)
        case Companion.PDF:
            return build_pdf(header, radiograph, result, context, digest=digest)
        case Companion.KOS:
            return build_key_objects(header, page, result.model, context, digest=digest)
