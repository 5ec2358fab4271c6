"""One MLLP server in a process of its own: `python -m bench.mllp_servers NAME FOLDER`; its port is written to a file.

`osteon` answers when the frame is durable in the inbox (SQLite, synchronous=FULL), as in the product. The other three
store nothing: `osteon-no-store` shows what the commit costs, `hl7` and `hl7apy` parse and build their own ACK.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

NAMES = ("osteon", "osteon-no-store", "hl7", "hl7apy")


def osteon(folder: Path) -> None:
    """The product's listener on a durable inbox."""
    from node.feed_book import FeedBook  # noqa: PLC0415 - each server imports its own library only
    from node.frame_reception import FrameReception  # noqa: PLC0415
    from node.store.inbox import open_inbox  # noqa: PLC0415

    inbox = open_inbox(folder / "ledger.db")
    book = FeedBook(inbox)
    book.start()
    _serve(folder, FrameReception(inbox, _settings(), book, lambda: None).commit, book.count)
    book.stop()


def without_store(folder: Path) -> None:
    """The product's listener that decodes, checks and answers, and forgets."""
    from node.feeds.inbox import accept  # noqa: PLC0415
    from node.feeds.mllp_committer import Arrived  # noqa: PLC0415

    settings = _settings()

    def commit(frames: Sequence[Arrived]) -> list[bytes | None]:
        return [accept(frame.data, at=dt.datetime.now(dt.UTC), settings=settings).ack for frame in frames]

    _serve(folder, commit, lambda *_: None)


def of_hl7(folder: Path) -> None:
    """`hl7` 0.4.5 as its documentation shows it."""
    from hl7.mllp import start_hl7_server  # noqa: PLC0415

    async def answer(reader, writer) -> None:
        try:
            while not writer.is_closing():
                message = await reader.readmessage()
                writer.writemessage(message.create_ack())
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    async def serve() -> None:
        async with await start_hl7_server(answer, "127.0.0.1", 0, encoding="utf-8") as server:
            _announce(folder, server.sockets[0].getsockname()[1])
            await server.serve_forever()

    asyncio.run(serve())


def of_hl7apy(folder: Path) -> None:
    """`hl7apy` 1.3.5 as its documentation shows it; it closes the connection behind every answer."""
    from hl7apy.core import Message  # noqa: PLC0415
    from hl7apy.mllp import AbstractHandler, MLLPServer  # noqa: PLC0415
    from hl7apy.parser import parse_message  # noqa: PLC0415

    class Answer(AbstractHandler):
        def reply(self) -> str:
            message = parse_message(self.incoming_message, find_groups=False)
            ack = Message("ACK", version="2.5.1")
            ack.msh.msh_9 = "ACK^A08^ACK"
            ack.msa.msa_1 = "AA"
            ack.msa.msa_2 = message.msh.msh_10.value
            return ack.to_mllp()

    MLLPServer.request_queue_size = 128
    server = MLLPServer("127.0.0.1", 0, {"ADT^A08^ADT_A01": (Answer,)})
    _announce(folder, server.server_address[1])
    server.serve_forever()


def _settings():
    from config.hl7_feed import Mllp  # noqa: PLC0415

    return Mllp(port=0, max_connections_per_peer=64)


def _serve(folder: Path, commit: Callable[..., list[bytes | None]], count: Callable[..., None]) -> None:
    from node.feeds.mllp import MllpServer  # noqa: PLC0415
    from node.process import configure_logging  # noqa: PLC0415

    configure_logging()
    server = MllpServer(_settings(), commit, count)
    server.start()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    _announce(folder, server.port)
    stopping.wait()
    server.stop()


def _announce(folder: Path, port: int) -> None:
    (folder / "port.part").write_text(str(port))
    (folder / "port.part").rename(folder / "port")


if __name__ == "__main__":
    dict(zip(NAMES, (osteon, without_store, of_hl7, of_hl7apy), strict=True))[sys.argv[1]](Path(sys.argv[2]))
