r"""HL7 v2 messages in ER7 encoding, read lazily: bytes in, fields out on access.

Decisions (clinical-data.md section 3): the whole frame is decoded before it is split, because in GB 18030, Big5 and
ISO-2022-JP `|`, `^`, `~` and `\` are legal second bytes; segments end at CR, LF or CRLF only, never where
`str.splitlines` would; an empty field was not sent while `""` is an explicit deletion. A missing part reads as empty
and the shape never depends on content.

    HL7Error(code)    the only error this module raises; code of HL7 table 0357
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DELETE = '""'
"""A field's value that asks to delete what is stored (HL7 v2.5 2.5.3); the empty string says nothing at all."""

MAX_SEGMENTS = 20_000
MAX_BREAKS = 50
"""Line breaks by escape sequence per value; more are dropped."""

_BOM = b"\xef\xbb\xbf"
_SEGMENT_END = re.compile(r"\r\n|\r|\n")
_SEGMENT_ID = re.compile(r"[A-Z][A-Z0-9]{2}")
_BREAK = re.compile(r"\.(br|sp)\d*|\.(fi|nf|in|ti|sk|ce)[+-]?\d*")

CODECS = {
    "ASCII": "ascii",
    **{f"8859/{n}": f"iso8859-{n}" for n in (*range(1, 10), 15)},
    "ISO IR6": "ascii",
    "ISO IR14": "shift_jis",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_1",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
    "UNICODE UTF-8": "utf-8",
}
"""MSH-18 (table 0211) -> Python codec. CNS 11643-1992 has none in the standard library and is refused."""


class HL7Error(Exception):
    """The message cannot be accepted. `code` is of HL7 table 0357, `location` like `MSH-18`; neither holds a value."""

    def __init__(self, code: int, location: str = "", *, reject: bool = False) -> None:
        super().__init__(f"HL7 error {code} at {location or 'message'}")
        self.code = code
        self.location = location
        self.reject = reject or code in range(200, 205) or code > 205  # noqa: PLR2004 - table 0357: 205 is the sender's
        """True: answered AR/CR. False: the sender can mend the content, answered AE/CE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Separators:
    """The five encoding characters of MSH-1 and MSH-2."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"


class Segment:
    """One segment. Fields are split at the first access, everything below on each access."""

    __slots__ = ("_codec", "_fields", "_line", "_separators")

    def __init__(self, line: str, separators: Separators, codec: str) -> None:
        self._line = line
        self._separators = separators
        self._codec = codec
        self._fields: list[str] | None = None

    @property
    def id(self) -> str:
        """`PID`, `OBX`, ...; empty for a segment that is not there."""
        return self._line[:3]

    def raw(self, number: int) -> str:
        """Field `number` as sent, escapes included; MSH-1 is the separator itself (HL7 v2.5 2.15.9.1)."""
        if self._fields is None:
            self._fields = self._line.split(self._separators.field)
        if self.id == "MSH":
            if number == 1:
                return self._separators.field
            number -= 1
        return self._fields[number] if number < len(self._fields) else ""

    def repetitions(self, number: int) -> int:
        """How many repetitions field `number` has; 0 when it is empty."""
        raw = self.raw(number)
        return raw.count(self._separators.repetition) + 1 if raw else 0

    def get(self, number: int, component: int = 1, subcomponent: int = 1, *, repetition: int = 1) -> str:
        """A value with its escapes resolved; `DELETE` and the empty string are two different answers."""
        s = self._separators
        part = _nth(self.raw(number), s.repetition, repetition)
        part = _nth(_nth(part, s.component, component), s.subcomponent, subcomponent)
        return _unescape(part, s, self._codec) if s.escape in part else part

    def text(self, number: int, component: int = 1, subcomponent: int = 1, *, repetition: int = 1) -> str:
        """As `get`, trimmed, with a deletion read as empty: for values that are not stored as a state."""
        value = self.get(number, component, subcomponent, repetition=repetition).strip()
        return "" if value == DELETE else value


class Message:
    """A decoded message: its segments in order."""

    __slots__ = ("codec", "segments", "separators")

    def __init__(self, segments: tuple[Segment, ...], separators: Separators, codec: str) -> None:
        self.segments = segments
        self.separators = separators
        self.codec = codec

    @property
    def header(self) -> Segment:
        """The MSH segment."""
        return self.segments[0]

    def first(self, segment_id: str) -> Segment:
        """The first segment of that id, or an empty one."""
        found = (s for s in self.segments if s.id == segment_id)
        return next(found, Segment("", self.separators, self.codec))


