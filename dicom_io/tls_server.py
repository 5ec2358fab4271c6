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
from dicom_io.tls import why_refused

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
        try:
            thread.start()
        except RuntimeError:  # no thread is to be had: it must not hold a place for ever
            self._forget(secured)
            secured.close()
            raise

    def close(self) -> None:
        """Stop accepting, free the port, and end handshakes that still go on."""
        super().close()
        with self._lock:
            shaking = dict(self._shaking)
        for secured in shaking:
            _shut(secured)
        for _, thread in shaking.values():
            thread.join(self.handshake_timeout)

    def _shake_hands(self, secured: ssl.SSLSocket, client_address: Any) -> None:
        try:
            secured.settimeout(self.handshake_timeout)  # `do_handshake` takes it for the whole of it, not for one read
            secured.do_handshake()
            secured.settimeout(self.read_timeout)
            self.finish_request(secured, client_address)
        except Exception as error:  # noqa: BLE001 - outermost of the connection's thread: nobody else would close it
            _log.warning("tls.refused", peer=str(client_address[0]), reason=why_refused(error))
            self.on_dropped(str(client_address[0]), Drop.TLS)
            _shut(secured)
            secured.close()
        finally:
            self._forget(secured)

    def _forget(self, secured: ssl.SSLSocket) -> None:
        with self._lock:
            self._shaking.pop(secured, None)


def _shut(connection: ssl.SSLSocket) -> None:
    """End both directions below TLS: no close_notify, which could block."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
