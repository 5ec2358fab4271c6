"""The IOCM rejection note: a Key Object Selection that tells one archive which objects no longer hold (RAD TF-1, IOCM).

It names every object of a version that the archive has or may have, in the class it was really sent in; an archive that
holds another class refuses the note (dcm4chee-arc A773). The reason travels as text. A rejected UID is burnt: archives
may never take the object again (RAD TF-3 4.66.4.2.3.1), so a note is a person's decision. Only the two titles that a
node may give are here; what concerns work lists or retention (113038, 113039) is not Osteon's to say.
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final

from highdicom.ko import KeyObjectSelectionDocument
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicom_io import codes, uids, wording
from dicom_io.as_received import finished
from dicom_io.document_check import ReportInvalid
from dicom_io.envelope import ReportContext, base_arguments, companion_reference, stamp
from dicom_io.key_objects import key_object_tree, without_purposes
from dicom_io.results import BuiltObject, building
from dicom_io.sr_class import SR_CLASSES
from dicom_io.withdrawal import Earlier, qualified, read_earlier, stated_reason

SERIES_NUMBER: Final = 9990


class Rejection(enum.StrEnum):
    """Why objects are rejected."""

    PATIENT_SAFETY = "patient-safety"
    """Wrong patient joined, wrong model, fault of the software."""
    QUALITY = "quality"
    """The source image is inadequate, or itself rejected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentVersion:
    """What one archive has, or may have, of one version."""

    sr: bytes = field(repr=False)
    """The frozen SR of the version."""
    objects: tuple[tuple[str, str], ...]
    """SOP class and instance UID of each object as sent; at least one."""


_TITLES: Final = {
    Rejection.PATIENT_SAFETY: codes.REJECTED_FOR_SAFETY,
    Rejection.QUALITY: codes.REJECTED_FOR_QUALITY,
}


def build_rejection_note(
    sent: Sequence[SentVersion], *, title: Rejection, reason: str, context: ReportContext
) -> BuiltObject:
    """Build the note for one archive; archives that hold the same objects get the same note.

    Args:
        sent: the versions rejected there, oldest first.
        title: the note's document title.
        reason: a person's words, as for `results.build_withdrawal`.
        context: that of the withdrawal.

    Raises:
        ReportInvalid: nothing to reject, an object that the version's SR does not know, or an unusable reason.

    """
    with building():
        said = stated_reason(reason)
        earlier = read_earlier(sent[-1].sr)
        context = qualified(context, earlier)
        header = earlier.reference.dataset
        objects = [one for version in sent for one in _references(version, header)]
        if not objects:
            raise ReportInvalid(["nothing to reject"])
        note = _document(objects, earlier, title, said, context)
        built = BuiltObject(
            kind="note",
            sop_class_uid=str(note.SOPClassUID),
            sop_instance_uid=str(note.SOPInstanceUID),
            part10=finished(note, earlier.reference, context),
        )
        _check(built.part10, objects, header)
        return built


def _references(version: SentVersion, header: Dataset) -> list[Dataset]:
    """Each object with its UIDs and the patient and study, as highdicom wants its evidence."""
    earlier = read_earlier(version.sr)
    return [_object(header, earlier, sop_class, instance) for sop_class, instance in version.objects]


def _object(header: Dataset, earlier: Earlier, sop_class: str, instance: str) -> Dataset:
    """Companions stand in the SR's evidence with their series; the SR is known by its class, whatever its UID there."""
    series = earlier.companions.get(instance)
    if series is None and sop_class in SR_CLASSES.values():
        series = earlier.series
    if series is None:
        raise ReportInvalid(["I7 the note names an object that the report does not know"])
    found = copy.deepcopy(header)
    found.SOPClassUID, found.SOPInstanceUID, found.SeriesInstanceUID = sop_class, instance, series
    for keyword in ("Rows", "Columns"):  # by these highdicom tells IMAGE from COMPOSITE
        if sop_class == SecondaryCaptureImageStorage:
            setattr(found, keyword, 1)
        elif keyword in found:
            del found[keyword]
    return found


def _document(
    objects: Sequence[Dataset], earlier: Earlier, title: Rejection, reason: str, context: ReportContext
) -> KeyObjectSelectionDocument:
    header = earlier.reference.dataset
    rejected = sorted([str(one.SOPClassUID), str(one.SOPInstanceUID)] for one in objects)
    digest = uids.content_digest([title, reason, rejected, context.language])
    named = companion_reference(header, "note", context, digest=digest)
    note = KeyObjectSelectionDocument(
        evidence=list(objects),
        content=key_object_tree(objects, title=_TITLES[title], description=reason, context=context),
        series_instance_uid=named.series,
        series_number=SERIES_NUMBER,
        sop_instance_uid=named.instance,
        instance_number=1,
        series_description=wording.companion_series(
            "note", simulated=earlier.model.simulated_training, language=context.language
        ),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **base_arguments(header, earlier.model, context),
    )
    without_purposes(note)
    note.copy_patient_and_study_information(header)
    stamp(note, header, context)
    return note


def _check(note: bytes, objects: Sequence[Dataset], header: Dataset) -> None:
    """Read the bytes back: they name exactly the objects, with their classes, for the same patient and study."""
    document = dcmread(BytesIO(note))
    KeyObjectSelectionDocument.from_dataset(document)
    named = {
        (r.ReferencedSOPClassUID, r.ReferencedSOPInstanceUID)
        for item in document.ContentSequence
        for r in item.get("ReferencedSOPSequence", [])
    }
    if named != {(one.SOPClassUID, one.SOPInstanceUID) for one in objects}:
        raise ReportInvalid(["I7 the note does not name what was sent"])
    if any(str(document.get(k) or "") != str(header.get(k) or "") for k in ("PatientID", "StudyInstanceUID")):
        raise ReportInvalid(["I7 the note is about somebody else"])
