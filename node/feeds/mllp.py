"""The MLLP listener: framing, limits and ordered answers. It knows no message and no store.

A frame is handed to `commit`, which stores it durably and returns the acknowledgement; only then is it answered. What a
connection may cost is bounded: one frame, one read buffer, a deadline per block. A connection stops reading while its
frames are committed, so a fast sender is held back by TCP and answers leave in the order of the frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from config.hl7_feed import Mllp
from node.feeds.er7 import HL7Error
from node.feeds.hl7_ack import HEADER_BYTES, acknowledge, recognise

START, END = 0x0B, 0x1C
"""VT opens a block, FS closes it; FS occurs in no accepted character set (MLLP release 1)."""

MAX_JUNK_BYTES = 65_536
"""Bytes outside any block after which the peer is taken for something that speaks no MLLP."""

Commit = Callable[[bytes, str], bytes | None]
"""(frame, peer address) -> acknowledgement, or None for silence. Runs in a pool thread; must be durable on return."""

_READ_BYTES = 65_536
_STOP_SECONDS = 10.0
_KEEPALIVE_SECONDS = 60
_SILENT = b"\r\n \0"

_log = structlog.get_logger()


class NotStored(Exception):
    """Raised by `commit`: nothing could be stored for now. The link is closed unanswered and the sender repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One framed message; of an `oversize` one only the first `HEADER_BYTES` are kept."""

    data: bytes
    oversize: bool = False


class Framer:
    """Cuts a byte stream into blocks; the result does not depend on how TCP cut the bytes."""

    def __init__(self, max_frame_bytes: int) -> None:
        self._limit = max_frame_bytes
        self._buffer = bytearray()
        self._oversize = False
        self.in_block = False
        self.junk = 0
        """Bytes outside blocks since the last complete one."""
        self.restarts = 0
        """Blocks dropped because another began inside them."""

    def feed(self, data: bytes) -> list[Block]:
        """The blocks that `data` completes, in order."""
        blocks: list[Block] = []
        at = 0
        while at < len(data):
            at = self._inside(data, at, blocks) if self.in_block else self._outside(data, at)
        return blocks

    def _outside(self, data: bytes, at: int) -> int:
        start = data.find(START, at)
        skipped = data[at:] if start < 0 else data[at:start]
        self.junk += len(skipped) - sum(skipped.count(c) for c in _SILENT)
        if start < 0:
            return len(data)
        self._begin()
        return start + 1

    def _inside(self, data: bytes, at: int, blocks: list[Block]) -> int:
        end, start = data.find(END, at), data.find(START, at)
        if start >= 0 and (end < 0 or start < end):
            self.restarts += 1
            self._begin()
            return start + 1
        self._keep(data[at:] if end < 0 else data[at:end])
        if end < 0:
            return len(data)
        blocks.append(Block(data=bytes(self._buffer), oversize=self._oversize))
        self.in_block = False
        self._buffer = bytearray()
        self.junk = 0
        return end + 1

    def _begin(self) -> None:
        self.in_block = True
        self._oversize = False
        self._buffer = bytearray()

    def _keep(self, piece: bytes) -> None:
        if not self._oversize:
            self._buffer += piece
            if len(self._buffer) > self._limit:
                self._oversize = True
                del self._buffer[min(HEADER_BYTES, self._limit) :]


class MllpServer:
    """The listener in a thread of its own. `start` once, `stop` once."""

    def __init__(self, settings: Mllp, commit: Commit) -> None:
        self._settings = settings
        self._commit = commit
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="mllp", daemon=True)
        self._links: dict[asyncio.Task[None], _Link] = {}
        # One writer is all the ledger takes; a second thread lets one link's decoding overlap another's commit.
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="mllp-commit")
        self._server: asyncio.Server | None = None
        self.port = 0
        """TCP port in use, once started."""

    def start(self) -> None:
        """Bind and serve.

        Raises:
            OSError: the address cannot be bound.

        """
        self._thread.start()
        bound = asyncio.run_coroutine_threadsafe(self._listen(), self._loop)
        try:
            self.port = bound.result()
        except OSError:
            self._end_thread()
            raise

    def stop(self) -> None:
        """Stop accepting, answer what was received, close every link."""
        asyncio.run_coroutine_threadsafe(self._drain(), self._loop).result()
        self._end_thread()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._pool.shutdown()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _listen(self) -> int:
        settings = self._settings
        self._server = await asyncio.start_server(self._connected, settings.host, settings.port, backlog=128)
        return int(self._server.sockets[0].getsockname()[1])

    async def _drain(self) -> None:
        if self._server is not None:
            self._server.close()
        for task, link in list(self._links.items()):
            link.closing = True
            if not link.busy:
                task.cancel()
        if self._links:
            _, late = await asyncio.wait(list(self._links), timeout=_STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        peer = str((writer.get_extra_info("peername") or ("unknown",))[0])
        if task is None or len(self._links) >= self._settings.max_connections:
            _log.warning("mllp_connection_limit", peer=peer)
            writer.close()
            return
        link = _Link(reader, writer, peer, self._settings, self._answer)
        self._links[task] = link
        try:
            await link.serve()
        except asyncio.CancelledError:
            pass  # the listener stops; there is nothing to hand on, the task ends here
        except (ConnectionError, NotStored, TimeoutError) as error:
            _log.warning("mllp_link_closed", peer=peer, why=type(error).__name__)
        finally:
            del self._links[task]
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer(self, block: Block, peer: str) -> bytes | None:
        """The acknowledgement of one block; a failure inside is answered and never ends the listener."""
        if block.oversize:
            return _internal_error(block)
        try:
            return await self._loop.run_in_executor(self._pool, self._commit, block.data, peer)
        except NotStored:
            raise
        except Exception as error:  # noqa: BLE001 - outermost callback: one bad frame must not end the link
            # The class only: a traceback or a message may quote the frame.
            _log.error("mllp_commit_failed", peer=peer, size=len(block.data), error=type(error).__name__)
            return _internal_error(block)


class _Link:
    """One connection: read, cut, commit, answer, in this order."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        peer: str,
        settings: Mllp,
        answer: Callable[[Block, str], Awaitable[bytes | None]],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._peer = peer
        self._framer = Framer(settings.max_frame_bytes)
        self._block_timeout = settings.block_timeout
        self._answer = answer
        self.busy = False
        self.closing = False

    async def serve(self) -> None:
        """Serve until the peer closes, the listener stops, or a limit is passed (TimeoutError)."""
        _keep_alive(self._writer)
        deadline: float | None = None
        while not self.closing:
            async with asyncio.timeout_at(deadline):
                data = await self._reader.read(_READ_BYTES)
            if not data:
                break
            blocks = self._framer.feed(data)
            await self._answer_all(blocks)
            if self._framer.junk > MAX_JUNK_BYTES:
                _log.warning("mllp_no_protocol", peer=self._peer)
                return
            if not self._framer.in_block:
                deadline = None
            elif deadline is None or blocks:
                deadline = asyncio.get_running_loop().time() + self._block_timeout
        if self._framer.in_block:
            _log.warning("mllp_truncated", peer=self._peer)

    async def _answer_all(self, blocks: list[Block]) -> None:
        self.busy = True
        try:
            for block in blocks:
                reply = await self._answer(block, self._peer)
                if reply is not None:
                    self._writer.write(bytes([START]) + reply + bytes([END]) + b"\r")
                    await self._writer.drain()
        finally:
            self.busy = False


def _internal_error(block: Block) -> bytes | None:
    return acknowledge(recognise(block.data), HL7Error(207, "message"), dt.datetime.now(dt.UTC))


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Find dead peers by TCP: senders hold a link silent for days, so there is no idle time-out."""
    link: socket.socket = writer.get_extra_info("socket")
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
