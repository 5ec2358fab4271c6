"""A TLS socket under the node's own receive path: what OpenSSL has decrypted is read ahead, since no poll sees it.

The socket never blocks; waiting is done by poll, so that one deadline holds for each PDU, however its records come. Not
allowed here: handshakes (`tls_server`), policy, what a PDU means.
"""

from __future__ import annotations

import contextlib
import select
import ssl
import time

from pynetdicom.association import Association

from dicom_io.connection import Connection


class SecureConnection(Connection):
    """A `Connection` over TLS, its handshake done."""

    def __init__(self, association: Association, connection: ssl.SSLSocket) -> None:
        super().__init__(association, connection)
        connection.settimeout(0)
        self._over = False

    def sleep(self, wakes: select.poll) -> bool:
        """As the parent's; bytes that are no data, such as a change of keys (RFC 8446 4.6.3), wake nobody."""
        return self._arrived() or (super().sleep(wakes) and self._arrived())

    def send(self, bytestream: bytes) -> None:
        """As the parent's, which waits while the peer takes nothing."""
        connection = self.socket
        if connection is None:
            return
        with contextlib.suppress(OSError):  # closed by another thread
            connection.settimeout(self._timeout)
        super().send(bytestream)
        with contextlib.suppress(OSError):
            connection.settimeout(0)

    def _arrived(self) -> bool:
        """Whether there is data, or the end."""
        if self._deaf:
            return False
        if self._end == self._start:
            self._start = self._end = 0
            self._read_some(0)
        return self._end > self._start or self._over

    def _read_some(self, count: int) -> int:
        """As the parent's, record by record: 16 KB at most (RFC 8446 5.1)."""
        began = self._end
        stop = began + count if count else len(self._buffer)
        while self._end < stop and self.socket is not None and not self._over:
            try:
                got = self.socket.recv_into(memoryview(self._buffer)[self._end : stop])
            except ssl.SSLWantReadError:
                if count and self._await():
                    continue
                break
            except (OSError, ValueError, AttributeError):  # reset, broken record, closed by another thread
                got = 0
            self._over = not got
            self._end += got
        return self._end - began

    def _await(self) -> bool:
        """Whether bytes came before the deadline of the PDU."""
        return bool(self._poll.poll(max(self._deadline - time.monotonic(), 0.0) * 1000))

    def _set_timeout(self, seconds: float) -> None:
        """For what is sent; what is read waits in `_await`."""
        self._timeout = seconds