def parse(frame: bytes, *, default_charset: str = "utf-8") -> Message:
    """Read one message.

    Args:
        frame: the bytes between VT and FS.
        default_charset: Python codec of messages whose MSH-18 is empty.

    Raises:
        HL7Error: the only error, whatever the bytes are.

    """
    frame = stripped(frame)
    separators = read_separators(frame)
    declared = _declared_charset(frame, separators)
    codec = codec_of(declared) if declared else default_charset
    try:
        text = frame.decode(codec)
    except (UnicodeDecodeError, LookupError) as error:
        raise HL7Error(102, "MSH-18") from error
    segments = _split(text, separators, codec)
    if _nth(segments[0].raw(18), separators.repetition, 1).strip() != declared:
        raise HL7Error(102, "MSH-18")
    return Message(segments, separators, codec)


def codec_of(charset: str) -> str:
    """The codec of a value of MSH-18.

    Raises:
        HL7Error: 103, the character set is not one of `CODECS`.

    """
    try:
        return CODECS[charset.upper()]
    except KeyError as error:
        raise HL7Error(103, "MSH-18") from error


def stripped(frame: bytes) -> bytes:
    """The frame without byte order mark and surrounding white space or NULs."""
    return frame.strip(b" \t\r\n\0").removeprefix(_BOM).strip(b" \t\r\n\0")


def read_separators(frame: bytes) -> Separators:
    """The encoding characters at the start of a frame.

    Raises:
        HL7Error: 207 no MSH at the start; 102 separators that are missing, equal, alphanumeric or not printable ASCII.

    """
    if not frame.startswith(b"MSH"):
        raise HL7Error(207, "MSH-1")
    head = frame[3:8].decode("latin-1")
    usable = all("!" <= c <= "~" and not c.isalnum() for c in head)
    if len(head) != len(set(head)) or len(head) != 5 or not usable:  # noqa: PLR2004 - five encoding characters
        raise HL7Error(102, "MSH-2")
    return Separators(field=head[0], component=head[1], repetition=head[2], escape=head[3], subcomponent=head[4])


def _declared_charset(frame: bytes, separators: Separators) -> str:
    """First repetition of MSH-18, searched in the bytes; checked against the decoded text afterwards."""
    line = re.split(rb"[\r\n]", frame, maxsplit=1)[0].decode("latin-1")
    fields = line.split(separators.field)
    return _nth(fields[17], separators.repetition, 1).strip() if len(fields) > 17 else ""  # noqa: PLR2004 - MSH-18


def _split(text: str, separators: Separators, codec: str) -> tuple[Segment, ...]:
    lines = [line for line in _SEGMENT_END.split(text) if line.strip("\0 ")]
    if len(lines) > MAX_SEGMENTS:
        raise HL7Error(207, "message")
    for position, line in enumerate(lines):
        named = _SEGMENT_ID.fullmatch(line[:3]) is not None
        if not named or (len(line) > 3 and line[3] != separators.field):  # noqa: PLR2004 - the id has three characters
            raise HL7Error(100, "message")
        if position and line.startswith("MSH"):
            raise HL7Error(207, "MSH")  # two messages in one frame would become one patient
    return tuple(Segment(line, separators, codec) for line in lines)


def _nth(text: str, separator: str, number: int) -> str:
    if number == 1:
        return text.split(separator, 1)[0]
    parts = text.split(separator, number)
    return parts[number - 1] if number <= len(parts) else ""


def _unescape(text: str, separators: Separators, codec: str) -> str:
    """Resolve escape sequences (HL7 v2.5 2.7); an unterminated one stays as it is."""
    literal = {
        "F": separators.field,
        "S": separators.component,
        "T": separators.subcomponent,
        "R": separators.repetition,
        "E": separators.escape,
        "H": "",
        "N": "",
    }
    breaks = 0

    def resolve(match: re.Match[str]) -> str:
        nonlocal breaks
        body = match[1]
        if body in literal:
            return literal[body]
        if _BREAK.fullmatch(body):
            breaks += 1
            return "\n" if breaks <= MAX_BREAKS else ""
        if body[:1] == "X":
            return _hexadecimal(body[1:], codec)
        return "\ufffd" if body[:1] in ("C", "M", "Z") else match[0]

    mark = re.escape(separators.escape)
    return re.sub(f"{mark}([^{mark}]*){mark}", resolve, text)


def _hexadecimal(digits: str, codec: str) -> str:
    try:
        return bytes.fromhex(digits).decode(codec, errors="replace")
    except ValueError:
        return "\ufffd"
