"""What every result object has in common: who made it, when, for which study; and its Part 10 bytes.

`ReportContext.at` is the only clock. TimezoneOffsetFromUTC (0008,0201) applies to every date of an object, the copied
Study Time too (PS3.3 C.12.1.1): Osteon's own times are therefore converted into the source's offset, never the reverse.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
)
from pydicom.valuerep import DA, TM

from dicom_io import codes, uids, wording
from dicom_io.dicom_time import parse_offset
from dicom_io.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, MODEL_NAME
from dicom_io.versions import Amends
from dicom_io.words import Language
from model.domain import ModelFacts

_SHA_SHOWN: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Identity of one installation: made once, shared by its workers, part of the backup."""

    namespace: uuid.UUID
    serial: str
    """Device Serial Number (0018,1000)."""


class Companion(enum.StrEnum):
    """Objects a site may ask for beside SR and page; the value is their kind in the ledger."""

    HEAT_MAP = "heat-map"
    GSPS = "gsps"
    PDF = "pdf"
    KOS = "kos"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContext:
    """Everything a report depends on beside the image and its result."""

    site_name: str
    zone: ZoneInfo
    """Zone of DICOM times that state no offset."""
    ae_title: str
    installation: Installation
    node_version: str
    at: dt.datetime
    """Time of the result, aware."""
    with_page: bool = True
    """Build the Secondary Capture page beside the SR."""
    companions: tuple[Companion, ...] = ()
    """What else is built beside SR and page, in sending order; nothing by default."""
    language: Language = Language.ENGLISH
    """Language of the sentences; codes and their meanings stay English."""
    attention_regions: bool = False
    """Add the regions of high model attention to the SR."""
    content_qualification: Literal["RESEARCH", "PRODUCT"] = "RESEARCH"
    """Content Qualification (0018,9004) of every object."""
    product_reason: str = ""
    """Why PRODUCT may be said; without it, it may not."""
    inherit_charset: bool = False
    """Write objects in the image's character set where it holds all their texts; else always ISO_IR 192."""
    restore_raw_header: bool = False
    """Put the image's own patient and study strings back, also those that break a rule of the standard."""
    amends: Amends | None = None
    """What a further version takes over from those before it; None for the first report of an image."""

    def __post_init__(self) -> None:
        """Refuse a naive time: it would be read in whatever zone the reader is in."""
        if self.at.tzinfo is None:
            msg = "ReportContext.at must be aware"
            raise ValueError(msg)

    @property
    def version(self) -> int:
        """Number of the report's version, from 1."""
        return 1 if self.amends is None else self.amends.version

    @property
    def revision(self) -> int:
        """How often a result of the image was withdrawn: a rejected UID is burnt, so it goes into every UID."""
        return 0 if self.amends is None else self.amends.revision


class Reference(NamedTuple):
    """What names an object in the evidence of another (PS3.3 C.17.2.1)."""

    sop_class: str
    instance: str
    study: str
    series: str


_SOP_CLASSES: Final[dict[str, str]] = {
    "page": SecondaryCaptureImageStorage,
    Companion.HEAT_MAP: SecondaryCaptureImageStorage,
    Companion.GSPS: GrayscaleSoftcopyPresentationStateStorage,
    Companion.PDF: EncapsulatedPDFStorage,
    Companion.KOS: KeyObjectSelectionDocumentStorage,
    "note": KeyObjectSelectionDocumentStorage,
}
"""By kind in the ledger: everything that is sent beside an SR."""


def companion_reference(header: Dataset, kind: str, context: ReportContext, *, digest: str) -> Reference:
    """The name of what is sent beside the SR, known before it is made. `digest`: of everything that lands in it."""
    namespace, source, sop_class = context.installation.namespace, str(header.SOPInstanceUID), _SOP_CLASSES[kind]
    instance = uids.sop_instance_uid(
        namespace, source=source, kind=kind, sop_class=sop_class, digest=digest, revision=context.revision
    )
    series = uids.companion_series_uid(namespace, source, kind, context.version)
    return Reference(sop_class, instance, str(header.StudyInstanceUID), series)


