"""A raw MLLP client, and a listener whose commit is the test's own."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from support.hl7 import message, pid

from config.hl7_feed import Mllp
from node.feeds.inbox import accept
from node.feeds.mllp import MllpServer
from node.feeds.mllp_committer import Arrived
from node.feeds.outcome import Outcome

AT = dt.datetime(2025, 3, 10, 9, tzinfo=dt.UTC)
VT, FS = b"\x0b", b"\x1c"


def adt(control: str) -> bytes:
    return message("ADT^A08^ADT_A01", pid(), control=control)


def block(data: bytes) -> bytes:
    return VT + data + FS + b"\r"


class Peer:
    """A sender that sees every byte."""

    def __init__(self, port: int, *, address: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection((address, port), timeout=10)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.rest = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self) -> bytes | None:
        """The next acknowledgement; None when the listener closed."""
        while FS not in self.rest:
            try:
                piece = self.socket.recv(65536)
            except ConnectionError:
                return None
            if not piece:
                return None
            self.rest += piece
        reply, self.rest = self.rest.split(FS, 1)
        return reply.strip(b"\x0b\r")

    def answer(self) -> list[str] | None:
        """MSA of the next acknowledgement."""
        reply = self.reply()
        return None if reply is None else reply.decode().split("\r")[1].split("|")[1:]

    def closed(self) -> bool:
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True


class Feed:
    """A listener; what it took and counted."""

    def __init__(
        self,
        commit: Callable[[bytes], bytes | None] | None = None,
        context: Callable[[], ssl.SSLContext] | None = None,
        **settings: object,
    ) -> None:
        self.settings = Mllp.model_validate({"port": 0, **settings})
        self.stored: list[tuple[bytes, str]] = []
        self.groups: list[int] = []
        self.counts: Counter[Outcome] = Counter()
        self._commit = commit or (lambda frame: accept(frame, at=AT, settings=self.settings).ack)
        self.server = MllpServer(self.settings, self._take, self._count, context)

    def await_count(self, outcome: Outcome, number: int = 1) -> None:
        """Until it was counted so often; the events of a link come after its last answer."""
        pause = threading.Event()
        for _ in range(500):
            if self.counts[outcome] >= number:
                return
            pause.wait(0.02)
        pytest.fail(f"{outcome} was counted {self.counts[outcome]} times; all: {self.counts}")

    def _take(self, arrived: Sequence[Arrived]) -> list[bytes | None]:
        replies = [self._commit(frame.data) for frame in arrived]
        self.groups.append(len(arrived))
        self.stored += [(frame.data, frame.peer) for frame in arrived]
        return replies

    def _count(self, _peer: str, outcome: Outcome) -> None:
        self.counts[outcome] += 1
