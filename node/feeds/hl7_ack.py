"""HL7 v2 acknowledgements: what is answered, and when nothing is (clinical-data.md section 4).

Works on any frame in which MSH was recognised, and answers AR even to one without. An acknowledgement echoes header
fields (never patient data) and carries the code and place of an error, never the value that was wrong.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field

from node.feeds import cns11643
from node.feeds.er7 import DELETE, HL7Error, declared_charset, header_line, read_separators, stripped
from node.feeds.hl7_encoding import Separators, codec_of

HEADER_BYTES = 8192
"""How much of a frame is searched for its MSH segment."""

_BYTES = "latin-1"
"""Every byte a character: the header of a frame that cannot be decoded is still echoed byte for byte."""
_TEXTS = {
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    200: "Unsupported message type",
    201: "Unsupported event code",
    202: "Unsupported processing id",
    203: "Unsupported version id",
    204: "Unknown key identifier",
    205: "Duplicate key identifier",
    206: "Application record locked",
    207: "Application internal error",
}
_VERSION = "2.5.1"
_CONTROL = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "?")
"""They could end a segment or a block, or drive the terminal of whoever lists the messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The header fields an acknowledgement echoes, raw as sent, in the sender's separators and character set."""

    separators: Separators = field(default_factory=Separators)
    fields: tuple[str, ...] = ()
    codec: str = "utf-8"

    def raw(self, number: int) -> str:
        """MSH field `number` (2 and above), empty when absent."""
        return self.fields[number - 1] if number <= len(self.fields) else ""


def recognise(frame: bytes, *, default_charset: str = "utf-8", pinned_charset: str | None = None) -> Header:
    """The header of any frame; an empty one when there is no readable MSH. Never raises. Arguments as `er7.parse`."""
    head = stripped(frame[:HEADER_BYTES])
    try:
        separators = read_separators(head)
    except HL7Error:
        return Header()
    line = header_line(head)
    declared = declared_charset(line, separators)
    codec = pinned_charset or codec_of(declared, repetition=separators.repetition, default=default_charset)
    text, codec = _decoded(line, codec or _BYTES)
    fields = text.translate(_CONTROL).split(separators.field)
    return Header(separators=separators, fields=tuple(fields), codec=codec)


def acknowledge(header: Header, error: HL7Error | None, at: dt.datetime) -> bytes | None:
    """The acknowledgement of a frame that was committed (`error` None) or refused; None when none was asked for."""
    code = answer_code(header, error)
    if code is None:
        return None
    s = header.separators
    segments = [_msh(header, at), ["MSA", code, header.raw(10)]]
    if error is not None:
        segments.append(_err(error, s))
    text = "".join(s.field.join(fields).rstrip(s.field) + "\r" for fields in segments)
    return text.encode(header.codec, errors="replace")


def answer_code(header: Header, error: HL7Error | None) -> str | None:
    """MSA-1 (table 0008). Original mode always answers; enhanced mode as MSH-15 and MSH-16 ask (v2.5 2.9.3)."""
    letter = "A" if error is None else "R" if error.reject else "E"
    accept, application = (header.raw(n).strip().replace(DELETE, "") for n in (15, 16))
    if not accept and not application:
        return "A" + letter
    if accept and _asks(accept, error):
        return "C" + letter
    # The accept acknowledgement was not asked for but the application's was: the sender must not be left waiting.
    return "A" + letter if application and _asks(application, error) else None


def _asks(condition: str, error: HL7Error | None) -> bool:
    """Table 0155: AL always, NE never, ER on error, SU on success. A sender that asks for anything else is answered."""
    match condition.upper():
        case "NE":
            return False
        case "ER":
            return error is not None
        case "SU":
            return error is None
        case _:
            return True


def _msh(header: Header, at: dt.datetime) -> list[str]:
    """MSH-1 is the separator that joins the fields; parties swapped, MSH-11, MSH-12 and MSH-18 copied."""
    s = header.separators
    event = header.raw(9).split(s.repetition)[0].split(s.component)[1:2]
    kind = s.component.join(["ACK", *event, "ACK"])
    encoding = s.component + s.repetition + s.escape + s.subcomponent
    moment, control = at.strftime("%Y%m%d%H%M%S%z"), f"OSN{uuid.uuid4().hex[:17]}"
    reply = ["MSH", encoding, "OSTEON", "", header.raw(3), header.raw(4), moment, "", kind, control]
    return [*reply, header.raw(11) or "P", header.raw(12) or _VERSION, "", "", "", "", "", header.raw(18)]


def _err(error: HL7Error, s: Separators) -> list[str]:
    """ERR-2 location, ERR-3 code, ERR-4 severity (HL7 v2.5 2.15.5). No ERR-8: text for the user would quote values."""
    segment, _, number = error.location.partition("-")
    place = [segment, str(error.sequence), *([number] if number else [])] if segment.isupper() else []
    text = _TEXTS.get(error.code, _TEXTS[207])
    return ["ERR", "", s.component.join(place), s.component.join([str(error.code), text, "HL70357"]), "E"]


def _decoded(line: bytes, codec: str) -> tuple[str, str]:
    """The header's text and the codec that gives its bytes back; CNS 11643 is never written, and needs no decoding."""
    if codec != cns11643.CODEC:
        try:
            return line.decode(codec), codec
        except (UnicodeError, LookupError):
            pass
    return line.decode(_BYTES), _BYTES
