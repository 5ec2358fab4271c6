"""PDUs and C-STORE messages as bytes, and a client that speaks them: no library stands between a test and the wire.

Built from PS3.8 9.3 and PS3.7 9.3.1 directly, so that a mistake of pynetdicom cannot hide behind its own encoder, and
so that wrong bytes can be made as easily as right ones.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

DX = "1.2.840.10008.5.1.4.1.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
COMMAND, LAST = 1, 2
NO_DATASET = 0x0101

Context = tuple[int, str, tuple[str, ...]]
"""Identifier, abstract syntax, transfer syntaxes."""


def pdu(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    """One PDU; `length` lies about its size."""
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def item(kind: int, body: bytes) -> bytes:
    """One item or sub-item of an A-ASSOCIATE-RQ."""
    return struct.pack(">BxH", kind, len(body)) + body


def associate_rq(
    contexts: Iterable[Context],
    *,
    called: bytes = b"OSTEON",
    calling: bytes = b"CHAOS",
    maximum_pdu: int = 16_384,
    extra: bytes = b"",
) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    proposed = b"".join(presentation_context(*context) for context in contexts)
    user = item(0x51, struct.pack(">I", maximum_pdu)) + item(0x52, b"1.2.826.0.1.3680043.8.498.77.9") + extra
    fixed = struct.pack(">H2x16s16s32x", 1, called.ljust(16), calling.ljust(16))
    return pdu(ASSOCIATE_RQ, fixed + item(0x10, APPLICATION_CONTEXT.encode()) + proposed + item(0x50, user))


def presentation_context(number: int, abstract: str, transfer: Sequence[str]) -> bytes:
    """One proposed context (PS3.8 9.3.2.2)."""
    syntaxes = b"".join(item(0x40, syntax.encode("latin-1")) for syntax in transfer)
    return item(0x20, bytes([number & 0xFF, 0, 0, 0]) + item(0x30, abstract.encode("latin-1")) + syntaxes)


def value(context: int, flags: int, data: bytes, *, length: int | None = None) -> bytes:
    """One presentation data value item (PS3.8 9.3.5.1, annex E.2); `length` lies about its size."""
    return struct.pack(">IBB", len(data) + 2 if length is None else length, context & 0xFF, flags & 0xFF) + data


def element(group: int, number: int, data: bytes) -> bytes:
    """One command element: implicit VR little endian (PS3.7 6.3.1)."""
    padded = data if len(data) % 2 == 0 else data + b"\0"
    return struct.pack("<HHI", group, number, len(padded)) + padded


def command(*elements: bytes) -> bytes:
    """A command set with its group length."""
    body = b"".join(elements)
    return element(0, 0, struct.pack("<I", len(body))) + body


def short(number: int, what: int) -> bytes:
    """A command element of VR US."""
    return element(0, number, struct.pack("<H", what & 0xFFFF))


def c_store_rq(sop_class: bytes, instance: bytes, *, message: int = 1, dataset_type: int = 1) -> bytes:
    """The command set of a C-STORE-RQ (PS3.7 9.3.1.1)."""
    return command(
        element(0, 0x0002, sop_class),
        short(0x0100, 0x0001),
        short(0x0110, message),
        short(0x0700, 0),
        short(0x0800, dataset_type),
        element(0, 0x1000, instance),
    )


def c_echo_rq(message: int = 1) -> bytes:
    """The command set of a C-ECHO-RQ."""
    return command(
        element(0, 2, VERIFICATION.encode()), short(0x0100, 0x30), short(0x0110, message), short(0x0800, NO_DATASET)
    )


def p_data(context: int, data: bytes, *, is_command: bool, chunk: int = 16_000, last: bool = True) -> bytes:
    """`data` as P-DATA-TF PDUs of one value each; without `last` its end is never told."""
    kind = COMMAND if is_command else 0
    pieces = [data[at : at + chunk] for at in range(0, len(data), chunk)] or [b""]
    flags = [kind] * (len(pieces) - 1) + [kind | LAST if last else kind]
    return b"".join(pdu(P_DATA, value(context, flag, piece)) for flag, piece in zip(flags, pieces, strict=True))


def store_message(context: int, instance: str, dataset: bytes, *, sop_class: str = DX, chunk: int = 16_000) -> bytes:
    """A whole C-STORE."""
    head = p_data(context, c_store_rq(sop_class.encode(), instance.encode("latin-1")), is_command=True)
    return head + p_data(context, dataset, is_command=False, chunk=chunk)


def release_rq() -> bytes:
    """An A-RELEASE-RQ."""
    return pdu(RELEASE_RQ, bytes(4))


def abort() -> bytes:
    """An A-ABORT of the service user."""
    return pdu(ABORT, bytes(4))


@dataclass(frozen=True, slots=True)
class Answer:
    """One PDU that came back."""

    kind: int
    body: bytes

    @property
    def status(self) -> int | None:
        """Status (0000,0900) of a DIMSE response; None in any other PDU."""
        if self.kind != P_DATA:
            return None
        at = self.body.find(struct.pack("<HHI", 0, 0x0900, 2))
        return None if at < 0 else int(struct.unpack_from("<H", self.body, at + 8)[0])


class Wire:
    """A connection to a listener, by TLS or not; a context manager. `limit`: seconds any single read may take."""

    def __init__(self, port: int, *, limit: float = 10.0, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=limit)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def read(self) -> Answer | None:
        """The next PDU; None when the peer closed.

        Raises:
            TimeoutError: nothing came within the limit.

        """
        head = self._exactly(6)
        if head is None:
            return None
        kind, length = struct.unpack(">BxI", head)
        body = self._exactly(length)
        return None if body is None else Answer(kind, body)

    def rest(self) -> Iterator[Answer]:
        """Every further PDU until the peer closes."""
        while (answer := self.read()) is not None:
            yield answer

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_WR)  # below TLS, whose own `shutdown` ends both ways

    def reset(self) -> None:
        """Close with a RST, as a crashed host or a firewall does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _exactly(self, count: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < count:
            try:
                piece = self.socket.recv(count - len(parts))
            except (ConnectionError, BrokenPipeError):
                return None
            if not piece:
                return None
            parts += piece
        return bytes(parts)


def store(
    port: int,
    instance: str,
    dataset: bytes,
    *,
    transfer: str = EXPLICIT,
    limit: float = 30.0,
    tls: ssl.SSLContext | None = None,
) -> int | None:
    """Associate, store one DX, release; its status, or None when there was no answer."""
    with contextlib.suppress(OSError), Wire(port, limit=limit, tls=tls) as wire:
        wire.send(associate_rq([(1, DX, (transfer,))]))
        accepted = wire.read()
        if accepted is None or accepted.kind != ASSOCIATE_AC:
            return None
        wire.send(store_message(1, instance, dataset))
        answer = wire.read()
        if answer is None or answer.status is None:
            return None
        status = answer.status
        with contextlib.suppress(OSError):
            wire.send(release_rq())
            wire.read()
        return status
    return None
