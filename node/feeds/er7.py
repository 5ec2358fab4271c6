r"""HL7 v2 messages in ER7 encoding, read lazily: bytes in, fields out on access.

Decisions (clinical-data.md section 3): the whole frame is decoded before it is split, because in GB 18030, Big5 and
ISO-2022-JP `|`, `^`, `~` and `\` are legal second bytes; segments end at CR, LF or CRLF only, never where
`str.splitlines` would; an empty field was not sent while `""` is an explicit deletion. A missing part reads as empty
and the shape never depends on content.

    HL7Error(code)    the only error this module raises; code of HL7 table 0357
"""

from __future__ import annotations

import re
from functools import lru_cache

from node.feeds.hl7_encoding import CHARSET_SPELLING, Separators, codec_of, decode, oddly_spelled, unescape

DELETE = '""'
"""A field's value that asks to delete what is stored (HL7 v2.5 2.5.3); the empty string says nothing at all."""

MAX_SEGMENTS = 20_000
MAX_REPETITIONS = 1_000
"""Of one field; a message of nothing but repetitions must not hold up the feed."""
REPETITIONS_NOT_READ = "REPETITIONS_NOT_READ"
"""Warning: a field had more than `MAX_REPETITIONS`."""

_BOM = b"\xef\xbb\xbf"
_SURROUNDING = b" \t\r\n\0"
_LINE_END = re.compile(rb"[\r\n]")
_SHIFT = re.compile(rb"\x1b[$()]")
_MENDED_BY_SENDER = frozenset({100, 101, 102, 103, 205})


class HL7Error(Exception):
    """The message cannot be accepted. `code` is of HL7 table 0357, `location` like `MSH-18`; neither holds a value."""

    def __init__(self, code: int, location: str = "", *, sequence: int = 1, reject: bool = False) -> None:
        super().__init__(f"HL7 error {code} at {location or 'message'}")
        self.code = code
        self.location = location
        self.sequence = sequence
        """Which of the segments of that name, from 1 (ERL.2)."""
        self.reject = reject or code not in _MENDED_BY_SENDER
        """True: answered AR/CR. False: the sender can mend the content, answered AE/CE."""


class Segment:
    """One segment. Fields are split at the first access, everything below on each access."""

    __slots__ = ("_codec", "_fields", "_line", "_repeated", "_separators", "_warnings", "id")

    def __init__(self, line: str, separators: Separators, codec: str, warnings: dict[str, int] | None = None) -> None:
        self.id = line[:3]
        """`PID`, `OBX`, ...; empty for a segment that is not there."""
        self._line = line
        self._separators = separators
        self._codec = codec
        self._warnings = warnings
        self._fields: list[str] | None = None
        self._repeated: dict[int, list[str]] | None = None

    def raw(self, number: int) -> str:
        """Field `number` as sent, escapes included; MSH-1 is the separator itself (HL7 v2.5 2.15.9.1)."""
        fields = self._fields
        if fields is None:
            fields = self._fields = self._line.split(self._separators.field)
            if self.id == "MSH":
                fields.insert(1, self._separators.field)
        return fields[number] if number < len(fields) else ""

    def repetitions(self, number: int) -> int:
        """How many repetitions field `number` has; 0 when it is empty. Beyond `MAX_REPETITIONS` they are not read."""
        raw = self.raw(number)
        count = raw.count(self._separators.repetition) + 1 if raw else 0
        if count > MAX_REPETITIONS and self._warnings is not None:
            self._warnings[REPETITIONS_NOT_READ] = self._warnings.get(REPETITIONS_NOT_READ, 0) + 1
        return min(count, MAX_REPETITIONS)

    def get(self, number: int, component: int = 1, subcomponent: int = 1, *, repetition: int = 1) -> str:
        """A value with its escapes resolved; `DELETE` and the empty string are two different answers.

        MSH-1 and MSH-2 are separators, not values: ask for them with `raw`.
        """
        raw = self.raw(number) if repetition == 1 else self._repetition(number, repetition)
        return self._part(raw, component, subcomponent)

    def text(self, number: int, component: int = 1, subcomponent: int = 1, *, repetition: int = 1) -> str:
        """As `get`, trimmed, with a deletion read as empty: for values that are not stored as a state."""
        raw = self.raw(number) if repetition == 1 else self._repetition(number, repetition)
        if raw.isalnum():  # most values; no separator is a letter or a digit
            return raw if component == subcomponent == 1 else ""
        value = self._part(raw, component, subcomponent).strip()
        return "" if value == DELETE else value

    def _repetition(self, number: int, repetition: int) -> str:
        """One repetition; they are split once, or a field of thousands would be searched thousands of times."""
        if self._repeated is None:
            self._repeated = {}
        if (split := self._repeated.get(number)) is None:
            split = self.raw(number).split(self._separators.repetition, MAX_REPETITIONS)[:MAX_REPETITIONS]
            self._repeated[number] = split
        return split[repetition - 1] if 1 <= repetition <= len(split) else ""

    def _part(self, part: str, component: int, subcomponent: int) -> str:
        s = self._separators
        if s.repetition in part:
            part = _nth(part, s.repetition, 1)
        if component != 1 or s.component in part:
            part = _nth(part, s.component, component)
        if subcomponent != 1 or s.subcomponent in part:
            part = _nth(part, s.subcomponent, subcomponent)
        if s.escape not in part:
            return part
        return unescape(part, s, self._codec, {} if self._warnings is None else self._warnings)


