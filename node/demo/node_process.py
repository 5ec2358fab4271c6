"""The node as the demo and the system tests run it: `osteon serve` in a process of its own, on free loopback ports."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_COMMAND = (sys.executable, "-P", "-c", "from node.entry import main; main()")
_START_LIMIT = 60.0
_STOP_LIMIT = 15.0


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class NodeProcess:
    """One running node; a context manager. Its log is `<folder>/osteon.log`, appended at every start."""

    def __init__(self, folder: Path, configuration: str, *, ports: tuple[int, ...], command: str = "serve") -> None:
        """`configuration` is TOML text; the node counts as started when all `ports` are listened on."""
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "osteon.toml"
        self.config.write_text(configuration, encoding="utf-8")
        self.log = folder / "osteon.log"
        self._ports = ports
        self._command = command
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            RuntimeError: it ended, or did not listen in time; the message holds the end of its log.

        """
        with self.log.open("ab") as log:
            arguments = [*_COMMAND, self._command, "--config", str(self.config)]
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log)  # noqa: S603 - our own program
        deadline = time.monotonic() + _START_LIMIT
        while not all(map(_listens, self._ports)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                msg = f"the node did not start:\n{self.log.read_text(encoding='utf-8')[-2000:]}"
                raise RuntimeError(msg)
            time.sleep(0.05)

    def stop(self) -> int | None:
        """SIGTERM, and wait; its exit status."""
        if self.process is None:
            return None
        self.process.terminate()
        try:
            return self.process.wait(_STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def kill(self) -> None:
        """End it with SIGKILL, as a crash or a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
