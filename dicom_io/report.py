"""The structured report: a TID 1500 tree as an Enhanced SR document (PS3.3 A.35.2).

Enhanced is the SR class most archives and viewers accept, and the tree needs nothing beyond it. The document is a
device's unverified, preliminary result for research (flags), and times come from `ReportContext.at` alone. No I/O, no
clock, no random number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from highdicom.sr import ContainerContentItem, EnhancedSR
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedSRStorage, ExplicitVRLittleEndian

from dicom_io import codes, uids, versions, wording
from dicom_io.envelope import ReportContext, base_arguments, private_scheme, stamp
from dicom_io.implementation import MODEL_NAME
from dicom_io.outcomes import Statement
from dicom_io.report_tree import report_tree
from dicom_io.statement_tree import StatementEvidence, statement_tree
from model.domain import ModelFacts, Radiograph, Scored

SERIES_NUMBER: Final = 9901


def build_report(
    header: Dataset,
    radiograph: Radiograph,
    result: Scored,
    context: ReportContext,
    *,
    digest: str,
    companions: Sequence[Dataset] = (),
) -> EnhancedSR:
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
    return _document(header, tree, result.model, context, digest=digest, companions=companions, incomplete="")


def build_statement(
    header: Dataset,
    statement: Statement,
    evidence: StatementEvidence,
    context: ReportContext,
    *,
    digest: str,
    companions: Sequence[Dataset] = (),
) -> EnhancedSR:
    """Build the SR that says why there is no score; arguments as in `build_report`.

    Raises:
        ValueError, TypeError: a value cannot be written (not finite, too long).

    """
    tree = statement_tree(header, statement, evidence, context)
    why = wording.headline(statement, language=context.language)
    return _document(header, tree, statement.model, context, digest=digest, companions=companions, incomplete=why)


def _document(
    header: Dataset,
    tree: ContainerContentItem,
    model: ModelFacts,
    context: ReportContext,
    *,
    digest: str,
    companions: Sequence[Dataset],
    incomplete: str,
) -> EnhancedSR:
    """The tree as a document; `incomplete` says why it is PARTIAL, empty for a complete one."""
    namespace, source = context.installation.namespace, str(header.SOPInstanceUID)
    described = wording.series_description(page=False, simulated=model.simulated_training, language=context.language)
    document = EnhancedSR(
        evidence=[header, *companions],
        content=tree,
        series_instance_uid=uids.sr_series_uid(namespace, source),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uids.sop_instance_uid(
            namespace,
            source=source,
            kind="sr",
            sop_class=EnhancedSRStorage,
            digest=digest,
            revision=context.revision,
        ),
        instance_number=context.version,
        is_complete=not incomplete,
        is_final=False,
        is_verified=False,
        series_description=described,
        coding_schemes=[private_scheme()],
        requested_procedures=[_request(header)],
        previous_versions=versions.predecessors(context.amends),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **base_arguments(header, model, context),
    )
    if incomplete:  # highdicom sets PARTIAL without a description (trap H16)
        document.CompletionFlagDescription = incomplete
    _add_companions(document, companions)
    document.AuthorObserverSequence = [_author(context)]
    stamp(document, header, context)
    versions.take_over(document, context.amends)
    return document


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


def _add_companions(document: Dataset, companions: Sequence[Dataset]) -> None:
    """Highdicom lists evidence no content item refers to apart; a companion belongs to the same request."""
    for study in document.get("PertinentOtherEvidenceSequence", []):
        if study.StudyInstanceUID != document.StudyInstanceUID:
            continue
        document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence.extend(
            study.ReferencedSeriesSequence
        )
    if companions and "PertinentOtherEvidenceSequence" in document:
        del document.PertinentOtherEvidenceSequence
