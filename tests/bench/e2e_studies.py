"""Studies for `bench-e2e`: a few rendered films that are sent again and again as studies of ever new patients."""

from __future__ import annotations

import datetime as dt
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from support.dicom_objects import dataset_of, encode
from support.engines import proven_screener
from support.raw_dicom import DX, UID_LENGTH, RawSender, fresh_uid, store_stream

from dicom_io.radiograph import read_radiograph
from model.domain import Identifier, ImageScore, PatientIdentity
from model.phantom.cohort import VirtualPatient
from node.demo.messages import Visit, adt_a04, oru_r01
from node.demo.phantoms import ISSUER, demo_patients, film

SEED = 11
_ID_LENGTH = 10
_STUDY, _SERIES, _IMAGE = ("1." + digit * (UID_LENGTH - 2) for digit in "789")
_PATIENT = "E" * _ID_LENGTH
_CANDIDATES = 4
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One study on its way: what tells it apart."""

    study_uid: str
    instance_uid: str
    patient_id: str


class Films:
    """Encoded DX objects with place-holders for the identity; `studies` gives each a new one."""

    def __init__(self, count: int, rows: int, scratch: Path) -> None:
        """Render films until `count` pass the model's gate: a film that gets no report measures nothing."""
        self._now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        self._templates: list[tuple[bytes, VirtualPatient, PatientIdentity]] = []
        screener = proven_screener()
        for number, patient in enumerate(demo_patients(_CANDIDATES * count, SEED), start=1):
            made = film(patient, number=number, taken_at=self._now, rows=rows, seed=SEED)
            path = scratch / "film.dcm"
            path.write_bytes(made.object.part10)
            if isinstance(screener.image_part(read_radiograph(path)), ImageScore):
                self._templates.append((_template(made.object.part10), patient, made.identity))
            if len(self._templates) == count:
                return
        msg = f"only {len(self._templates)} films pass the gate"
        raise RuntimeError(msg)

    def studies(self) -> Iterator[tuple[Sent, bytes, Visit]]:
        """For ever: the identity, the encoded dataset, and what the hospital's HL7 feed knows of the patient."""
        for template, patient, identity in itertools.cycle(self._templates):
            number = next(_numbers)
            sent = Sent(study_uid=fresh_uid(), instance_uid=fresh_uid(), patient_id=f"E{number:0{_ID_LENGTH - 1}d}")
            dataset = template
            for marker, value in (
                (_STUDY, sent.study_uid),
                (_SERIES, fresh_uid()),
                (_IMAGE, sent.instance_uid),
                (_PATIENT, sent.patient_id),
            ):
                dataset = dataset.replace(marker.encode(), value.encode())
            person = PatientIdentity(
                identifiers=(Identifier(value=sent.patient_id, authority=ISSUER),),
                name=identity.name,
                birth_date=identity.birth_date,
                sex=identity.sex,
            )
            visit = Visit(
                identity=person,
                weight_kg=patient.weight_kg,
                height_cm=patient.height_cm,
                measured_at=self._now - dt.timedelta(days=20),
                accession="",
            )
            yield sent, dataset, visit


def _template(part10: bytes) -> bytes:
    dataset = dcmread(BytesIO(part10))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = _STUDY, _SERIES, _IMAGE
    dataset.PatientID = _PATIENT
    return dataset_of(encode(dataset))


def messages(visit: Visit, number: int) -> list[bytes]:
    """Registration and vital signs of one patient, as the feed brings them before the image."""
    at = dt.datetime.now(dt.UTC)
    return [adt_a04(visit, control_id=f"EA{number}", sent_at=at), oru_r01(visit, control_id=f"ER{number}", sent_at=at)]


def store(port: int, sent: Sent, dataset: bytes) -> float:
    """One association with one C-STORE, as a PACS routes a study; when it was answered (seconds since 1970).

    Raises:
        RuntimeError: the answer was not Success.

    """
    with RawSender(port) as sender:
        sender.socket.sendall(store_stream(dataset, sent.instance_uid, DX, sender.max_pdu))
        status = sender.status()
        answered = time.time()
        sender.release()
    if status:
        msg = f"C-STORE answered 0x{status:04X}"
        raise RuntimeError(msg)
    return answered
