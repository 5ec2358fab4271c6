"""The TLS port: the handshake happens in a thread of the connection, within one deadline, and then all is as on TCP.

pynetdicom would do it in the accept loop, where one client that says nothing keeps every other sender out.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import structlog

from dicom_io.admission import Drop
from dicom_io.association_server import AssociationServer

_log = structlog.get_logger()


class TlsAssociationServer(AssociationServer):
    """An `AssociationServer` that speaks TLS; set `context_of` before it serves."""

    context_of: Callable[[], ssl.SSLContext]
    """Gives the context of the next handshake."""
    handshake_timeout: float = 10.0
    """Seconds for the whole handshake, however slowly its bytes come."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._lock = threading.Lock()
        self._shaking: dict[ssl.SSLSocket, tuple[str, threading.Thread]] = {}
        super().__init__(*args, **kwargs)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Bound the handshakes as the associations are bounded."""
        with self._lock:
            held = [address for address, _ in self._shaking.values()]
        return self._has_room(str(client_address[0]), held) and super().verify_request(request, client_address)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Leave the accept loop at once."""
        secured = self.context_of().wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(
            target=self._shake_hands, args=(secured, client_address), name="dicom-tls-handshake", daemon=True
        )
        with self._lock:
            self._shaking[secured] = str(client_address[0]), thread
        thread.start()

    def close(self) -> None:
        """Stop accepting, free the port, and end handshakes that still go on."""
        super().close()
        with self._lock:
            shaking = dict(self._shaking)
        for secured, (_, thread) in shaking.items():
            _shut(secured)
            thread.join(self.handshake_timeout)

    def _shake_hands(self, secured: ssl.SSLSocket, client_address: Any) -> None:
        secured.settimeout(self.handshake_timeout)  # `do_handshake` takes it for the whole handshake, not for one read
        try:
            secured.do_handshake()
            secured.settimeout(self.read_timeout)
            self.finish_request(secured, client_address)
        except (OSError, ValueError) as error:  # TLS errors and time-outs are OSErrors; ValueError: closed by `close`
            reason = error.reason if isinstance(error, ssl.SSLError) else type(error).__name__
            _log.warning("tls.refused", peer=str(client_address[0]), reason=reason)
            self.on_dropped(str(client_address[0]), Drop.TLS)
            _shut(secured)
            secured.close()
        finally:
            with self._lock:
                self._shaking.pop(secured, None)


def _shut(connection: ssl.SSLSocket) -> None:
    """End both directions below TLS: no close_notify, which could block."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
