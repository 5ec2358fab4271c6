"""The MLLP listener: who may connect, how many, over TLS or not, and a stop that answers what was received.

It knows no message and no store. A frame is handed to `commit`, which stores it durably and returns the
acknowledgement; only then is it answered. Every connection's task is held for its whole life.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from config.hl7_feed import Mllp
from dicom_io.tls import why_refused
from node.feeds.mllp_committer import Commit, Committer, Count
from node.feeds.mllp_link import READ_BYTES, Link
from node.feeds.outcome import Outcome

_BACKLOG: Final = 128
_STOP_SECONDS: Final = 5.0
"""The whole node is down within 10 s."""
_HANDSHAKE_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 1.0

_log = structlog.get_logger()


class MllpServer:
    """The listener in a thread of its own. `start` once, `stop` once.

    Args:
        settings: the feed.
        commit: see `mllp_committer.Commit`.
        count: called for whatever happens to connections and blocks.
        context: gives the TLS context of the next handshake; None for plain TCP.

    """

    def __init__(
        self, settings: Mllp, commit: Commit, count: Count, context: Callable[[], ssl.SSLContext] | None = None
    ) -> None:
        self._settings = settings
        self._commit = commit
        self._count = count
        self._context = context
        self._networks = tuple(ipaddress.ip_network(n) for n in settings.networks)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="mllp", daemon=True)
        self._links: dict[asyncio.Task[None], Link | None] = {}
        self._of_peer: Counter[str] = Counter()
        self._standing: list[asyncio.Task[None]] = []
        self._committer: Committer | None = None
        self._socket: socket.socket | None = None
        self.port = 0
        """TCP port in use, once started."""

    def start(self) -> None:
        """Bind and serve.

        Raises:
            OSError: the address cannot be bound.

        """
        self._socket = _listening(self._settings.host, self._settings.port)
        self.port = int(self._socket.getsockname()[1])
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result()

    def stop(self) -> None:
        """Stop accepting, answer what was received, close every link."""
        asyncio.run_coroutine_threadsafe(self._drain(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _begin(self) -> None:
        self._committer = Committer(self._commit, self._count)
        self._standing = [asyncio.create_task(self._committer.run()), asyncio.create_task(self._accept())]

    async def _drain(self) -> None:
        assert self._committer is not None  # noqa: S101 - `start` has run
        committing, accepting = self._standing
        await _cancel(accepting)
        self._close_socket()
        for task, link in list(self._links.items()):
            if link is None:
                task.cancel()  # in the middle of a TLS handshake
            else:
                link.end()
        if self._links:
            _, late = await asyncio.wait(list(self._links), timeout=_STOP_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        await _cancel(committing)
        self._committer.close()

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()

    async def _accept(self) -> None:
        assert self._socket is not None  # noqa: S101 - `start` has bound it
        while True:
            try:
                connection, address = await self._loop.sock_accept(self._socket)
            except OSError as error:  # no descriptor left: those who wait are served when one is free
                _log.error("mllp_accept_failed", error=error.strerror)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            self._admit(connection, _plain(address[0]))

    def _admit(self, connection: socket.socket, peer: str) -> None:
        refusal = self._refusal(peer)
        if refusal is not None:
            self._count(peer, refusal)
            connection.close()
            return
        task = asyncio.create_task(self._serve(connection, peer))
        self._links[task] = None
        self._of_peer[peer] += 1
        task.add_done_callback(lambda done: self._gone(done, peer))

    def _refusal(self, peer: str) -> Outcome | None:
        address = ipaddress.ip_address(peer)
        if not any(address in network for network in self._networks):
            return Outcome.ADDRESS
        if len(self._links) >= self._settings.max_connections:
            return Outcome.TOO_MANY
        if self._of_peer[peer] >= self._settings.max_connections_per_peer:
            return Outcome.TOO_MANY_OF_PEER
        return None

    def _gone(self, task: asyncio.Task[None], peer: str) -> None:
        del self._links[task]
        self._of_peer[peer] -= 1
        if not self._of_peer[peer]:
            del self._of_peer[peer]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("mllp_link_failed", peer=peer, error=type(error).__name__)
            self._count(peer, Outcome.FAILED)

    async def _serve(self, connection: socket.socket, peer: str) -> None:
        streams = await self._open(connection, peer)
        task = asyncio.current_task()
        assert self._committer is not None  # noqa: S101 - `start` has run
        assert task is not None  # noqa: S101 - it is one
        if streams is None:
            return
        reader, writer = streams
        self._count(peer, Outcome.CONNECTED)
        link = Link(reader, writer, peer, self._settings, self._committer.line(), self._count)
        self._links[task] = link
        try:
            await link.serve()
        finally:
            await _close(writer)

    async def _open(
        self, connection: socket.socket, peer: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Shake hands where TLS is on, with the files of this moment; None when that failed."""
        reader = asyncio.StreamReader(limit=READ_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        context = self._context() if self._context is not None else None
        limit = _HANDSHAKE_SECONDS if context is not None else None
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=context, ssl_handshake_timeout=limit
            )
        except OSError as error:  # TLS errors and time-outs are OSErrors
            _log.warning("mllp_tls_refused", peer=peer, reason=why_refused(error))
            self._count(peer, Outcome.TLS)
            connection.close()
            return None
        return reader, asyncio.StreamWriter(transport, protocol, reader, self._loop)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close what was answered; a peer that takes nothing more is cut off."""
    writer.close()
    try:
        async with asyncio.timeout(_PAUSE_SECONDS):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()


def _listening(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    dual = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
    listening = socket.create_server(address[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
    listening.setblocking(False)  # noqa: FBT003 - the socket's own signature
    return listening


def _plain(address: str) -> str:
    """The address without a zone, IPv4 as IPv4 (a dual-stack socket shows `::ffff:a.b.c.d`)."""
    host = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        return str(host.ipv4_mapped)
    return str(host)
