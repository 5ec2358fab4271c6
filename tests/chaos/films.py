"""The small DX objects the campaigns send: unique by UID, tiny, and known by the digest of their dataset bytes.

Implicit VR little endian, the one transfer syntax that every sender offers and none converts away from.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from pydicom import uid
from support.dicom_objects import dataset_of, encode, radiograph_dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """One object to send."""

    uid: str
    file: Path
    dataset_sha256: str
    """Digest of the bytes behind the file meta information, as a faithful sender sends them."""
    patient: str
    """Patient ID; a patient has one study."""
    screened: bool
    """It is to be screened; the header of the others rules them out."""


def uid_of(seed: int, stream: int, number: int) -> str:
    """A SOP Instance UID of this campaign; always of the same length, so that it can be put in place of another."""
    return f"1.2.826.0.1.3680043.8.498.77.{seed % 10**9 + 10**9}.{stream + 10}.{number + 10**6}"


def patient_of(stream: int, number: int) -> str:
    """A Patient ID of this campaign; always of the same length."""
    return f"{stream + 1}{number:06d}"


def part10(instance: str, *, screened: bool, patient: str = "") -> bytes:
    """A film of its own; a lateral one, which the header already rules out, when it is not to be screened.

    `patient`: Patient ID, with a study of its own; empty for the one patient of whom the films of a test are.
    """
    template = _template(screened=screened)
    if len(instance) != len(_PLACEHOLDER) or len(patient) not in (0, len(_PATIENT)):
        message = f"a UID of {len(_PLACEHOLDER)} characters is needed, and a patient of {len(_PATIENT)}"
        raise ValueError(message)
    film = template.replace(_PLACEHOLDER.encode(), instance.encode())
    if not patient:
        return film
    study = uid_of(0, 0, int(patient[1:])).replace(".77.", f".{int(patient[0]) + 20}.")
    return film.replace(_PATIENT.encode(), patient.encode()).replace(_STUDY.encode(), study.encode())


def write(folder: Path, instance: str, *, screened: bool, patient: str = "") -> Film:
    """Write one film into `folder`."""
    content = part10(instance, screened=screened, patient=patient)
    file = folder / f"{instance}.dcm"
    file.write_bytes(content)
    digest = hashlib.sha256(dataset_of(content)).hexdigest()
    return Film(uid=instance, file=file, dataset_sha256=digest, patient=patient or _PATIENT, screened=screened)


_PLACEHOLDER = uid_of(0, 0, 0)
_STUDY = _PLACEHOLDER.replace(".77.", ".20.")
_PATIENT = "0012345"


@cache
def _template(*, screened: bool) -> bytes:
    pixels = np.arange(32 * 24, dtype=np.uint16).reshape(32, 24) * 5
    view = "PA" if screened else "LL"
    changes = {"StudyInstanceUID": _STUDY, "PatientID": _PATIENT, "PatientName": "Weber^Petra"}
    film = radiograph_dataset(pixels, SOPInstanceUID=_PLACEHOLDER, ViewPosition=view, **changes)
    return encode(film, uid.ImplicitVRLittleEndian)