class Message:
    """A decoded message: its segments in order."""

    __slots__ = ("codec", "segments", "separators", "warnings")

    def __init__(
        self, segments: tuple[Segment, ...], separators: Separators, codec: str, warnings: dict[str, int] | None = None
    ) -> None:
        self.segments = segments
        self.separators = separators
        self.codec = codec
        self.warnings: dict[str, int] = {} if warnings is None else warnings
        """Codes of what could not be read (`hl7_encoding`), counted at each access."""

    @property
    def header(self) -> Segment:
        """The MSH segment."""
        return self.segments[0]

    def first(self, segment_id: str) -> Segment:
        """The first segment of that id, or an empty one."""
        found = (s for s in self.segments if s.id == segment_id)
        return next(found, Segment("", self.separators, self.codec))


def parse(frame: bytes, *, default_charset: str = "utf-8", pinned_charset: str | None = None) -> Message:
    """Read one message.

    Args:
        frame: the bytes between VT and FS.
        default_charset: Python codec of messages whose MSH-18 is empty.
        pinned_charset: Python codec of every message of the feed, whatever its MSH-18 states.

    Raises:
        HL7Error: the only error, whatever the bytes are.

    """
    frame = stripped(frame)
    separators = read_separators(frame)
    _check_end_of_separators(frame[3:10])
    declared = declared_charset(frame, separators)
    codec = pinned_charset or _codec(declared, separators, default_charset)
    if b"\0" in frame or (b"\x1b" in frame and _SHIFT.search(frame) and not codec.startswith("iso2022")):
        raise HL7Error(102, "message")  # switches to a character set that was not declared: fields would shift
    try:
        text = decode(frame, codec)
    except (UnicodeError, LookupError) as error:
        raise HL7Error(102, "MSH-18") from error
    warnings: dict[str, int] = {}
    if not pinned_charset and oddly_spelled(declared, repetition=separators.repetition):
        warnings[CHARSET_SPELLING] = 1
    segments = _split(text, separators, codec, warnings)
    if not pinned_charset and segments[0].raw(18) != declared:
        raise HL7Error(102, "MSH-18")  # some byte of MSH was not the separator it looked like
    return Message(segments, separators, codec, warnings)


def stripped(frame: bytes) -> bytes:
    """The frame without byte order mark and surrounding white space or NULs."""
    return frame.strip(_SURROUNDING).removeprefix(_BOM).strip(_SURROUNDING)


def read_separators(frame: bytes) -> Separators:
    """The encoding characters at the start of a frame.

    Raises:
        HL7Error: 207 no MSH at the start; 102 separators that are missing, equal, alphanumeric or not printable ASCII.

    """
    if not frame.startswith(b"MSH"):
        raise HL7Error(207, "MSH-1")
    return _separators(frame[3:8])


def declared_charset(frame: bytes, separators: Separators) -> str:
    """MSH-18 as it is found in the bytes, before any decoding; the decoded text must say the same."""
    fields = header_line(frame).split(separators.field.encode(), 18)
    return fields[17].decode("latin-1") if len(fields) > 17 else ""  # noqa: PLR2004 - MSH-18


def header_line(frame: bytes) -> bytes:
    """The bytes up to the first segment end."""
    end = _LINE_END.search(frame)
    return frame[: end.start()] if end else frame


@lru_cache(maxsize=64)
def _separators(head: bytes) -> Separators:
    text = head.decode("latin-1")
    usable = all("!" <= c <= "~" and not c.isalnum() for c in text)
    if len(text) != len(set(text)) or len(text) != 5 or not usable:  # noqa: PLR2004 - five encoding characters
        raise HL7Error(102, "MSH-2")
    return Separators(field=text[0], component=text[1], repetition=text[2], escape=text[3], subcomponent=text[4])


@lru_cache(maxsize=64)
def _check_end_of_separators(head: bytes) -> None:
    """MSH-2 ends after four characters, or after five: v2.7 adds the truncation character (2.5.5.2)."""
    ends = {"", head[:1].decode("latin-1"), "\r", "\n"}
    after = head[5:].decode("latin-1")
    if after[:1] in ends:
        return
    if after[1:] not in ends or after[0].isalnum() or not "!" <= after[0] <= "~":
        raise HL7Error(102, "MSH-2")


def _codec(declared: str, separators: Separators, default_charset: str) -> str:
    codec = codec_of(declared, repetition=separators.repetition, default=default_charset)
    if codec is None:
        raise HL7Error(103, "MSH-18")
    return codec


def _split(text: str, separators: Separators, codec: str, warnings: dict[str, int]) -> tuple[Segment, ...]:
    if text.count("\r") + text.count("\n") > 2 * MAX_SEGMENTS:  # before a list is made of them
        raise HL7Error(207, "message")
    text = text.replace("\r\n", "\r").replace("\n", "\r")
    if "\rMSH" in text:
        raise HL7Error(207, "MSH", sequence=2)  # two messages in one frame would become one patient
    lines = text.split("\r")
    named = _segment_start(separators.field).match
    if not all(map(named, lines)):
        lines = [line for line in lines if line.strip(" \t")]
        if not all(map(named, lines)):
            raise HL7Error(100, "message")
    if len(lines) > MAX_SEGMENTS:
        raise HL7Error(207, "message")
    return tuple([Segment(line, separators, codec, warnings) for line in lines])


@lru_cache(maxsize=64)
def _segment_start(field: str) -> re.Pattern[str]:
    return re.compile(rf"[A-Z][A-Z0-9]{{2}}(?:{re.escape(field)}|\Z)")


def _nth(text: str, separator: str, number: int) -> str:
    parts = text.split(separator, number)
    return parts[number - 1] if number <= len(parts) else ""
