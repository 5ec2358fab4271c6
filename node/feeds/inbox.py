"""What happens to a frame before it is answered: only what needs no database.

Framing is done, processing comes later; here the message is decoded and its header checked, so that the sender learns
at once of what it can mend. Everything found afterwards quarantines the message: the sender already has its AA.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass

from node.feeds.er7 import HL7Error, Message, Segment, parse
from node.feeds.hl7_ack import acknowledge, recognise


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameMeta:
    """What the inbox keeps of a frame beside its bytes."""

    sending_app: str
    sending_facility: str
    message_type: str
    control_id: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A frame and its answer. The answer may be sent only once the frame is committed."""

    meta: FrameMeta
    ack: bytes | None
    error: HL7Error | None = None
    """Why it was refused; None when it is to be processed."""


def accept(frame: bytes, *, at: dt.datetime, default_charset: str = "utf-8") -> Accepted:
    """Check a frame and build its answer. Never raises on any bytes."""
    header = recognise(frame)
    error: HL7Error | None = None
    try:
        check(parse(frame, default_charset=default_charset))
    except HL7Error as found:
        error = found
    meta = FrameMeta(
        sending_app=header.raw(3)[:200],
        sending_facility=header.raw(4)[:200],
        message_type=header.raw(9)[:40],
        control_id=header.raw(10)[:200],
        sha256=hashlib.sha256(frame).hexdigest(),
    )
    return Accepted(meta=meta, ack=acknowledge(header, error, at), error=error)


def check(message: Message) -> None:
    """Refuse what the sender can mend.

    Raises:
        HL7Error: 101 MSH-9 or MSH-10 missing; 202 not a production message; 203 not HL7 v2; 101 a merge without MRG-1;
            205 a patient merged into itself.

    """
    header = message.header
    if not header.text(9):
        raise HL7Error(101, "MSH-9")
    if not header.text(10):
        raise HL7Error(101, "MSH-10")
    if header.text(11) != "P":
        raise HL7Error(202, "MSH-11")
    if not header.text(12).startswith("2"):
        raise HL7Error(203, "MSH-12")
    if (header.text(9), header.text(9, 2)) == ("ADT", "A40"):
        _check_merge(message)


def _check_merge(message: Message) -> None:
    survivor: set[tuple[str, str, str]] = set()
    merges = 0
    for segment in message.segments:
        if segment.id == "PID":
            survivor = _identifiers(segment, 3)
        elif segment.id == "MRG":
            merges += 1
            prior = _identifiers(segment, 1)
            if not prior:
                raise HL7Error(101, "MRG-1")
            if prior & survivor:
                raise HL7Error(205, "MRG-1")
    if not merges:
        raise HL7Error(100, "MRG")


def _identifiers(segment: Segment, field: int) -> set[tuple[str, str, str]]:
    """(value, namespace, universal ID) of the repetitions of a CX field."""
    count = segment.repetitions(field)
    found = {
        (
            segment.text(field, repetition=r),
            segment.text(field, 4, 1, repetition=r),
            segment.text(field, 4, 2, repetition=r),
        )
        for r in range(1, count + 1)
    }
    return {f for f in found if f[0]}
