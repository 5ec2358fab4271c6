"""The TCP side of the Storage SCP under pynetdicom's stock upper layer: socket options and bounds, no policy.

pynetdicom sets none of these: backlog 128 (with its 5, forty senders at once wait up to 6 s), TCP_NODELAY on accepted
sockets, a time-out on every read, a limit to the length a PDU may announce, and a limit to connections that never say
anything. Public seams only: `AE.make_server(server_class=, request_handler=)`. No name look-up of a peer is made.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

import structlog
from pynetdicom import transport
from pynetdicom.association import Association

_log = structlog.get_logger()

_SLACK: Final = 1024
"""Bytes a P-DATA PDU may exceed the advertised maximum by: headers of its items (PS3.8 D.1.1)."""
_LARGEST_ASSOCIATE_PDU: Final = 131_072
"""128 presentation contexts with every transfer syntax stay below this."""


class AssociationServer(transport.AssociationServer):
    """Accepts connections and hands each to a pynetdicom `Association`."""

    request_queue_size = 128
    read_timeout: float = 60.0
    """Seconds one read of a begun PDU may take."""
    connection_limit: int = 100
    """Connections served at once, associated or not."""

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept one connection, without Nagle's delay and without endless reads."""
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(self.read_timeout)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - signature of socketserver
        """Whether to talk to this connection at all: bounds the threads that silent connections can hold."""
        if len(self.active_associations) < self.connection_limit:
            return True
        _log.warning("connection.dropped", peer=str(client_address[0]), limit=self.connection_limit)
        return False

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - signature of socketserver
        """One connection failed before it became an association; the others do not notice."""
        error = sys.exc_info()[1]
        _log.warning("connection.failed", peer=str(client_address[0]), error=type(error).__name__)

    def serve_in_background(self) -> threading.Thread:
        """Accept connections in a thread of its own until `close`."""
        thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="dicom-accept", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Stop accepting and free the port."""
        super(transport.AssociationServer, self).shutdown()
        self.server_close()


class BoundedRequestHandler(transport.RequestHandler):
    """Gives each association a socket that refuses to allocate what a hostile length announces."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        limit = max(self.ae.maximum_pdu_size, _LARGEST_ASSOCIATE_PDU) + _SLACK
        connection: Any = association.dul.socket
        connection.recv = _bounded(connection.recv, limit)
        return association


def _bounded(receive: Callable[[int], bytearray], limit: int) -> Callable[[int], bytearray]:
    def recv(count: int) -> bytearray:
        if count > limit:
            msg = f"a PDU of {count} bytes was announced, at most {limit} are read"
            raise OSError(msg)  # the upper layer closes the connection on it
        return receive(count)

    return recv
