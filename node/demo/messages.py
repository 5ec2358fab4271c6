"""The clinical side of the demo: one patient as HL7 v2 messages or as rows of the CSV feed's `observations` form."""

from __future__ import annotations

import csv
import datetime as dt
import io
import socket
from dataclasses import dataclass

from model.domain import PatientIdentity

WEIGHT_LOINC = "29463-7"
HEIGHT_LOINC = "8302-2"
_BLOCK = b"\x0b%b\x1c\r"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What the hospital knows of one patient besides the image."""

    identity: PatientIdentity
    weight_kg: float
    height_cm: float
    measured_at: dt.datetime
    accession: str


def adt_a04(visit: Visit, *, control_id: str, sent_at: dt.datetime) -> bytes:
    """Registration of the patient (HL7 v2.5.1, ADT^A04)."""
    return _message("ADT^A04^ADT_A01", control_id, sent_at, [f"EVN|A04|{_time(sent_at)}", _pid(visit), "PV1|1|O"])


def oru_r01(visit: Visit, *, control_id: str, sent_at: dt.datetime) -> bytes:
    """Weight and height as vital signs (HL7 v2.5.1, ORU^R01)."""
    measured = _time(visit.measured_at)
    segments = [
        _pid(visit),
        f"OBR|1||V{control_id}|34565-2^Vital signs^LN|||{measured}|||||||||||||||{measured}|||F",
        f"OBX|1|NM|{WEIGHT_LOINC}^Body weight^LN||{visit.weight_kg:.1f}|kg^^UCUM|||||F|||{measured}",
        f"OBX|2|NM|{HEIGHT_LOINC}^Body height^LN||{visit.height_cm:.1f}|cm^^UCUM|||||F|||{measured}",
    ]
    return _message("ORU^R01^ORU_R01", control_id, sent_at, segments)


def send_mllp(port: int, messages: list[bytes], *, host: str = "127.0.0.1", timeout: float = 10.0) -> list[bytes]:
    """Send messages one after the other over one MLLP connection and return the acknowledgements.

    Raises:
        ConnectionError: the listener closed the connection before it answered.

    """
    answers = []
    with socket.create_connection((host, port), timeout=timeout) as link:
        for message in messages:
            link.sendall(_BLOCK % message)
            answers.append(_read_block(link))
    return answers


def observations_csv(visits: list[Visit]) -> str:
    """The visits in the CSV feed's long form, header line included (clinical-data.md section 9)."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(OBSERVATION_COLUMNS)
    for visit in visits:
        person = visit.identity
        principal = person.identifiers[0]
        name = person.name.alphabetic
        born = person.birth_date.isoformat() if person.birth_date else ""
        for code, value, unit in ((WEIGHT_LOINC, visit.weight_kg, "kg"), (HEIGHT_LOINC, visit.height_cm, "cm")):
            row_id = f"{visit.accession}-{code}"
            patient = [principal.value, principal.authority.namespace, born, person.sex, name.family, name.given]
            measured = visit.measured_at.isoformat(timespec="seconds")
            writer.writerow([row_id, *patient, code, "LN", f"{value:.1f}", unit, measured, "F"])
    return text.getvalue()


OBSERVATION_COLUMNS = (
    "source_row_id",
    "patient_id",
    "issuer",
    "birth_date",
    "sex",
    "family_name",
    "given_name",
    "code",
    "code_system",
    "value",
    "unit",
    "observed_at",
    "status",
)


def _message(kind: str, control_id: str, sent_at: dt.datetime, segments: list[str]) -> bytes:
    header = f"MSH|^~\\&|HIS|DEMO|OSTEON|RAD|{_time(sent_at)}||{kind}|{control_id}|P|2.5.1||||||UNICODE UTF-8"
    return "\r".join([header, *segments, ""]).encode()


def _pid(visit: Visit) -> str:
    person = visit.identity
    name = person.name.alphabetic
    principal = person.identifiers[0]
    born = person.birth_date.strftime("%Y%m%d") if person.birth_date else ""
    identifier = f"{principal.value}^^^{principal.authority.namespace}^MR"
    return f"PID|1||{identifier}||{name.family}^{name.given}^^^^^L||{born}|{person.sex}"


def _time(moment: dt.datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%S%z")


def _read_block(link: socket.socket) -> bytes:
    received = b""
    while b"\x1c" not in received:
        piece = link.recv(65536)
        if not piece:
            msg = "the HL7 listener closed the connection without an answer"
            raise ConnectionError(msg)
        received += piece
    return received.strip(b"\x0b\x1c\r")
