"""Small DICOM objects for tests: a valid-enough CR or DX dataset, its Part 10 bytes, and encoders for its pixels."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmwrite, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

ROOT = "1.2.826.0.1.3680043.8.498.77"


def film(rows: int = 48, columns: int = 40) -> npt.NDArray[np.uint16]:
    """A 12-bit picture with a gradient, an edge and noise; uint16, 0 to 4095."""
    rng = np.random.default_rng(7)
    base = np.add.outer(np.arange(rows) * 30, np.arange(columns) * 40) + rng.integers(0, 90, (rows, columns))
    base[rows // 3 : rows // 2, columns // 4 : columns // 2] += 1500
    return np.clip(base, 0, 4095).astype(np.uint16)


def radiograph_dataset(
    pixels: npt.NDArray[np.uint16] | None = None, *, number: int = 1, sop_class: str | None = None, **attributes: object
) -> Dataset:
    """A PA chest film of class DX For Presentation (or `sop_class`); `attributes` are set on top by keyword."""
    values = film() if pixels is None else pixels
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = uid.UID(sop_class or uid.DigitalXRayImageStorageForPresentation)
    dataset.SOPInstanceUID = uid.UID(f"{ROOT}.3.{number}")
    dataset.StudyInstanceUID = uid.UID(f"{ROOT}.1.{number}")
    dataset.SeriesInstanceUID = uid.UID(f"{ROOT}.2.{number}")
    dataset.StudyDate, dataset.StudyTime = "20240310", "101112"
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20240310", "101530.250"
    dataset.AccessionNumber = "A0001"
    dataset.Modality = "DX"
    dataset.Manufacturer, dataset.ManufacturerModelName, dataset.StationName = "ACME", "Detector 3", "DX1"
    dataset.PatientName, dataset.PatientID, dataset.IssuerOfPatientID = "Doe^Jane", "0012345", "HOSP"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "19550620", "F", "068Y"
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImagerPixelSpacing = [0.143, 0.143]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = values.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def encode(dataset: Dataset, transfer_syntax: str = uid.ExplicitVRLittleEndian, frame: bytes | None = None) -> bytes:
    """Part 10 bytes; `frame` replaces the pixels by one encapsulated frame."""
    copy = Dataset()
    copy.update(dataset)
    if frame is not None:
        copy.PixelData = encapsulate([frame])
        copy["PixelData"].VR = "OB"
        copy["PixelData"].is_undefined_length = True
    syntax = uid.UID(transfer_syntax)
    if syntax == uid.ExplicitVRBigEndian:
        copy.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        copy["PixelData"].VR = "OW"
    copy.file_meta = FileMetaDataset()
    copy.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    copy.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    copy.file_meta.TransferSyntaxUID = syntax
    buffer = BytesIO()
    dcmwrite(buffer, copy, enforce_file_format=True)
    return buffer.getvalue()


def write(path: Path, dataset: Dataset, transfer_syntax: str = uid.ExplicitVRLittleEndian) -> Path:
    """Write `dataset` as a Part 10 file; returns `path`."""
    path.write_bytes(encode(dataset, transfer_syntax))
    return path


def dataset_start(part10: bytes) -> int:
    """Where the dataset begins: group length (0002,0000) is the first element behind the preamble (PS3.10 7.1)."""
    return 144 + int.from_bytes(part10[140:144], "little")


def dataset_of(part10: bytes) -> bytes:
    """What follows the file meta information, as it goes over the wire."""
    return part10[dataset_start(part10) :]


def encoded_dx(instance: str, size: int = 0) -> bytes:
    """An encoded dataset of `instance` with about `size` bytes of noise for pixels; odd lengths occur in its header."""
    columns = 50 if size < 1_000_000 else 2000
    pixels = np.random.default_rng(size).integers(0, 4096, (max(size // 2 // columns, 1), columns), np.uint16)
    return dataset_of(encode(radiograph_dataset(pixels, SOPInstanceUID=instance)))
