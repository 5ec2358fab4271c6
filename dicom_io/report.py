"""The structured report: a TID 1500 tree as an Enhanced SR document (PS3.3 A.35.2).

Enhanced is the SR class most archives and viewers accept, and the tree needs nothing beyond it. The document is a
device's unverified, preliminary result for research (flags), and times come from `ReportContext.at` alone. No I/O, no
clock, no random number.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from dicom_io import wording
from dicom_io.envelope import ReportContext
from dicom_io.outcomes import Statement
from dicom_io.report_tree import report_tree
from dicom_io.sr_document import sr_document
from dicom_io.statement_tree import StatementEvidence, statement_tree
from model.domain import Radiograph, Scored


def build_report(
    header: Dataset,
    radiograph: Radiograph,
    result: Scored,
    context: ReportContext,
    *,
    digest: str,
    companions: Sequence[Dataset] = (),
) -> Dataset:
    """Build the SR of one result; `header` is a reference header and may share elements with the document (trap H1).

    Args:
        header: clean header of the source image (`reference_header`), the evidence's first instance.
        radiograph: the analysed image.
        result: what the model said.
        context: site, installation and time.
        digest: content digest of everything that lands in the objects except times.
        companions: objects sent along, referenced as evidence.

    Raises:
        ValueError, TypeError: a value cannot be written (not finite, too long).

    """
    tree = report_tree(header, radiograph, result, context)
    return sr_document(header, tree, result.model, context, digest=digest, companions=companions)


def build_statement(
    header: Dataset,
    statement: Statement,
    evidence: StatementEvidence,
    context: ReportContext,
    *,
    digest: str,
    companions: Sequence[Dataset] = (),
) -> Dataset:
    """Build the SR that says why there is no score; arguments as in `build_report`.

    Raises:
        ValueError, TypeError: a value cannot be written (not finite, too long).

    """
    tree = statement_tree(header, statement, evidence, context)
    why = wording.headline(statement, language=context.language)
    return sr_document(header, tree, statement.model, context, digest=digest, companions=companions, incomplete=why)
