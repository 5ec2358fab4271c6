"""The TCP side of the Storage SCP: socket options and bounds, no policy; and which receive path a connection takes.

pynetdicom sets none of these: backlog 128 (with its 5, forty senders at once wait up to 6 s), TCP_NODELAY on accepted
sockets, a deadline for every PDU, a limit to the length it may announce, and limits to connections that never say
anything. Public seams only: `AE.make_server(server_class=)`, EVT_CONN_OPEN, `AssociationSocket.recv`. Without
`open_part` nothing private of pynetdicom is used. No name look-up of a peer is made.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from pynetdicom import evt, transport
from pynetdicom.association import Association
from pynetdicom.events import Event

from config.settings import Reception
from dicom_io.admission import Drop, Lobby
from dicom_io.contexts import Contexts
from dicom_io.foreign_faults import watch
from dicom_io.transport import LARGEST_ASSOCIATE_PDU, SLACK, OpenPart, accelerate, no_request

STOCK_PDU_BYTES: Final = 131_072
"""Largest PDU offered on the stock path: measured fastest there, and held in memory several times."""
_PATIENCE: Final = 60.0
"""Seconds for a PDU where a time-out of 0 would mean none."""
_INSTANT: Final = 0.001
_PIECE: Final = 65_536
_HEADER: Final = struct.Struct(">BxI")
"""Type and length of a PDU (PS3.8 9.3.1)."""

_log = structlog.get_logger()

_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A sender that vanished without a word is noticed after 90 s, also where `reception.idle_timeout` is long."""


class AssociationServer(transport.AssociationServer):
    """Accepts connections and hands each to a pynetdicom `Association`."""

    request_queue_size = 128
    read_timeout: float = 60.0
    """Seconds one read of a begun PDU may take."""
    lobby: Lobby = Lobby(Reception())
    """Bounds the connections served at once, associated or not."""
    on_dropped: Callable[[str, Drop], None] = staticmethod(lambda _address, _why: None)
    """Told of each connection that ends here: its address and why."""

    on_broken: Callable[[Association, Drop], None] = staticmethod(lambda _association, _why: None)
    """Told of each association that is aborted for what its requestor sent."""
    open_part: OpenPart | None = None
    """Where the own receive path writes objects; None: the stock path, which holds them in memory."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.contexts = Contexts(self.contexts)
        self._serves = False
        self.bind(evt.EVT_CONN_OPEN, self._prepare)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept one connection, without Nagle's delay and without endless reads."""
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for level, option, value in _KEEPALIVE:
            connection.setsockopt(level, option, value)
        connection.settimeout(self.read_timeout)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - signature of socketserver
        """Whether to talk to this connection at all: bounds the threads that silent connections can hold."""
        held = [str(association.requestor.address) for association in self.active_associations]
        return self._has_room(str(client_address[0]), held)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - signature of socketserver
        """One connection failed before it became an association; the others do not notice."""
        self.on_dropped(str(client_address[0]), Drop.FAILED)

    def serve_in_background(self) -> threading.Thread:
        """Accept connections in a thread of its own until `close`."""
        thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="dicom-accept", daemon=True)
        thread.start()
        self._serves = True
        return thread

    def close(self) -> None:
        """Stop accepting and free the port, also where nothing was accepted yet."""
        if self._serves:  # else `shutdown` would wait for ever for the end of a loop that never began
            super(transport.AssociationServer, self).shutdown()
        self.server_close()

    def _has_room(self, address: str, held: list[str]) -> bool:
        if self.lobby.has_room(address, held):
            return True
        self.on_dropped(address, Drop.TOO_MANY)
        return False

    def _prepare(self, event: Event) -> None:
        """EVT_CONN_OPEN: the association exists and has not begun."""
        association, connection = event.assoc, event.assoc.dul.socket
        if connection is None:
            return
        association.run = _closing(association)  # type: ignore[method-assign]
        broken = functools.partial(self.on_broken, association)
        fast = self.open_part is not None and accelerate(association, self.open_part, broken)
        watch(association, functools.partial(broken, Drop.MESSAGE))
        if fast:
            return
        association.acceptor.maximum_length = min(association.ae.maximum_pdu_size, STOCK_PDU_BYTES)
        stock: Any = connection
        stock.recv = _bounded(association, connection, broken)


def _closing(association: Association) -> Callable[[], None]:
    """In place of `Thread.run`: a request that breaks pynetdicom's negotiation must not leave its connection standing.

    One is a presentation context without a transfer syntax (PS3.8 9.3.2.2 demands one): the association's thread dies,
    its upper layer would serve the socket for ever, and no limit would count it.
    """
    stock = association.run

    def run() -> None:
        try:
            stock()
        except Exception as error:  # noqa: BLE001 - outermost of the association's thread
            _log.warning("association.broken", peer=str(association.requestor.address), error=type(error).__name__)
            connection = association.dul.socket.socket if association.dul.socket else None
            if connection is not None:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            association.kill()  # waits for the upper layer, which the shutdown has woken
            if connection is not None:
                connection.close()

    return run


def _bounded(
    association: Association, connection: transport.AssociationSocket, broken: Callable[[Drop], None]
) -> Callable[[int], bytearray]:
    """In place of `AssociationSocket.recv`: refuses a hostile length, and one deadline holds for the whole read.

    `broken` is told what came in place of an association request; what follows that is not read.
    """
    limit = max(association.ae.maximum_pdu_size, LARGEST_ASSOCIATE_PDU) + SLACK
    first = True

    def recv(count: int) -> bytearray:
        nonlocal first, limit
        if count > limit:
            msg = f"a PDU of {count} bytes was announced, at most {limit} are read"
            raise OSError(msg)  # the upper layer closes the connection on it
        patience = (association.dimse_timeout if association.is_established else association.acse_timeout) or _PATIENCE
        data = _read(connection, count, time.monotonic() + patience)
        why = no_request(*_HEADER.unpack(data)) if first and len(data) == _HEADER.size else None
        first = False
        if why is not None:
            limit = 0
            broken(why)
        return data

    return recv


def _read(connection: transport.AssociationSocket, count: int, deadline: float) -> bytearray:
    """`count` bytes, or fewer if the peer closed. TimeoutError: not all of them in time."""
    received, at = bytearray(count), 0
    while at < count and connection.socket is not None:
        connection.socket.settimeout(max(deadline - time.monotonic(), _INSTANT))
        got = connection.socket.recv_into(memoryview(received)[at : at + _PIECE])
        if not got:
            break
        at += got
    return received[:at]
