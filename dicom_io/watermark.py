"""How full the spool's file system is, in the three levels reception acts on (reception-and-delivery.md 2.4).

Asked anew each time: space that somebody frees opens the door by itself. A change of level is logged once, not once per
refused sender.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable

import structlog

_log = structlog.get_logger()


class Level(enum.Enum):
    """What the free space allows."""

    OK = "ok"
    """Everything."""
    LOW = "low"
    """Running associations go on; new ones are rejected transiently."""
    FULL = "full"
    """A C-STORE is answered 0xA700 too."""


def level_of(used_percent: float, *, low_at: float, full_at: float) -> Level:
    """What reception does when so much of the file system is used; all in percent."""
    if used_percent >= full_at:
        return Level.FULL
    return Level.LOW if used_percent >= low_at else Level.OK


class Watermark:
    """The two marks of one spool. Safe for many threads."""

    def __init__(self, used_percent: Callable[[], float], *, low_at: float, full_at: float) -> None:
        self._used_percent = used_percent
        self._low_at = low_at
        self._full_at = full_at
        self._lock = threading.Lock()
        self._last = Level.OK

    def low(self) -> bool:
        """Whether new associations are to be rejected."""
        return self._look() >= self._low_at

    def full(self) -> bool:
        """Whether no object is to be written any more."""
        return self._look() >= self._full_at

    def _look(self) -> float:
        used = self._used_percent()
        level = level_of(used, low_at=self._low_at, full_at=self._full_at)
        with self._lock:
            before, self._last = self._last, level
        if level is not before:
            report = _log.info if level is Level.OK else _log.warning
            report("reception.disk", level=level.value, before=before.value, used_percent=round(used, 1))
        return used
