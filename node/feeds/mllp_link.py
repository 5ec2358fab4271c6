"""One MLLP connection: bytes in, blocks to the committer, answers out in the order of the blocks.

What a connection may cost is bounded: at most `MAX_QUEUED` frames or `MAX_QUEUED_BYTES` wait for their answers, then
its bytes stay in TCP and the sender is held back. A block, once begun, has a deadline; an idle link has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

import structlog

from config.hl7_feed import Mllp
from node.feeds.mllp_committer import Answer, Arrived, Count, internal_error
from node.feeds.mllp_framing import END, START, Block, Framer
from node.feeds.outcome import Outcome

MAX_JUNK_BYTES: Final = 65_536
"""Bytes outside any block after which the peer is taken for something that speaks no MLLP."""
MAX_QUEUED: Final = 64
MAX_QUEUED_BYTES: Final = 8 << 20
READ_BYTES: Final = 65_536

_KEEPALIVE_SECONDS: Final = 60
_START, _END = bytes([START]), bytes([END]) + b"\r"

_log = structlog.get_logger()


class Link:
    """`serve` it once. `end` lets it answer what it has received, and no more."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        peer: str,
        settings: Mllp,
        submit: Callable[[Arrived], asyncio.Future[Answer]],
        count: Count,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._peer = peer
        self._framer = Framer(settings.max_frame_bytes)
        self._block_timeout = settings.block_timeout
        self._submit = submit
        self._count = count
        self._pending: asyncio.Queue[tuple[int, asyncio.Future[Answer]] | None] = asyncio.Queue()
        self._queued = 0
        self._queued_bytes = 0
        self._room = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Serve until the peer closes, a limit is passed, or `end`."""
        _keep_alive(self._writer)
        self._reading = asyncio.create_task(self._read())
        answering = asyncio.create_task(self._answer())
        try:
            await asyncio.wait({self._reading, answering}, return_when=asyncio.FIRST_COMPLETED)
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await self._reading
            self._pending.put_nowait(None)
            with contextlib.suppress(ConnectionError):
                await answering
        finally:
            self._reading.cancel()
            answering.cancel()
            if self._framer.in_block:
                self._count(self._peer, Outcome.TRUNCATED)

    def end(self) -> None:
        """Read nothing more; `serve` returns once everything received is answered."""
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        deadline: float | None = None
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    data = await self._reader.read(READ_BYTES)
            except TimeoutError:
                self._count(self._peer, Outcome.TIMED_OUT)
                return
            except ConnectionError:
                self._count(self._peer, Outcome.LOST)
                return
            if not data:
                return
            blocks = self._framer.feed(data)
            self._count_oddities()
            for block in blocks:
                await self._queue(block)
            if self._framer.junk > MAX_JUNK_BYTES:
                self._count(self._peer, Outcome.NO_PROTOCOL)
                return
            if not self._framer.in_block:
                deadline = None
            elif deadline is None or blocks:
                deadline = asyncio.get_running_loop().time() + self._block_timeout

    async def _queue(self, block: Block) -> None:
        while self._queued >= MAX_QUEUED or self._queued_bytes >= MAX_QUEUED_BYTES:
            self._room.clear()
            await self._room.wait()
        if block.oversize:
            self._count(self._peer, Outcome.OVERSIZE)
            answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            answer.set_result(Answer(reply=internal_error(block.data)))
        else:
            answer = self._submit(Arrived(data=block.data, peer=self._peer))
        self._queued += 1
        self._queued_bytes += len(block.data)
        self._pending.put_nowait((len(block.data), answer))

    async def _answer(self) -> None:
        """Send the answers in order; ends at the end of the queue, or at the first frame that must stay unanswered."""
        while (item := await self._pending.get()) is not None:
            size, coming = item
            answer = await coming
            self._queued -= 1
            self._queued_bytes -= size
            self._room.set()
            if answer.close:
                return
            if answer.reply is not None:
                self._writer.write(_START + answer.reply + _END)
                await self._writer.drain()

    def _count_oddities(self) -> None:
        """As they come: a link lives for days, and counting a million at its end would hold up all the others."""
        framer = self._framer
        for outcome in (*[Outcome.RESTARTED] * framer.restarts, *[Outcome.WITHOUT_CR] * framer.without_cr):
            self._count(self._peer, outcome)
        framer.restarts = framer.without_cr = 0


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Find dead peers by TCP: senders hold a link silent for days, so there is no idle time-out."""
    link: socket.socket = writer.get_extra_info("socket")
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
