"""The structured report: a TID 1500 tree as an Enhanced SR document (PS3.3 A.35.2).

Enhanced is the SR class most archives and viewers accept, and the tree needs nothing beyond it. The document is a
device's unverified, preliminary result for research (flags), and times come from `ReportContext.at` alone. No I/O, no
clock, no random number: an order gives the same bytes in whatever process it is written.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pydicom.dataset import Dataset

from dicom_io import wording
from dicom_io.as_received import finished
from dicom_io.envelope import Reference, ReportContext
from dicom_io.outcomes import Analysed, Statement
from dicom_io.reference_header import ReferenceHeader
from dicom_io.report_tree import report_tree
from dicom_io.sr_document import sr_document
from dicom_io.statement_tree import StatementEvidence, statement_tree
from model.domain import Scored


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOrder:
    """All that the SR of one result is made of; may go to another process."""

    reference: ReferenceHeader
    image: Analysed
    result: Scored
    context: ReportContext
    digest: str
    companions: tuple[Reference, ...]


Write: TypeAlias = Callable[[ReportOrder], Callable[[], bytes]]
"""Begins to write an SR, perhaps elsewhere; what it returns gives the bytes, and raises what `written` raises."""


def written(order: ReportOrder) -> bytes:
    """The Part 10 bytes of the SR.

    Raises:
        ValueError, TypeError: a value cannot be written (not finite, too long).

    """
    header = copy.deepcopy(order.reference.dataset)
    document = build_report(
        header, order.image, order.result, order.context, digest=order.digest, companions=order.companions
    )
    return finished(document, order.reference, order.context)


def write_here(order: ReportOrder) -> Callable[[], bytes]:
    """Write it in this thread, when it is asked for."""
    return functools.partial(written, order)


def build_report(
    header: Dataset,
    image: Analysed,
    result: Scored,
    context: ReportContext,
    *,
    digest: str,
    companions: Sequence[Reference] = (),
) -> Dataset:
    """Build the SR of one result; `header` is a reference header and may share elements with the document (trap H1).

    Args:
        header: clean header of the source image (`reference_header`), the evidence's first instance.
        image: the analysed radiograph.
        result: what the model said.
        context: site, installation and time.
        digest: content digest of everything that lands in the objects except times.
        companions: what is sent along, referenced as evidence.

    Raises:
        ValueError, TypeError: a value cannot be written (not finite, too long).

    """
    tree = report_tree(header, image, result, context)
    return sr_document(header, tree, result.model, context, digest=digest, companions=companions)


def build_statement(
    header: Dataset,
    statement: Statement,
    evidence: StatementEvidence,
    context: ReportContext,
    *,
    digest: str,
    companions: Sequence[Reference] = (),
) -> Dataset:
    """Build the SR that says why there is no score; arguments as in `build_report`.

    Raises:
        ValueError, TypeError: a value cannot be written (not finite, too long).

    """
    tree = statement_tree(header, statement, evidence, context)
    why = wording.headline(statement, language=context.language)
    return sr_document(header, tree, statement.model, context, digest=digest, companions=companions, incomplete=why)
