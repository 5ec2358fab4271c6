"""What every finished report must satisfy, whatever it says: the walker's part that scores and statements share.

Nothing the builder or highdicom holds is trusted: everything is looked up in the bytes read back. Invariants by their
numbers in design/structured-report.md section 13; I0 is what must hold before one can speak of content at all.

    DicomIoError
    `-- ReportInvalid   a bug, ours or the model's: the case is parked, nothing is sent
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

import highdicom as hd
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sr.coding import Code

from dicom_io import codes, wording
from dicom_io.content_items import concept, walk
from dicom_io.envelope import ReportContext
from dicom_io.errors import DicomIoError
from dicom_io.implementation import MODEL_NAME
from dicom_io.reference_header import ReferenceHeader
from dicom_io.words import Language

FULL: Final = 100.0
_IDENTITY: Final = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
_NAMES: Final = {c.value for c in (codes.DEVICE_NAME, codes.DEVICE_SERIAL, codes.DATA_SOURCE)}
"""Identifiers the site chose, not sentences of ours."""
_IN_ENHANCED: Final = {
    "CONTAINER": {"CONTAINS"},
    "IMAGE": {"CONTAINS", "SELECTED FROM"},
    "SCOORD": {"CONTAINS"},
    "NUM": {"CONTAINS", "HAS ACQ CONTEXT"},
    "CODE": {"CONTAINS", "HAS CONCEPT MOD", "HAS OBS CONTEXT", "HAS ACQ CONTEXT", "HAS PROPERTIES"},
    "TEXT": {"CONTAINS", "HAS CONCEPT MOD", "HAS OBS CONTEXT", "HAS ACQ CONTEXT", "HAS PROPERTIES"},
    "UIDREF": {"HAS OBS CONTEXT", "CONTAINS", "HAS ACQ CONTEXT"},
    "DATE": {"CONTAINS", "HAS ACQ CONTEXT"},
    "TIME": {"CONTAINS", "HAS ACQ CONTEXT"},
}
"""Value types and relations the node uses, all of them in Enhanced SR (PS3.3 A.35.2.3.1)."""
_TITLES: Final = ("ContentDescription", "DocumentTitle")
"""Beside the Series Description, what lists and viewers show of a presentation state or a document."""
_OF_CONTAINERS: Final = ("CONTAINS", "HAS OBS CONTEXT")


class ReportInvalid(DicomIoError):
    """A finished report breaks its own rules. `broken` lists the invariants; nothing of the report may be sent."""

    def __init__(self, broken: list[str]) -> None:
        super().__init__("; ".join(broken))
        self.broken = tuple(broken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A report as its bytes say it."""

    document: Any
    """The SR, read by highdicom."""
    items: list[Dataset]
    """Every content item of it, in tree order."""
    companions: Mapping[str, Dataset]
    """The other objects by kind."""
    _by_concept: Mapping[tuple[str, str] | None, list[Dataset]] = field(repr=False)

    def named(self, name: Code) -> list[Dataset]:
        """Every content item whose concept is `name`, in tree order."""
        return self._by_concept.get((name.value, name.scheme_designator), [])

    @property
    def objects(self) -> tuple[Dataset, ...]:
        """All of them."""
        return (self.document, *self.companions.values())


def read_back(sr: bytes, companions: Mapping[str, bytes]) -> Finished:
    """Read the Part 10 bytes of a report.

    Raises:
        ReportInvalid: they cannot be read.

    """
    try:
        document = hd.sr.srread(BytesIO(sr))
        others = {kind: dcmread(BytesIO(part10)) for kind, part10 in companions.items()}
    except Exception as error:  # any failure to read back what was written makes the report unusable
        raise ReportInvalid([f"I0 cannot be read back ({type(error).__name__})"]) from error
    items, by_concept = list(walk(document)), defaultdict(list)
    for item in items:
        by_concept[concept(item)].append(item)
    return Finished(document=document, items=items, companions=others, _by_concept=by_concept)


def common(finished: Finished, *, reference: ReferenceHeader, context: ReportContext, simulated: bool) -> Iterator[str]:
    """Broken invariants that have nothing to do with what the report says."""
    yield from _structure(finished)
    yield from _phrases(finished)
    yield from _disclaimers(finished, context, simulated=simulated)
    yield from _flags(finished, context, simulated=simulated)
    yield from _regions(finished, reference.dataset)
    yield from _identity(finished, reference, context)
    yield from _references(finished)
    yield from _versions(finished, context)
    if any(one.SOPInstanceUID == reference.dataset.SOPInstanceUID for one in finished.objects):
        yield "I11 an object carries the UID of the source image"


def texts(items: Iterable[Dataset]) -> str:
    """The texts of TEXT items, one after the other."""
    return " ".join(str(item.TextValue) for item in items)


def _structure(finished: Finished) -> Iterator[str]:
    """Enhanced-legal and SEPARATE: what makes the tree valid in all three classes and readable in plain renderers."""
    for parent in (finished.document, *finished.items):
        for item in parent.get("ContentSequence", []):
            allowed = _IN_ENHANCED.get(str(item.get("ValueType", "")), set())
            in_container = parent.ValueType == "CONTAINER" or item.RelationshipType not in _OF_CONTAINERS
            if item.RelationshipType not in allowed or not in_container:
                yield f"I0 {item.get('ValueType')} by {item.RelationshipType} is no Enhanced SR"
    containers = [one for one in (finished.document, *finished.items) if one.ValueType == "CONTAINER"]
    if any(one.ContinuityOfContent != "SEPARATE" for one in containers):
        yield "I0 a container is not SEPARATE"


