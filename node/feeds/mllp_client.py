"""Brings one message to a receiver by MLLP and waits for the answer that names it.

One connection per message: an idle link that a firewall has cut would be noticed only by a message that is lost in it.
Answers are matched by MSA-2 alone. Receivers in enhanced mode send CA and, later, AA on one socket; what names another
message is passed over. Between the last byte sent and the answer the message may or may not be there: whoever resends
must send the same bytes.

    NoAnswer    it was not taken, as far as we know; send the same bytes again
"""

from __future__ import annotations

import enum
import re
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from node.feeds.er7 import HL7Error, read_separators, stripped
from node.feeds.mllp_framing import END, START, Framer

MAX_ANSWER_BYTES: Final = 1 << 20
MAX_JUNK_BYTES: Final = 64 << 10
"""Bytes outside blocks after which this is no MLLP receiver."""
ACCEPTED: Final = frozenset({"AA", "CA"})
_LINES: Final = re.compile(rb"[\r\n]+")
_READ_BYTES: Final = 64 << 10


class Silence(enum.StrEnum):
    """Why no acknowledgement came."""

    NOT_REACHED = "not reached"
    NO_TLS = "no TLS"
    TIMED_OUT = "no acknowledgement in time"
    LOST = "connection lost before the acknowledgement"


class NoAnswer(Exception):
    """No acknowledgement of the message came. The text is without patient data."""

    def __init__(self, why: Silence, error: OSError | None = None) -> None:
        words = "" if error is None else error.strerror or type(error).__name__
        super().__init__(f"{why} ({words})" if words else str(why))
        self.why = why
        self.sent = why in (Silence.TIMED_OUT, Silence.LOST)
        """Whether the message may have arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The acknowledgement of a message."""

    code: str
    """MSA-1: `AA`, `AE`, `AR`, `CA`, `CE` or `CR`."""
    error: str = ""
    """ERR-3.1 (table 0357) of the first ERR, when there is one: a code, never a text."""

    @property
    def accepted(self) -> bool:
        """Whether the receiver has taken the message."""
        return self.code in ACCEPTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a receiver listens, and how long it is waited for."""

    host: str
    port: int
    connect_timeout: float
    answer_timeout: float
    context: ssl.SSLContext | None = None
    """Speak TLS by it."""


def exchange(message: bytes, control_id: str, address: Address) -> Answer:
    """Send `message` and return the answer whose MSA-2 is `control_id`.

    Raises:
        NoAnswer: the receiver is not there, or no such answer came in time.

    """
    try:
        link = socket.create_connection((address.host, address.port), timeout=address.connect_timeout)
    except OSError as error:
        raise NoAnswer(Silence.NOT_REACHED, error) from None
    with link:
        try:
            if address.context is not None:
                link = address.context.wrap_socket(link, server_hostname=address.host)
        except OSError as error:
            raise NoAnswer(Silence.NO_TLS, error) from None
        with link:
            return _exchange(link, message, control_id, address.answer_timeout)


def read_answer(block: bytes) -> tuple[str, Answer] | None:
    """(MSA-2, the answer) of an acknowledgement; None for anything else. Never raises.

    Only MSA is asked of it, and ERR-3 where there is one: receivers state odd times, another version or a bare `ACK`.
    """
    try:
        separators = read_separators(stripped(block))
    except HL7Error:
        return None
    field, component = separators.field.encode(), separators.component.encode()
    lines = [line.split(field) for line in _LINES.split(stripped(block))]
    msa = next((line for line in lines if line[0].strip() == b"MSA"), [])
    if len(msa) < 3:  # noqa: PLR2004 - MSA, its code, the control id
        return None
    err = next((line for line in lines if line[0].strip() == b"ERR"), [])
    error = err[3].split(component)[0] if len(err) > 3 else b""  # noqa: PLR2004 - ERR-3
    code = error.decode("ascii", errors="replace").strip()
    answer = Answer(code=_ascii(msa[1]).upper(), error=code if code.isdigit() else "")
    return _ascii(msa[2]), answer


def _exchange(link: socket.socket, message: bytes, control_id: str, seconds: float) -> Answer:
    deadline = time.monotonic() + seconds
    try:
        link.settimeout(seconds)
        link.sendall(bytes([START]) + message + bytes([END]) + b"\r")
        for block in _blocks(link, deadline):
            named = read_answer(block)
            if named is not None and named[0] == control_id:
                return named[1]
    except TimeoutError:
        raise NoAnswer(Silence.TIMED_OUT) from None
    except OSError as error:
        raise NoAnswer(Silence.LOST, error) from None
    raise NoAnswer(Silence.LOST)


def _blocks(link: socket.socket, deadline: float) -> Iterator[bytes]:
    """What the receiver sends until it closes. Raises TimeoutError at the deadline, however slowly bytes drip in."""
    framer = Framer(MAX_ANSWER_BYTES)
    while framer.junk <= MAX_JUNK_BYTES:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        link.settimeout(remaining)
        data = link.recv(_READ_BYTES)
        if not data:
            return
        for block in framer.feed(data):
            yield block.data


def _ascii(text: bytes) -> str:
    return text.decode("ascii", errors="replace").strip()
