"""A buffered socket under pynetdicom: one read fetches a PDU or many small ones, and one deadline holds for each PDU.

Linux: SO_RCVTIMEO spans a whole `recv` with MSG_WAITALL, so a sender that trickles one byte a second meets it too.
Plain sockets; `secure_connection` does the same over TLS. Not allowed here: what a PDU means.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable
from queue import Queue
from typing import Any, Final

from pynetdicom import transport
from pynetdicom.association import Association

WAIT_SECONDS: Final = 1.0
"""Longest sleep: pynetdicom's timers are looked at that often."""

_HEADER: Final = struct.Struct(">BxI")
_FIRST_BUFFER: Final = 16_384
_READ_AHEAD: Final = 512 << 10
"""Buffer of a connection on which objects come: one read fetches many small PDUs."""


class Connection(transport.AssociationSocket):
    """A plain socket with a buffer. Each PDU, once begun, must end within `patience` seconds, however it trickles."""

    def __init__(self, association: Association, connection: socket.socket) -> None:
        super().__init__(association, client_socket=connection)
        connection.settimeout(None)
        self._buffer = bytearray(_FIRST_BUFFER)
        self._start = self._end = 0
        self._deadline = 0.0
        self._timeout = 0.0
        self._deaf = False
        self._poll = select.poll()  # select() refuses descriptors from 1024 on
        self._poll.register(connection, select.POLLIN)
        self._set_timeout(max(association.acse_timeout or 0.0, 1.0))

    @property
    def ready(self) -> bool:
        """Whether a read would return at once; never blocks."""
        if self._deaf or self.socket is None or not self._is_connected:
            return False
        return self._end > self._start or bool(self._poll.poll(0))

    def close(self) -> None:
        """Close; the parent does not where the peer was faster."""
        connection = self.socket
        super().close()
        if connection is not None:
            connection.close()

    def sleep(self, wakes: select.poll) -> bool:
        """Wait for bytes or what `wakes` holds, a second at most, for the sake of the timers; whether bytes came."""
        if self._end > self._start and not self._deaf:
            return True
        connection = None if self._deaf else self.socket
        own = -1 if connection is None else connection.fileno()
        if own >= 0:
            wakes.register(own, select.POLLIN)
        return own in dict(wakes.poll(WAIT_SECONDS * 1000))

    def deafen(self) -> None:
        """Never be ready again: what still comes cannot be told apart from noise."""
        self._deaf = True

    def stalled(self) -> bool:
        """Whether the last PDU missed its deadline."""
        return time.monotonic() >= self._deadline

    def begin(self, patience: float) -> tuple[int, int] | None:
        """Type and length of the next PDU, which stays unread; None if the peer closed or stalled."""
        self._deadline = time.monotonic() + patience
        if self._end == self._start:
            self._start = self._end = 0
            self._read_some(0)
        if not self._fill(_HEADER.size):
            return None
        kind, length = _HEADER.unpack_from(self._buffer, self._start)
        return int(kind), int(length)

    def body(self, length: int) -> memoryview | None:
        """Consume a whole PDU; returns its `length` bytes after the header, valid until the next read."""
        if not self._fill(_HEADER.size + length, _READ_AHEAD):
            return None
        start = self._start + _HEADER.size
        self._start = start + length
        return memoryview(self._buffer)[start : self._start]

    def recv(self, nr_bytes: int) -> bytearray:
        """What the parent classes read by; shorter if the peer closed or stalled, as theirs."""
        self._fill(nr_bytes)
        taken = min(nr_bytes, self._end - self._start)
        self._start += taken
        return self._buffer[self._start - taken : self._start]

    def _fill(self, count: int, room: int = 0) -> bool:
        """Have `count` bytes from `_start` on; a buffer too small for them gets `room`, or more if they need it."""
        if self._end - self._start < count and self._start + count > len(self._buffer):
            self._make_room(count, room)
        while (missing := count - (self._end - self._start)) > 0:
            remaining = self._deadline - time.monotonic()
            if remaining <= 0:
                return False
            if abs(remaining - self._timeout) > self._timeout / 8:
                self._set_timeout(remaining)
            # With MSG_WAITALL the kernel's time-out spans the whole call, so it is the deadline of the PDU. What is
            # shorter was interrupted: the process was stopped and went on, was frozen, has a debugger.
            if not self._read_some(missing):
                return False
        return True

    def _read_some(self, count: int) -> int:
        """Read exactly `count` bytes unless the peer closes or stalls; 0: what is there."""
        if self.socket is None:
            return 0
        flags = socket.MSG_WAITALL if count else socket.MSG_DONTWAIT
        view = memoryview(self._buffer)[self._end : self._end + count if count else None]
        with contextlib.suppress(OSError):  # time-out, reset, closed by another thread: the PDU is short
            got = self.socket.recv_into(view, len(view), flags)
            self._end += got
            return got
        return 0

    def _make_room(self, count: int, room: int) -> None:
        held = self._buffer[self._start : self._end]
        if max(count, room) > len(self._buffer):
            self._buffer = bytearray(max(count + _FIRST_BUFFER, room))
        self._buffer[: len(held)] = held
        self._start, self._end = 0, len(held)

    def _set_timeout(self, seconds: float) -> None:
        if self.socket is None:
            return
        self._timeout = seconds
        value = struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6) or 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


class WakingQueue(Queue[Any]):
    """A queue that tells when something was put in."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._tell = wake

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002
        """As `Queue.put`."""
        super().put(item, block, timeout)
        self._tell()