def _phrases(finished: Finished) -> Iterator[str]:
    """I1: no text that reads as a clean bill of health or as a diagnosis."""
    for item in finished.items:
        name = item.ConceptNameCodeSequence[0].get("CodeValue") if "ConceptNameCodeSequence" in item else None
        if "TextValue" in item and name not in _NAMES and wording.forbidden(item.TextValue):
            yield f"I1 forbidden wording in {name}"


def _disclaimers(finished: Finished, context: ReportContext, *, simulated: bool) -> Iterator[str]:
    """I4: the disclaimer, and the simulated-training statement, wherever a reader may look."""
    language = context.language
    for name in (codes.COMMENT, codes.DISCLAIMER):
        text = texts(finished.named(name))
        told = wording.disclaimer(language) in text
        if not told or (simulated and wording.simulated_training(language) not in text):
            yield f"I4 disclaimer missing in {name.value}"
    own = wording.series_description(simulated=simulated, language=language)
    of_series = (None if context.amends is None else context.amends.series_description) or own
    if finished.document.get("SeriesDescription") != of_series:
        yield "I4 disclaimer missing in Series Description"
    if simulated and not any(wording.simulated_training(spoken) in of_series for spoken in Language):
        yield "I4 the series of the earlier versions does not say that the training was simulated"
    for kind, one in finished.companions.items():
        of_kind = wording.companion_series(kind, context.version, simulated=simulated, language=language)
        if one.get("SeriesDescription") != of_kind:
            yield f"I4 disclaimer missing in Series Description of the {kind}"
        for title in _TITLES:
            if simulated and title in one and wording.simulated_training(language) not in str(one[title].value):
                yield f"I4 simulated training missing in {title} of the {kind}"


def _flags(finished: Finished, context: ReportContext, *, simulated: bool) -> Iterator[str]:
    """I5: a device's result nobody verified, for research unless the site stated why it is a product.

    A withdrawal is qualified as the report it takes back (`dicom_io.withdrawal.qualified`).
    """
    document = finished.document
    if (document.VerificationFlag, document.PreliminaryFlag) != ("UNVERIFIED", "PRELIMINARY"):
        yield "I5 must be UNVERIFIED and PRELIMINARY"
    if any(one.get("ContentQualification") != context.content_qualification for one in finished.objects):
        yield f"I5 Content Qualification must be {context.content_qualification}"
    if context.content_qualification == "PRODUCT" and not context.product_reason:
        yield "I5 PRODUCT without its reason"
    if context.content_qualification == "PRODUCT" and simulated:
        yield "I5 simulated training is no PRODUCT"


def _regions(finished: Finished, header: Dataset) -> Iterator[str]:
    """I6: every group has one closed region inside the image."""
    groups = finished.named(codes.MEASUREMENT_GROUP)
    if not groups:
        yield "I6 no measurement group"
    for group in groups:
        regions = [i for i in group.ContentSequence if i.ValueType == "SCOORD"]
        if len(regions) != 1:
            yield "I6 a group must have one region"
            continue
        data = [float(v) for v in regions[0].GraphicData]
        xs, ys = data[0::2], data[1::2]
        if len(xs) < 4 or (xs[0], ys[0]) != (xs[-1], ys[-1]):  # noqa: PLR2004 - a triangle, closed
            yield "I6 region is not closed"
        columns, rows = header.get("Columns") or math.inf, header.get("Rows") or math.inf
        if min(data) < 0 or max(xs) > columns or max(ys) > rows:
            yield "I6 region leaves the image"


def _identity(finished: Finished, reference: ReferenceHeader, context: ReportContext) -> Iterator[str]:
    """I7: patient and study are the source image's, and the object is known as our own."""
    raw = dict(reference.raw) if context.restore_raw_header else {}
    for one in finished.objects:
        for keyword in _IDENTITY:
            wanted = raw.get(keyword, str(reference.dataset.get(keyword) or ""))
            if _written(one.get(keyword)) != wanted:
                yield f"I7 {keyword} differs from the source image"
        if one.get("ManufacturerModelName") != MODEL_NAME:
            yield "I7 object cannot be recognised as our own"


def _written(found: object) -> str:
    """An element's text; several values as they stand in the file."""
    if found is None:
        return ""
    return "\\".join(map(str, found)) if isinstance(found, MultiValue) else str(found)


def _references(finished: Finished) -> Iterator[str]:
    """I7: every reference, and every object sent along, is in the evidence."""
    evidence = {str(entry[2]) for entry in finished.document.get_evidence()}
    wanted = {str(r.ReferencedSOPInstanceUID) for i in finished.items for r in i.get("ReferencedSOPSequence", [])}
    wanted |= {str(one.SOPInstanceUID) for one in finished.companions.values()}
    if not wanted or not wanted <= evidence:
        yield "I7 a referenced object is missing in the evidence"


def _versions(finished: Finished, context: ReportContext) -> Iterator[str]:
    """I7: an amended document says which ones it takes the place of, and comes after them."""
    document, amends = finished.document, context.amends
    found = {
        str(r.ReferencedSOPInstanceUID)
        for study in document.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for r in series.ReferencedSOPSequence
    }
    if found != (set() if amends is None else {instance for _, instance, _, _ in amends.predecessors}):
        yield "I7 predecessor documents are not the released versions"
    if int(document.InstanceNumber) != context.version:
        yield "I7 Instance Number is not the version"
