"""Notices without a server: on SQLite every commit changes the ledger's file or its log, which a look at them tells.

A look costs some microseconds and no lock. It does not tell which lane has work, so each change is a hint for all; one
that is missed, because two commits fell into one tick of the file system's clock, costs the time until the next poll.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from node.store.engine import Ledger

WATCH_SECONDS: Final = 0.02
"""Between looks: half of it is what a step between two processes waits; 0.2 % of a core (computed)."""


def follow(ledger: Ledger, changed: Callable[[], None], stopping: threading.Event) -> None:
    """Call `changed` after commits of any process until `stopping` is set; at once over where there is no file."""
    place = sa.make_url(ledger.url)
    if place.get_backend_name() != "sqlite" or not place.database:
        return
    files = (Path(place.database), Path(f"{place.database}-wal"))
    seen = _state(files)
    while not stopping.wait(WATCH_SECONDS):
        now = _state(files)
        if now != seen:
            seen = now
            changed()


def _state(files: tuple[Path, ...]) -> tuple[tuple[int, int], ...]:
    """When each was written and how long it is; the log comes and goes."""
    states = []
    for file in files:
        try:
            found = file.stat()
        except OSError:
            states.append((0, 0))
        else:
            states.append((found.st_mtime_ns, found.st_size))
    return tuple(states)