def base_arguments(header: Dataset, model: ModelFacts, context: ReportContext) -> dict[str, Any]:
    """Keyword arguments of highdicom's `SOPClass` that are the same for every result object."""
    moment = local_time(header, context)
    return {
        "manufacturer": wording.MANUFACTURER,
        "manufacturer_model_name": MODEL_NAME,
        "device_serial_number": context.installation.serial,
        "software_versions": software_versions(model, context),
        "institution_name": context.site_name[: codes.MAX_MEANING],
        "content_qualification": context.content_qualification,
        "specific_character_set": "ISO_IR 192",
        "content_date": moment.date(),
        "content_time": moment.time(),
        "series_date": moment.date(),
        "series_time": moment.time(),
    }


def software_versions(model: ModelFacts, context: ReportContext) -> list[str]:
    """Software Versions (0018,1020): the node's and the model's, which carries the start of its hash."""
    return [
        f"node {context.node_version}"[: codes.MAX_MEANING],
        f"model {model.version} sha256:{model.image_sha256[:_SHA_SHOWN]}"[: codes.MAX_MEANING],
    ]


def private_scheme() -> CodingSchemeIdentificationItem:
    """Declares `99OSTEON` (PS3.3 C.12.1.1.1)."""
    return CodingSchemeIdentificationItem(
        designator=codes.PRIVATE_SCHEME,
        name=codes.PRIVATE_SCHEME_NAME,
        responsible_organization=wording.MANUFACTURER,
    )


def stamp(result_object: Dataset, header: Dataset, context: ReportContext) -> None:
    """Replace every `datetime.now()` highdicom wrote (trap H13) and state the zone of all times."""
    moment = local_time(header, context)
    result_object.InstanceCreationDate = DA(moment.date())
    result_object.InstanceCreationTime = TM(moment.time())
    result_object.TimezoneOffsetFromUTC = moment.strftime("%z")
    purpose = codes.ACQUISITION_EQUIPMENT.value
    for item in result_object.get("ContributingEquipmentSequence", []):
        if item.PurposeOfReferenceCodeSequence[0].CodeValue != purpose:
            item.ContributionDateTime = datetime_text(moment)


def local_time(header: Dataset, context: ReportContext) -> dt.datetime:
    """`context.at`, to the second, in the offset that holds for the source's own times."""
    return context.at.astimezone(_offset(header, context)).replace(microsecond=0)


def datetime_text(moment: dt.datetime) -> str:
    """VR DT with offset (PS3.5 6.2)."""
    return moment.strftime("%Y%m%d%H%M%S%z")


def part10(result_object: Dataset) -> bytes:
    """The object as a DICOM file in the transfer syntax of its file meta information."""
    result_object.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    result_object.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    buffer = BytesIO()
    dcmwrite(buffer, result_object, enforce_file_format=True)
    return buffer.getvalue()


def _offset(header: Dataset, context: ReportContext) -> dt.tzinfo:
    """The source's stated offset, else the site zone's at study time, else the site zone's at result time.

    The last also where the one at study time cannot be written as &ZZXX (PS3.3 C.12.1.1): before zones were introduced
    local mean time held, to the second, and a date that only fills the place of one may lie there.
    """
    stated = str(header.get("TimezoneOffsetFromUTC") or "")
    if stated:
        return dt.datetime.strptime(stated, "%z").tzinfo or dt.UTC
    at_result = context.at.astimezone(context.zone)
    at_study = _study_time(header, context.zone) or at_result
    return parse_offset(at_study.strftime("%z")) or dt.timezone(at_result.utcoffset() or dt.timedelta())


def _study_time(header: Dataset, zone: ZoneInfo) -> dt.datetime | None:
    date, time = header.get("StudyDate"), header.get("StudyTime")
    if not date:
        return None
    return dt.datetime.combine(DA(str(date)), TM(str(time)) if time else dt.time(12), tzinfo=zone)
