"""What every Osteon process does alike: log, find its files, stop when told to, and stop when its parent is gone."""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import structlog

from config.settings import Settings
from node.store.engine import Ledger, open_ledger

DRAIN_SECONDS = 6.0
"""How long running work may take to end after SIGTERM; the whole node is down within 10 s."""


def configure_logging() -> None:
    """Log lines on standard error: time, level, event, then key=value pairs. Ids only, never names (style.md 11)."""
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
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


def spool_directory(settings: Settings) -> Path:
    """Where received objects lie."""
    return settings.storage.data_dir / "spool"


def open_settings_ledger(settings: Settings) -> Ledger:
    """Open the ledger the settings name; SQLite in `storage.data_dir` by default."""
    return open_ledger(settings.storage.database_url or settings.storage.data_dir / "ledger.db")
