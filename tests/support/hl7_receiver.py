"""An HL7 receiver whose every answer is the test's own."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Self

from support.mllp import FS, VT, block

Reply = Callable[[socket.socket, bytes, str], None]
"""(connection, message, its control id): sends whatever the receiver is to answer; then the connection is read on."""


def ack(code: str, control: str, *, err: str = "") -> bytes:
    """A framed acknowledgement."""
    error = f"ERR|||{err}^text^HL70357|E\r" if err else ""
    return block(
        f"MSH|^~\\&|RIS||OSTEON||20250310093013||ACK^R01^ACK|A1|P|2.5.1\rMSA|{code}|{control}\r{error}".encode()
    )


def answering(*codes: str) -> Reply:
    """Answer with these codes, one message after the other; the last one for all that follow."""
    left = list(codes)

    def reply(link: socket.socket, _message: bytes, control: str) -> None:
        link.sendall(ack(left.pop(0) if len(left) > 1 else left[0], control))

    return reply


def closing(link: socket.socket, _message: bytes, _control: str) -> None:
    """Take the message and hang up."""
    link.shutdown(socket.SHUT_RDWR)


class Receiver:
    """Listens on loopback while it is entered; `received` holds every message as it came."""

    def __init__(self, reply: Reply, context: ssl.SSLContext | None = None) -> None:
        self.reply = reply
        self.received: list[bytes] = []
        self._context = context
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            try:
                if self._context is not None:
                    link = self._context.wrap_socket(link, server_side=True)
                with link:
                    self._talk(link)
            except OSError:
                link.close()

    def _talk(self, link: socket.socket) -> None:
        rest = b""
        while piece := link.recv(65536):
            rest += piece
            while FS in rest:
                message, _, rest = rest.partition(FS)
                message = message.strip(VT + b"\r\n") + b"\r"
                self.received.append(message)
                self.reply(link, message, message.split(b"|")[9].decode())
