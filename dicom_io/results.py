"""From a scored radiograph to the frozen DICOM objects of its report: built once, checked, then only bytes.

The same header, result and installation give the same UIDs; times alone may differ. A caller that builds twice after a
crash therefore names the same objects, and must send the bytes it stored first (PS3.3 C.12.1.1: one UID, one object).
"""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import warnings
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_io import uids
from dicom_io.envelope import Installation, ReportContext, part10
from dicom_io.page import build_page
from dicom_io.reference_header import reference_header
from dicom_io.report import build_report
from dicom_io.report_check import ReportInvalid, check_report
from model.domain import Radiograph, Scored

__all__ = ["BuiltObject", "Installation", "ReportContext", "ReportInvalid", "build_results"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltObject:
    """One finished object of a report."""

    kind: str
    """`page` or `sr`."""
    sop_class_uid: str
    sop_instance_uid: str
    part10: bytes = dataclasses.field(repr=False)
    """The DICOM file; these bytes are kept, sent and sent again."""


def build_results(
    header: Dataset, radiograph: Radiograph, result: Scored, context: ReportContext
) -> tuple[BuiltObject, ...]:
    """Build and check the objects of one report, in sending order: page first, SR last.

    Args:
        header: the source image's header as received; it is not changed.
        radiograph: the analysed image.
        result: what the model said.
        context: site, installation and time.

    Raises:
        ReportInvalid: the report cannot be built, or breaks a safety invariant; nothing may be sent.

    """
    # The texts of pydicom's and highdicom's warnings and errors quote names and identifiers.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            reference = reference_header(header).dataset
            built = _build(reference, radiograph, result, context)
        except (ValueError, TypeError, AttributeError, IndexError, KeyError, OverflowError) as error:
            raise ReportInvalid([f"cannot be built ({type(error).__name__})"]) from error
        page = built[0].part10 if context.with_page else None
        check_report(built[-1].part10, page, header=reference, result=result, amends=context.amends)
    return built


def _build(
    reference: Dataset, radiograph: Radiograph, result: Scored, context: ReportContext
) -> tuple[BuiltObject, ...]:
    digest = uids.content_digest(_content(reference, result, context))
    if not context.with_page:
        return (_built("sr", build_report(copy.deepcopy(reference), radiograph, result, context, digest=digest)),)
    page = build_page(copy.deepcopy(reference), radiograph, result, context, digest=digest)
    report = build_report(copy.deepcopy(reference), radiograph, result, context, digest=digest, companions=[page])
    return _built("page", page), _built("sr", report)


def _built(kind: str, result_object: Dataset) -> BuiltObject:
    return BuiltObject(
        kind=kind,
        sop_class_uid=str(result_object.SOPClassUID),
        sop_instance_uid=str(result_object.SOPInstanceUID),
        part10=part10(result_object),
    )


def _content(reference: Dataset, result: Scored, context: ReportContext) -> list[object]:
    """Everything that lands in the objects, except the time of the result."""
    timeless = dataclasses.replace(context, at=dt.datetime.min.replace(tzinfo=dt.UTC))
    return [
        str(reference),
        result,
        {f.name: str(getattr(timeless, f.name)) for f in dataclasses.fields(timeless)},
    ]
