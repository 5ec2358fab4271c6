"""Processes that are started, killed and started again; forked from a server that has imported everything already.

So a restart costs a tenth of a second instead of five, and the kills fall into work rather than into imports.
"""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["chaos.bodies", "chaos.die_at", "dicom_io.results"])


class Killable:
    """One process that may be started again after it was killed. Not for two threads at once."""

    def __init__(self, body: Callable[..., None], *arguments: object, port: int | None = None) -> None:
        """`body(*arguments)` runs in the process; it is up when it listens on `port`, at once where there is none."""
        self._body = body
        self._arguments = arguments
        self._port = port
        self._process: ForkServerProcess | None = None

    @property
    def pid(self) -> int | None:
        """Its number; None while it does not run."""
        return self._process.pid if self._process is not None else None

    @property
    def ended(self) -> bool:
        """Whether it came to an end by itself."""
        return self._process is not None and self._process.exitcode is not None

    def start(self) -> None:
        """Start it and return at once."""
        self._process = _CONTEXT.Process(target=self._body, args=self._arguments, daemon=True)
        self._process.start()

    def await_up(self, limit: float = 60.0) -> None:
        """Wait until it listens.

        Raises:
            RuntimeError: it ended or did not listen in time.

        """
        deadline = time.monotonic() + limit
        while self._port is not None and not listens(self._port):
            if self._process is None or self._process.exitcode is not None or time.monotonic() > deadline:
                message = f"{self._body.__name__} did not start; see its log"
                raise RuntimeError(message)
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()  # nothing where it has ended
            self._process.join()
            self._process = None

    def await_end(self, limit: float) -> int | None:
        """Exit status, negative for a signal; None if it still runs after `limit` seconds."""
        if self._process is None:
            return 0
        self._process.join(limit)
        return self._process.exitcode

    def stop(self, limit: float = 20.0) -> int | None:
        """SIGTERM, and its exit status; SIGKILL when it does not end in time."""
        if self._process is None:
            return None
        self._process.terminate()
        status = self.await_end(limit)
        if status is None:
            self.kill()
        self._process = None
        return status


def listens(port: int) -> bool:
    """Whether anybody listens on this port of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
