"""A rendered phantom as a DX object for the demo and the tests: what a PACS would send, plainly marked as simulated.

DX Image Storage - For Presentation (PS3.3 A.26). Everything is a function of the arguments, no clock, no random UID:
a test can send the same object twice. Never used for a patient's image: manufacturer and Image Comments say so in every
object, and no argument changes that.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from dicom_io.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_io.uids import derive
from model.domain import AssigningAuthority, Identifier, NameGroup, PatientIdentity, PersonName, Sex, View

SIMULATED: Final = "SIMULATED PHANTOM - NOT A PATIENT"
"""Image Comments (0020,4000) of every phantom."""
_NAMESPACE: Final = uuid.UUID("6f1f2c9c-5a1e-5c0b-9c5d-0f4b7e3f2a11")
_BITS_STORED: Final = 12
_WHITE: Final = 2**_BITS_STORED - 1
_CHEST: Final = Code("816094009", "SCT", "Chest")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Projection:
    """View Position (0018,5101), View Code (0054,0220) and Patient Orientation (0020,0020)."""

    position: str
    code: Code
    orientation: tuple[str, str]


_PROJECTIONS: Final = {
    View.PA: _Projection(position="PA", code=Code("272479007", "SCT", "postero-anterior"), orientation=("L", "F")),
    View.AP: _Projection(position="AP", code=Code("399348003", "SCT", "antero-posterior"), orientation=("L", "F")),
    View.LATERAL: _Projection(position="LL", code=Code("399173006", "SCT", "left lateral"), orientation=("P", "F")),
}
"""A lateral phantom faces the image's left."""
_LATERAL_SERIES: Final = 2
"""Number of the series of laterals; frontal films are in the first."""


class Polarity(enum.StrEnum):
    """Photometric Interpretation (0028,0004) of the stored values; the displayed picture is the same."""

    MONOCHROME1 = "MONOCHROME1"
    """The highest stored value is black."""
    MONOCHROME2 = "MONOCHROME2"
    """The highest stored value is white."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomStudy:
    """The examination a phantom film belongs to."""

    seed: str
    """Names the study: all its UIDs follow from this text, `instance_number` tells its films apart."""
    acquired_at: dt.datetime
    """Written as it stands; an aware time also states its Timezone Offset From UTC (0008,0201)."""
    accession_number: str = ""
    study_id: str = "1"
    view: View = View.PA
    """PA, AP or LATERAL, which is a left lateral facing the image's left."""
    pixel_spacing_mm: float | None = None
    """At the detector; None takes a film 43 cm high."""
    instance_number: int = 1
    age_years: float | None = None
    """For Patient's Age; None takes it from the birth date, if there is one."""


def phantom_dataset(
    pixels: npt.NDArray[np.float32],
    *,
    identity: PatientIdentity,
    study: PhantomStudy,
    polarity: Polarity = Polarity.MONOCHROME2,
) -> Dataset:
    """Wrap `pixels`, float32 (rows, columns), range [0, 1], bone bright, as a complete DX object with file meta.

    Write it with `pydicom.dcmwrite(path, dataset, enforce_file_format=True)`.

    Raises:
        ValueError: pixels are not such an image, or the view is none that a phantom has.

    """
    if study.view not in _PROJECTIONS:
        msg = f"a phantom is a frontal or a lateral film, not {study.view}"
        raise ValueError(msg)
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    _add_patient(dataset, identity, study)
    _add_study_and_series(dataset, study)
    _add_equipment(dataset)
    _add_positioning(dataset, study)
    _add_image(dataset, pixels, study, polarity)
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = _uid(study, "instance", study.instance_number)
    dataset.file_meta = _file_meta(dataset)
    return dataset


def _uid(study: PhantomStudy, *key: str | int) -> UID:
    return derive(_NAMESPACE, study.seed, *key)


def _add_patient(dataset: Dataset, identity: PatientIdentity, study: PhantomStudy) -> None:
    """Patient and Patient Study modules (PS3.3 C.7.1.1, C.7.2.2)."""
    principal, *others = identity.identifiers or (Identifier(value=""),)
    dataset.PatientName = _person_name(identity.name)
    _add_identifier(dataset, principal)
    if others:
        dataset.OtherPatientIDsSequence = [_other_identifier(other) for other in others]
    dataset.PatientBirthDate = identity.birth_date.strftime("%Y%m%d") if identity.birth_date else ""
    dataset.PatientSex = "" if identity.sex is Sex.UNKNOWN else identity.sex.value
    age = _age_years(identity, study)
    if age is not None:
        dataset.PatientAge = f"{age:03d}Y"


def _add_identifier(dataset: Dataset, identifier: Identifier) -> None:
    """Patient ID with its issuer, when one is stated (PS3.3 10.14, 10.15)."""
    dataset.PatientID = identifier.value
    authority = identifier.authority
    if authority.namespace:
        dataset.IssuerOfPatientID = authority.namespace
    if authority.universal_id:
        dataset.IssuerOfPatientIDQualifiersSequence = [_issuer_qualifiers(authority)]


