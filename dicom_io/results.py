"""From an image and what is to be said of it to the frozen DICOM objects of a report: built once, checked, then bytes.

The same header, outcome and installation give the same UIDs; times alone may differ. A caller that builds twice after a
crash therefore names the same objects, and must send the bytes it stored first (PS3.3 C.12.1.1: one UID, one object).
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import datetime as dt
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from dicom_io import page as pages
from dicom_io import uids, withdrawal
from dicom_io.as_received import finished
from dicom_io.companions import build_companions, named_companions
from dicom_io.document_check import ReportInvalid
from dicom_io.envelope import Companion, Installation, ReportContext
from dicom_io.outcomes import ImageFacts, NotAnalysed, Statement, Withdrawn
from dicom_io.reference_header import ReferenceHeader, reference_header
from dicom_io.report import ReportOrder, Write, build_statement, write_here
from dicom_io.report_check import check_report
from dicom_io.sr_document import sr_reference
from dicom_io.statement_check import check_statement
from dicom_io.statement_tree import StatementEvidence, evidence_of_image
from model.domain import ModelFacts, Radiograph, Reason, Scored

__all__ = [
    "BuiltObject",
    "Companion",
    "Installation",
    "ReportContext",
    "ReportInvalid",
    "build_not_analysed",
    "build_results",
    "build_withdrawal",
]


_WHAT_BUILDERS_RAISE: Final = (
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    RuntimeError,
    StopIteration,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltObject:
    """One finished object of a report."""

    kind: str
    """`page`, a companion's, or `sr`."""
    sop_class_uid: str
    sop_instance_uid: str
    part10: bytes = dataclasses.field(repr=False)
    """The DICOM file; these bytes are kept, sent and sent again."""


def build_results(
    header: Dataset, radiograph: Radiograph, result: Scored, context: ReportContext, write: Write = write_here
) -> tuple[BuiltObject, ...]:
    """Build and check the objects of one report, in sending order: page first, companions, SR last.

    Args:
        header: the source image's header as received; it is not changed.
        radiograph: the analysed image.
        result: what the model said.
        context: site, installation and time.
        write: writes the SR, perhaps elsewhere while the page is drawn here.

    Raises:
        ReportInvalid: the report cannot be built, or breaks a safety invariant; nothing may be sent.

    """
    with building():
        reference = reference_header(header)
        digest = _digest(reference, result, context)
        clean = reference.dataset
        order = ReportOrder(
            reference=reference,
            image=ImageFacts(shape=radiograph.shape, sex=radiograph.sex),
            result=result,
            context=context,
            digest=digest,
            companions=named_companions(clean, context, digest=digest, more=context.companions),
        )
        sr = write(order)
        page = (
            pages.build_page(copy.deepcopy(clean), radiograph, result, context, digest=digest)
            if context.with_page
            else None
        )
        companions = [
            *_kinds(page),
            *build_companions(clean, radiograph, result, context, digest=digest, page=page),
        ]
        built = (*_frozen(companions, reference, context), _document(clean, sr(), context, digest))
        check_report(built[-1].part10, _bytes(built), reference=reference, result=result, context=context)
    return built


def build_not_analysed(
    header: Dataset, reasons: tuple[Reason, ...], model: ModelFacts, context: ReportContext
) -> tuple[BuiltObject, ...]:
    """Build and check the objects that say why an image was not analysed; `model` is the one that would have spoken.

    Raises:
        ReportInvalid: as for `build_results`; an image without a stated size cannot be spoken of.

    """
    with building():
        reference = reference_header(header)
        evidence = evidence_of_image(reference.dataset, model)
        return _statement(reference, NotAnalysed(reasons=reasons, model=model), evidence, context)


def build_withdrawal(newest_sr: bytes, reason: str, context: ReportContext) -> tuple[BuiltObject, ...]:
    """Build and check the objects that take a result back, in its own series.

    The frozen SR is all it needs of image, patient and model: an image is gone after its retention, a wrong result is
    not. It is the next version of the report, and raises the revision of every UID after it.

    Args:
        newest_sr: the frozen SR of the newest version that has one.
        reason: a person's words, one line, at most 1024 characters.
        context: site, installation and time; `amends` as for any further version.

    Raises:
        ReportInvalid: as for `build_results`; also for a reason that is empty, too long, or reads as a diagnosis.

    """
    with building():
        said = withdrawal.stated_reason(reason)
        earlier = withdrawal.read_earlier(newest_sr)
        raised = withdrawal.qualified(withdrawal.raise_revision(context), earlier)
        return _statement(earlier.reference, Withdrawn(reason=said, model=earlier.model), earlier.evidence, raised)


def _statement(
    reference: ReferenceHeader, statement: Statement, evidence: StatementEvidence, context: ReportContext
) -> tuple[BuiltObject, ...]:
    digest = _digest(reference, statement, context)
    clean = reference.dataset
    page = (
        pages.build_statement_page(copy.deepcopy(clean), statement, context, digest=digest)
        if context.with_page
        else None
    )
    named = named_companions(clean, context, digest=digest)
    report = build_statement(copy.deepcopy(clean), statement, evidence, context, digest=digest, companions=named)
    sr = _document(clean, finished(report, reference, context), context, digest)
    built = (*_frozen(_kinds(page), reference, context), sr)
    check_statement(built[-1].part10, _bytes(built), reference=reference, statement=statement, context=context)
    return built


@contextlib.contextmanager
def building() -> Iterator[None]:
    """Turn what a builder raises into ReportInvalid.

    Errors and warnings of pydicom and highdicom quote names and identifiers; only their kind is kept.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            yield
        except _WHAT_BUILDERS_RAISE as error:
            raise ReportInvalid([f"cannot be built ({type(error).__name__})"]) from error


def _kinds(page: Dataset | None) -> list[tuple[str, Dataset]]:
    return [] if page is None else [("page", page)]


def _frozen(
    objects: Sequence[tuple[str, Dataset]], reference: ReferenceHeader, context: ReportContext
) -> tuple[BuiltObject, ...]:
    return tuple(
        BuiltObject(
            kind=kind,
            sop_class_uid=str(one.SOPClassUID),
            sop_instance_uid=str(one.SOPInstanceUID),
            part10=finished(one, reference, context),
        )
        for kind, one in objects
    )


def _document(header: Dataset, part10: bytes, context: ReportContext, digest: str) -> BuiltObject:
    named = sr_reference(header, context, digest=digest)
    return BuiltObject(kind="sr", sop_class_uid=named.sop_class, sop_instance_uid=named.instance, part10=part10)


def _bytes(built: Sequence[BuiltObject]) -> dict[str, bytes]:
    """What is sent beside the SR, by kind."""
    return {one.kind: one.part10 for one in built[:-1]}


def _digest(reference: ReferenceHeader, outcome: Scored | Statement, context: ReportContext) -> str:
    """Over everything that lands in the objects, except the time of the result."""
    timeless = dataclasses.replace(context, at=dt.datetime.min.replace(tzinfo=dt.UTC))
    return uids.content_digest(
        [
            str(reference.dataset),
            list(reference.raw),
            list(reference.charset),
            outcome,
            {f.name: str(getattr(timeless, f.name)) for f in dataclasses.fields(timeless)},
        ]
    )
