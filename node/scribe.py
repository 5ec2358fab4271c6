"""Writes down every so often what was counted in memory, in a thread of its own: who counts never waits for a disk."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

_log = structlog.get_logger()


class Scribe:
    """Calls `flush` every `interval` seconds between `start` and `stop`, and a last time in `stop`.

    `flush` keeps what cannot be written now. What else it raises is logged by its kind alone, since a traceback may
    quote a sender, and does not end the thread: counting must go on whatever one write met.
    """

    def __init__(self, name: str, flush: Callable[[], None], *, interval: float) -> None:
        self._name = name
        self._flush = flush
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left and end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._flush()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._flush()
            except Exception as error:  # noqa: BLE001 - outermost loop
                _log.error("counts.not_written", book=self._name, error=type(error).__name__)
