"""The same structured report in another SR class, for a destination that does not take the frozen one.

The content tree stays inside the Enhanced subset (`dicom_io.report_tree`), which all three classes allow (PS3.3 A.35.2,
A.35.3, A.35.13), so a class is only a name here: two UIDs change and not one item of content. The object is another one
nonetheless and gets a UID of its own, a function of the frozen one's (PS3.5 B.2), so that trying again names the same.
Only pydicom: this runs in the sending process, which never loads highdicom.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from types import MappingProxyType
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

SR_CLASSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "enhanced": str(EnhancedSRStorage),
        "comprehensive": str(ComprehensiveSRStorage),
        "comprehensive3d": str(Comprehensive3DSRStorage),
    }
)
"""SOP Class UID by the name a setting gives it; the most widely taken first (structured-report.md section 2)."""
_UUID_ROOT: Final = "2.25."


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassedSr:
    """A structured report as one destination gets it."""

    sop_class_uid: str
    sop_instance_uid: str
    part10: bytes = field(repr=False)


def in_class(part10: bytes, sop_class_uid: str, *, earlier: Mapping[str, tuple[str, str]] | None = None) -> ClassedSr:
    """Give a frozen SR in the class `sop_class_uid`: in its own, and with nothing to rewrite, the bytes as they are.

    Args:
        part10: the frozen document.
        sop_class_uid: one of `SR_CLASSES`.
        earlier: frozen SOP Instance UID of earlier versions -> SOP class and instance UID under which this destination
            has them, so that the Predecessor Documents Sequence names what is really there.

    Raises:
        ValueError: `part10` is no SR of one of the classes and of the node's making, or the class wanted is none.

    """
    if sop_class_uid not in SR_CLASSES.values():
        msg = "not one of the three SR classes"
        raise ValueError(msg)
    document = dcmread(BytesIO(part10))
    if str(document.SOPClassUID) not in SR_CLASSES.values():
        msg = "not a structured report"
        raise ValueError(msg)
    rewritten = _rewrite_predecessors(document, earlier or {})
    frozen = str(document.SOPInstanceUID)
    if sop_class_uid == document.SOPClassUID and not rewritten:
        return ClassedSr(sop_class_uid=sop_class_uid, sop_instance_uid=frozen, part10=part10)
    instance = _uid(frozen, sop_class_uid, rewritten)
    document.SOPClassUID = document.file_meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    document.SOPInstanceUID = document.file_meta.MediaStorageSOPInstanceUID = UID(instance)
    return ClassedSr(sop_class_uid=sop_class_uid, sop_instance_uid=instance, part10=_bytes(document))


def _rewrite_predecessors(document: Dataset, earlier: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """Name each predecessor as it was sent; the UIDs that differ from the frozen ones."""
    references = (
        reference
        for study in document.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    )
    rewritten: list[str] = []
    for reference in references:
        sop_class, instance = earlier.get(str(reference.ReferencedSOPInstanceUID), ("", ""))
        if instance and instance != reference.ReferencedSOPInstanceUID:
            reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = UID(sop_class), UID(instance)
            rewritten.append(instance)
    return tuple(rewritten)


def _uid(frozen: str, sop_class: str, predecessors: tuple[str, ...]) -> str:
    """UUIDv5 below the frozen object's own UUID: no other key can meet it."""
    if not frozen.startswith(_UUID_ROOT):
        msg = "not a UID of the node's own making"
        raise ValueError(msg)
    name = json.dumps([sop_class, *predecessors], separators=(",", ":"))
    return f"{_UUID_ROOT}{uuid.uuid5(uuid.UUID(int=int(frozen.removeprefix(_UUID_ROOT))), name).int}"


def _bytes(document: FileDataset) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, document, enforce_file_format=True)
    return buffer.getvalue()
