"""A Storage SCP on loopback with an observer that remembers, and a sender in three lines."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from config.settings import Reception
from dicom_io.admission import Caller, Drop, Rejection, StoreFailure
from dicom_io.received import StoredInstance
from dicom_io.spool import Spool
from dicom_io.storage_scp import StorageScp

SERVER_THREADS = ("Acceptor", "dicom-", "Thread-DUL")


@dataclass(slots=True)
class Memory:
    """An `Observer` that keeps what it is told."""

    entries: list[tuple[Caller, str]] = field(default_factory=list)

    def accepted(self, who: Caller) -> None:
        self.entries.append((who, "accepted"))

    def rejected(self, who: Caller, why: Rejection) -> None:
        self.entries.append((who, why.value.word))

    def dropped(self, who: Caller, why: Drop) -> None:
        self.entries.append((who, why.value))

    def not_stored(self, who: Caller, why: StoreFailure) -> None:
        self.entries.append((who, why.value))

    @property
    def words(self) -> list[str]:
        return [word for _, word in self.entries]

    def await_word(self, word: str) -> Caller:
        """Who met `word` first; the observer is told after the sender is."""
        await_true(lambda: word in self.words)
        return next(who for who, one in self.entries if one == word)


@contextmanager
def serving(
    directory: Path, on_stored: Callable[[StoredInstance], None] = lambda _: None, **settings: object
) -> Iterator[tuple[StorageScp, Memory]]:
    """A running SCP; on leaving, every thread it started must have gone."""
    before, memory = server_threads(), Memory()
    scp = StorageScp(Reception(port=0, **settings), Spool(directory), on_stored, memory)
    scp.start()
    try:
        yield scp, memory
    finally:
        scp.stop(grace=1.0)
    await_true(lambda: server_threads() <= before)


class RawAssociation:
    """An association by hand: pynetdicom as requestor leaves sockets unclosed, and sends no odd titles."""

    def __init__(self, scp: StorageScp, *, called: bytes = b"OSTEON", calling: bytes = b"MODALITY") -> None:
        self._connection = socket.create_connection(("127.0.0.1", scp.port), timeout=10)
        self._connection.sendall(request(called, calling))
        self.reply = self._connection.recv(4096)
        if not self.accepted:
            self._connection.close()

    @property
    def accepted(self) -> bool:
        return self.reply[:1] == b"\2"

    @property
    def rejection(self) -> tuple[int, ...]:
        """Result, source and reason of the A-ASSOCIATE-RJ that came (PS3.8 9.3.4)."""
        assert self.reply[:7] == b"\3\0\0\0\0\4\0"
        return tuple(self.reply[7:])

    def release(self) -> None:
        self._connection.sendall(b"\5\0\0\0\0\4\0\0\0\0")
        assert self._connection.recv(10) == b"\6\0\0\0\0\4\0\0\0\0"
        self._connection.close()

    def begin_pdu(self) -> None:
        """Stall in the middle of a P-DATA-TF."""
        self._connection.sendall(b"\4\0\0\0\1\0" + bytes(9))

    def end(self) -> bytes:
        """What the node says when it ends the association by itself."""
        said = self._connection.recv(10)
        self._connection.close()
        return said


def request(called: bytes, calling: bytes) -> bytes:
    """An A-ASSOCIATE-RQ for Verification (PS3.8 9.3.2)."""

    def item(kind: int, content: bytes) -> bytes:
        return struct.pack(">BBH", kind, 0, len(content)) + content

    context = item(0x30, b"1.2.840.10008.1.1") + item(0x40, b"1.2.840.10008.1.2")
    user = item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3.4")
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, b"\1\0\0\0" + context) + item(0x50, user)
    body = struct.pack(">HH", 1, 0) + called.ljust(16) + calling.ljust(16) + bytes(32) + items
    return struct.pack(">BBL", 1, 0, len(body)) + body


def server_threads() -> set[threading.Thread]:
    """Threads of servers; those of requestors end when their peer lets them."""
    return {one for one in threading.enumerate() if one.name.startswith(SERVER_THREADS)}


def files(directory: Path) -> list[Path]:
    """Every file below a folder: what reception has there, begun or whole."""
    return [path for path in directory.rglob("*") if path.is_file()]


def await_true(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until `holds`, at most `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not become true in time"
        time.sleep(0.02)
