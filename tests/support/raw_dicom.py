"""A C-STORE sender on bare sockets: the load generator of the benchmarks, and the hand that breaks PDUs in tests.

It honours the acceptor's maximum PDU length and costs next to nothing: PDUs are built once, only UIDs are patched.
"""

from __future__ import annotations

import itertools
import os
import socket
import ssl
import struct
from collections.abc import Iterator

EXPLICIT = "1.2.840.10008.1.2.1"
VERIFICATION = "1.2.840.10008.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"

COMMAND, LAST = 1, 2
UID_LENGTH = 40
_counter = itertools.count()


def fresh_uid() -> str:
    """A UID of exactly UID_LENGTH characters that no other process makes."""
    stem = f"1.2.826.0.1.3680043.8.498.{os.getpid()}.{next(_counter)}."
    return stem + "1" * (UID_LENGTH - len(stem))


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def value(context: int, control: int, data: bytes) -> bytes:
    """One presentation data value item (PS3.8 9.3.5.1)."""
    return struct.pack(">IBB", len(data) + 2, context, control) + data


def associate_rq(called: str, calling: str, contexts: list[tuple[str, str]], max_pdu: int = 16384) -> bytes:
    body = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode())
    body += item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, (abstract, transfer) in enumerate(contexts):
        syntaxes = item(0x30, abstract.encode()) + item(0x40, transfer.encode())
        body += item(0x20, struct.pack(">B3x", 2 * number + 1) + syntaxes)
    user = item(0x51, struct.pack(">I", max_pdu)) + item(0x52, b"1.2.826.0.1.3680043.8.498.9")
    return pdu(1, body + item(0x50, user))


def command_set(*elements: tuple[int, bytes]) -> bytes:
    """Implicit VR Little Endian, group 0000, with its length in front."""
    body = b"".join(struct.pack("<HHI", 0, number, len(data)) + data for number, data in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _even(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)


def store_command(sop_class: str, instance: str, message: int = 1) -> bytes:
    us = struct.Struct("<H").pack
    return command_set(
        (0x0002, _even(sop_class)),
        (0x0100, us(1)),
        (0x0110, us(message)),
        (0x0700, us(0)),
        (0x0800, us(0)),
        (0x1000, _even(instance)),
    )


def echo_command(message: int = 7) -> bytes:
    us = struct.Struct("<H").pack
    return command_set((0x0002, _even(VERIFICATION)), (0x0100, us(0x30)), (0x0110, us(message)), (0x0800, us(0x0101)))


def fragments(context: int, data: bytes, room: int, control: int = 0) -> Iterator[bytes]:
    """Values of at most `room` bytes of data; the last one is marked."""
    for at in range(0, max(len(data), 1), room):
        last = LAST if at + room >= len(data) else 0
        yield value(context, control | last, data[at : at + room])


class RawSender:
    """One association; raises ConnectionError when the peer rejects, aborts or leaves."""

    def __init__(
        self,
        port: int,
        *,
        called: str = "OSTEON",
        calling: str = "LOADGEN",
        contexts: tuple[tuple[str, str], ...] = ((DX, EXPLICIT), (VERIFICATION, EXPLICIT)),
        timeout: float = 60.0,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket)
        self.socket.sendall(associate_rq(called, calling, list(contexts)))
        kind, body = self.read_pdu()
        if kind != 2:
            self.socket.close()
            msg = f"association refused by PDU type {kind}: {body.hex()}"
            raise ConnectionError(msg)
        self.max_pdu = _maximum_length(body) or 1 << 20

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def read_pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._exactly(6))
        return kind, self._exactly(length)

    def status(self) -> int:
        """Read one response; its status."""
        kind, body = self.read_pdu()
        if kind != 4:
            msg = f"PDU type {kind} in place of a response"
            raise ConnectionError(msg)
        at = body.index(b"\0\0\0\x09\x02\0\0\0")  # (0000,0900), 2 bytes
        return int(struct.unpack_from("<H", body, at + 8)[0])

    def store(self, dataset: bytes, instance: str, sop_class: str = DX, *, limit: int | None = None) -> int:
        """C-STORE of an encoded dataset in PDUs of at most `limit` bytes; its status."""
        self.socket.sendall(store_stream(dataset, instance, sop_class, limit or self.max_pdu))
        return self.status()

    def echo(self) -> int:
        self.socket.sendall(pdu(4, value(3, COMMAND | LAST, echo_command())))
        return self.status()

    def release(self) -> None:
        self.socket.sendall(pdu(5, bytes(4)))
        kind, _ = self.read_pdu()
        self.socket.close()
        if kind != 6:
            msg = f"PDU type {kind} in place of A-RELEASE-RP"
            raise ConnectionError(msg)

    def abort(self) -> None:
        self.socket.sendall(pdu(7, bytes(4)))
        self.socket.close()

    def closed_by_peer(self) -> bool:
        """Wait for the end; whether it was one (an A-ABORT may come first)."""
        try:
            while self.socket.recv(4096):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                msg = "the peer closed the connection"
                raise ConnectionError(msg)
            data += more
        return data


def store_stream(dataset: bytes, instance: str, sop_class: str, limit: int, context: int = 1) -> bytes:
    """All PDUs of one C-STORE, one value in each, as large as the acceptor allows."""
    command = pdu(4, value(context, COMMAND | LAST, store_command(sop_class, instance)))
    return command + b"".join(pdu(4, one) for one in fragments(context, dataset, limit - 6))


def _maximum_length(accept: bytes) -> int:
    at = 68
    while at < len(accept):
        kind, length = struct.unpack_from(">BxH", accept, at)
        if kind == 0x50:
            end, at = at + 4 + length, at + 4
            while at < end:
                sub, size = struct.unpack_from(">BxH", accept, at)
                if sub == 0x51:
                    return int(struct.unpack_from(">I", accept, at + 4)[0])
                at += 4 + size
        at += 4 + length
    return 0
