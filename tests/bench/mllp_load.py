"""The load of `make bench-feeds`: K connections with one outstanding message each, by one thread on raw sockets."""

from __future__ import annotations

import contextlib
import itertools
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from support.hl7_samples import adt

CLOSES = frozenset({"hl7apy"})
"""Servers that close the connection behind every answer."""

_START_SECONDS = 30.0
_ANSWER_SECONDS = 30.0
_numbers = itertools.count(1)
"""Control IDs: the same message twice would be a repetition, which is stored once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running MLLP server."""

    name: str
    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """CPU that its process has used."""
        used = self.process.cpu_times()
        return float(used.user + used.system)

    def rss_mb(self) -> float:
        """Resident memory."""
        return self.process.memory_info().rss / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one server did in one cell of one round."""

    messages_per_second: float
    cpu_ms_per_message: float
    rss_mb: float
    answers_ms: tuple[float, ...]


@contextlib.contextmanager
def running(name: str, folder: Path) -> Iterator[Server]:
    """Start a server of `mllp_servers` and end it."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "bench.mllp_servers", name, str(folder)]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield Server(name=name, port=_port(folder, child), process=psutil.Process(child.pid))
    finally:
        child.terminate()
        child.wait(timeout=_START_SECONDS)


def load(server: Server, *, connections: int, messages: int) -> Cell:
    """Send `messages` in all; RuntimeError when one is not answered AA with its own control ID."""
    senders = [_Sender(server.port, keeps=server.name not in CLOSES) for _ in range(connections)]
    left, answers = messages, []
    cpu, began = server.cpu_seconds(), time.perf_counter()
    with selectors.DefaultSelector() as waiting:
        for sender in senders:
            sender.send(waiting)
            left -= 1
        while len(answers) < messages:
            ready = waiting.select(_ANSWER_SECONDS)
            if not ready:
                msg = f"{server.name}: no answer within {_ANSWER_SECONDS:.0f} s"
                raise RuntimeError(msg)
            for key, _ in ready:
                answered = key.data.receive(waiting)
                if answered is not None:
                    answers.append(answered)
                    if left > 0:
                        key.data.send(waiting)
                        left -= 1
    took, cpu = time.perf_counter() - began, server.cpu_seconds() - cpu
    for sender in senders:
        sender.close()
    return Cell(
        messages_per_second=messages / took,
        cpu_ms_per_message=1000 * cpu / messages,
        rss_mb=server.rss_mb(),
        answers_ms=tuple(answers),
    )


def _port(folder: Path, child: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + _START_SECONDS
    while not (folder / "port").exists():
        if child.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError((folder / "log").read_text(errors="replace")[-2000:])
        time.sleep(0.02)
    return int((folder / "port").read_text())


class _Sender:
    def __init__(self, port: int, *, keeps: bool) -> None:
        self._port = port
        self._keeps = keeps
        self._control = ""
        self._began = 0.0
        self._rest = b""
        self._link: socket.socket | None = None

    def send(self, waiting: selectors.BaseSelector) -> None:
        """Send the next message, on a new connection where the last one does not last."""
        self._control = f"{next(_numbers):08}"
        frame = b"\x0b" + adt(self._control) + b"\x1c\r"
        self._began = time.perf_counter()
        if self._link is None:
            self._link = socket.create_connection(("127.0.0.1", self._port), timeout=_ANSWER_SECONDS)
            self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            waiting.register(self._link, selectors.EVENT_READ, self)
        self._link.sendall(frame)

    def receive(self, waiting: selectors.BaseSelector) -> float | None:
        """Milliseconds that the answer took, once it is whole."""
        assert self._link is not None
        piece = self._link.recv(65_536)
        self._rest += piece
        if piece and not self._rest.endswith(b"\x1c\r"):
            return None
        took, answer, self._rest = time.perf_counter() - self._began, self._rest, b""
        if f"MSA|AA|{self._control}".encode() not in answer:
            msg = f"not answered AA: {answer[:300]!r}"
            raise RuntimeError(msg)
        if not self._keeps:
            waiting.unregister(self._link)
            self.close()
        return took * 1000

    def close(self) -> None:
        """Close this end."""
        if self._link is not None:
            self._link.close()
            self._link = None
