"""What every Osteon process does alike: log, find its files, stop when told to, and stop when its parent is gone."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import structlog

from config.settings import Settings, SettingsError
from node.store.engine import Ledger, connect, open_ledger
from node.store.errors import LedgerError
from node.store.inbox import open_inbox

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


def spool_directory(settings: Settings) -> Path:
    """Where received objects lie."""
    return settings.storage.data_dir / "spool"


def open_settings_ledger(settings: Settings) -> Ledger:
    """Open the ledger the settings name; SQLite in `storage.data_dir` by default."""
    return open_ledger(_place(settings))


def has_ledger(settings: Settings) -> bool:
    """Whether there may be a ledger to look into; a look would make a file that is not there."""
    return bool(settings.storage.database_url) or (settings.storage.data_dir / "ledger.db").exists()


def look_into_ledger(settings: Settings) -> Ledger:
    """Connect to the ledger as it is, whatever tables it has: an older release may be running on it.

    Raises:
        LedgerError: its file is another account's, which SQLite would not say.

    """
    place = _place(settings)
    if isinstance(place, Path) and place.exists() and not os.access(place, os.R_OK | os.W_OK):
        msg = f"{place}: this account may not read and write it; let the account that runs the node own all beside it"
        raise LedgerError(msg)
    return connect(place)


def open_settings_inbox(settings: Settings) -> Ledger:
    """Open the HL7 inbox beside the ledger; open that first, it moves an older ledger's messages over."""
    return open_inbox(_place(settings))


def _place(settings: Settings) -> str | Path:
    """Where ledger and inbox are; SettingsError where the database's driver is not installed."""
    url = settings.storage.database_url
    if url.startswith("postgresql") and importlib.util.find_spec("psycopg") is None:
        msg = "storage.database_url: names PostgreSQL, which needs psycopg; pip install 'osteon[postgresql]'"
        raise SettingsError(msg)
    return url or settings.storage.data_dir / "ledger.db"
