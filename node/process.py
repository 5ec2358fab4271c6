"""What every Osteon process does alike: log, start fast, stop when told to, and stop when its parent is gone."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import multiprocessing
import multiprocessing.connection
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import structlog

_M_ARENA_MAX = -8
"""glibc, malloc.h."""
DRAIN_SECONDS = 6.0
"""How long running work may take to end after SIGTERM; the whole node is down within 10 s."""


def configure_logging() -> None:
    """Log lines on standard error: time, level, event, then key=value pairs. Ids only, never names (style.md 11)."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # An archive that is down is our own warning, once per try; pynetdicom would add two errors to each.
    logging.getLogger("pynetdicom.transport").setLevel(logging.CRITICAL)
    # A look at the drop folder that is still going on when the next is due is joined with it, which is no news.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False),
        ],
        # Looked up at each line, so that a standard error that is replaced or closed later takes no log line with it.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


class _OneLine(logging.Formatter):
    """Escapes what libraries log of a peer's bytes, so that no sender can forge a line of ours."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The line without its traceback, every control character written as an escape."""
        text = super().formatMessage(record)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def stop_on_signals() -> threading.Event:
    """Return the event that SIGTERM and SIGINT set. Call it in the main thread."""
    stop = threading.Event()

    def _set(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, _set)
    signal.signal(signal.SIGINT, _set)
    return stop


def stop_with_parent(stop: threading.Event) -> None:
    """Set `stop` when the process that started this one is gone: a kill -9 of the node leaves no worker behind."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def _watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        stop.set()

    threading.Thread(target=_watch, name="parent-watch", daemon=True).start()


def bound_arenas() -> None:
    """Let the C library keep two heaps instead of eight per core; before any thread starts (glibc, else nothing).

    Each association has threads of its own, and what one heap frees no other uses: 1,000 hostile associations grew the
    listener by 18 % with the default, by 2 % with two (measured, `make malformed`).
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_ARENA_MAX, 2)


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Look for no garbage while modules, tables and networks are loaded, nor ever again among them.

    They make some hundred thousand objects and hardly any garbage: the collector, looking through them again and again,
    took a seventh of the start (measured).
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