def _issuer_qualifiers(authority: AssigningAuthority) -> Dataset:
    item = Dataset()
    item.UniversalEntityID = authority.universal_id
    item.UniversalEntityIDType = authority.universal_id_type or "ISO"
    return item


def _other_identifier(identifier: Identifier) -> Dataset:
    item = Dataset()
    _add_identifier(item, identifier)
    item.TypeOfPatientID = "TEXT"
    return item


def _person_name(name: PersonName) -> str:
    groups = (name.alphabetic, name.ideographic, name.phonetic)
    return "=".join(_name_group(group) for group in groups).rstrip("=")


def _name_group(group: NameGroup) -> str:
    return f"{group.family}^{group.given}".rstrip("^")


def _age_years(identity: PatientIdentity, study: PhantomStudy) -> int | None:
    """Whole years at the study date."""
    if study.age_years is not None:
        return int(study.age_years)
    born, day = identity.birth_date, study.acquired_at.date()
    if born is None:
        return None
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def _add_study_and_series(dataset: Dataset, study: PhantomStudy) -> None:
    """General Study, General Series and DX Series modules (PS3.3 C.7.2.1, C.7.3.1, C.8.11.1)."""
    day, time = study.acquired_at.strftime("%Y%m%d"), study.acquired_at.strftime("%H%M%S")
    for moment in ("Study", "Series", "Content", "Acquisition"):
        setattr(dataset, f"{moment}Date", day)
        setattr(dataset, f"{moment}Time", time)
    if study.acquired_at.utcoffset() is not None:
        dataset.TimezoneOffsetFromUTC = study.acquired_at.strftime("%z")[:5]
    dataset.StudyInstanceUID = _uid(study, "study")
    dataset.StudyID = study.study_id
    dataset.AccessionNumber = study.accession_number
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Chest phantom"
    lateral = study.view is View.LATERAL
    dataset.SeriesInstanceUID = _uid(study, "series", "lateral") if lateral else _uid(study, "series")
    dataset.SeriesNumber = _LATERAL_SERIES if lateral else 1
    dataset.SeriesDescription = f"Simulated chest {study.view}"
    dataset.Modality = "DX"
    dataset.PresentationIntentType = "FOR PRESENTATION"


def _add_equipment(dataset: Dataset) -> None:
    """General Equipment and DX Detector modules (PS3.3 C.7.5.1, C.8.11.4); the model name is not Osteon's own."""
    dataset.Manufacturer = "Osteon phantom (simulated)"
    dataset.ManufacturerModelName = "Chest phantom"
    dataset.InstitutionName = "Simulated"
    dataset.StationName = "PHANTOM"
    dataset.DeviceSerialNumber = "0"
    dataset.SoftwareVersions = "1"
    dataset.DetectorType = "SCINTILLATOR"


def _add_positioning(dataset: Dataset, study: PhantomStudy) -> None:
    """DX Anatomy Imaged and DX Positioning modules (PS3.3 C.8.11.2, C.8.11.5)."""
    projection = _PROJECTIONS[study.view]
    dataset.BodyPartExamined = "CHEST"
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = [_coded(_CHEST)]
    dataset.ViewPosition = projection.position
    dataset.ViewCodeSequence = [_coded(projection.code)]
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []
    dataset.PatientOrientation = list(projection.orientation)
    dataset.PositionerType = "NONE"


def _coded(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def _add_image(dataset: Dataset, pixels: npt.NDArray[np.float32], study: PhantomStudy, polarity: Polarity) -> None:
    """General Image, DX Image, VOI LUT and Acquisition Context modules (PS3.3 C.7.6.1, C.8.11.3, C.11.2, C.7.6.14)."""
    stored = _stored_values(pixels, polarity)
    dark_is_low = polarity is Polarity.MONOCHROME2
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.InstanceNumber = study.instance_number
    dataset.AcquisitionNumber = 1
    dataset.ImageComments = SIMULATED
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.AcquisitionContextSequence = []
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = polarity.value
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, _BITS_STORED, _BITS_STORED - 1
    dataset.PixelRepresentation = 0
    # More X-ray means a darker film: -1 where the stored values rise with brightness (PS3.3 C.8.11.3.1.2).
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1 if dark_is_low else 1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "IDENTITY" if dark_is_low else "INVERSE"
    # With the linear function of PS3.3 C.11.2.1.2.1 this window shows 0..4095 in full.
    dataset.WindowCenter, dataset.WindowWidth = (_WHITE + 1) // 2, _WHITE + 1
    spacing = study.pixel_spacing_mm or 430.0 / stored.shape[0]
    dataset.ImagerPixelSpacing = dataset.PixelSpacing = [round(spacing, 6)] * 2
    dataset.PixelData = stored.tobytes()


def _stored_values(pixels: npt.NDArray[np.float32], polarity: Polarity) -> npt.NDArray[np.uint16]:
    """Stored values 0..4095, little endian."""
    if pixels.ndim != 2 or not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 1:  # noqa: PLR2004 - 2-D
        msg = "pixels must be a 2-D image in [0, 1]"
        raise ValueError(msg)
    bright = np.round(pixels * _WHITE).astype("<u2")
    return bright if polarity is Polarity.MONOCHROME2 else (_WHITE - bright).astype("<u2")


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta
