"""HL7 v2 acknowledgements: what is answered, and when nothing is (clinical-data.md section 4).

Works on any frame in which MSH was recognised, and answers AR even to one without. An acknowledgement echoes header
fields (never patient data) and carries the code and place of an error, never the value that was wrong.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from dataclasses import dataclass, field

from node.feeds.er7 import CODECS, HL7Error, Separators, read_separators, stripped

HEADER_BYTES = 8192
"""How much of a frame is searched for its MSH segment."""

_TEXTS = {
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    200: "Unsupported message type",
    201: "Unsupported event code",
    202: "Unsupported processing id",
    203: "Unsupported version id",
    205: "Duplicate key identifier",
    207: "Application internal error",
}
_VERSION = "2.5.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The header fields an acknowledgement echoes, raw as sent, in the separators of the sender."""

    separators: Separators = field(default_factory=Separators)
    fields: tuple[str, ...] = ()

    def raw(self, number: int) -> str:
        """MSH field `number` (2 and above), empty when absent."""
        return self.fields[number - 1] if number <= len(self.fields) else ""


def recognise(frame: bytes) -> Header:
    """The header of any frame; an empty one when there is no readable MSH. Never raises."""
    head = stripped(frame[:HEADER_BYTES])
    try:
        separators = read_separators(head)
    except HL7Error:
        return Header()
    line = re.split(rb"[\r\n]", head, maxsplit=1)[0]
    codec = "utf-8"
    for charset in re.findall(rb"UNICODE UTF-8|8859/\d+|ASCII", line):
        codec = CODECS.get(charset.decode(), codec)
    text = "".join(c if c.isprintable() else "?" for c in line.decode(codec, errors="replace"))
    return Header(separators=separators, fields=tuple(text.split(separators.field)))


def acknowledge(header: Header, error: HL7Error | None, at: dt.datetime) -> bytes | None:
    """The acknowledgement of a frame that was committed (`error` None) or refused; None when none was asked for."""
    code = _code(header, error)
    if code is None:
        return None
    s = header.separators
    event = s.component.join(["ACK", *header.raw(9).split(s.component)[1:2], "ACK"])
    encoding = s.component + s.repetition + s.escape + s.subcomponent
    moment = at.strftime("%Y%m%d%H%M%S%z")
    control = f"OSN{uuid.uuid4().hex[:17]}"
    reply = ["MSH", encoding, "OSTEON", "", header.raw(3), header.raw(4), moment, "", event, control]
    reply += [header.raw(11) or "P", header.raw(12) or _VERSION, "", "", "", "", "", header.raw(18)]
    segments = [reply, ["MSA", code, header.raw(10)]]
    if error is not None:
        segments.append(_err(error, s))
    text = "".join(s.field.join(fields).rstrip(s.field) + "\r" for fields in segments)
    codec = CODECS.get(header.raw(18).split(s.repetition)[0].strip().upper(), "utf-8")
    return text.encode(codec, errors="replace")


def _err(error: HL7Error, s: Separators) -> list[str]:
    """ERR-2 location, ERR-3 code, ERR-4 severity (HL7 v2.5 2.15.5)."""
    segment, _, number = error.location.partition("-")
    place = s.component.join([segment, "1", number]) if number else segment
    text = _TEXTS.get(error.code, _TEXTS[207])
    return ["ERR", "", place, s.component.join([str(error.code), text, "HL70357"]), "E"]


def _code(header: Header, error: HL7Error | None) -> str | None:
    """MSA-1 (table 0008). Original mode always answers; enhanced mode as MSH-15 and MSH-16 ask (v2.5 2.9.3)."""
    letter = "A" if error is None else "R" if error.reject else "E"
    accept, application = header.raw(15).strip(), header.raw(16).strip()
    if not accept and not application:
        return "A" + letter
    if _asks(accept, error):
        return "C" + letter
    # The accept acknowledgement was not asked for but the application's was: the sender must not be left waiting.
    return "A" + letter if _asks(application, error) else None


def _asks(condition: str, error: HL7Error | None) -> bool:
    """Table 0155: AL always, NE never, ER on error, SU on success."""
    return condition in ("AL", "SU" if error is None else "ER")
