"""Misfortunes that are no kill: a full disk, a database or broker that is away, a clock that is set.

Each lasts for some seconds and passes, but for the one that says otherwise. Nothing is done for the node: it recovers
by itself, without a restart.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from chaos import clock
from chaos.hospital import Hospital

HOUR = 3600.0


def happen(name: str, here: Hospital, seconds: float) -> None:
    """Have it happen, and wait until it is over."""
    print(f"chaos: {name}", flush=True)
    _EVENTS[name](here, seconds)


def fill_disks(names: Sequence[str]) -> bool:
    """Whether any of these fills a disk: then ledger and spool need small ones."""
    return any(name.endswith("-full") for name in names)


def move_clocks(names: Sequence[str]) -> bool:
    """Whether any of these sets the clock."""
    return any(name.startswith("clock-") for name in names)


def _ledger_full(here: Hospital, seconds: float) -> None:
    _fill(here.node, seconds)


def _spool_full(here: Hospital, seconds: float) -> None:
    _fill(here.node / "spool", seconds)


def _fill(disk: Path, seconds: float) -> None:
    """Fill the file system to its last byte, again and again what becomes free, and make room after a while."""
    ballast = disk / "ballast"
    until = time.monotonic() + seconds
    with ballast.open("ab", buffering=0) as file:
        while time.monotonic() < until:
            try:
                file.write(b"\0" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize or 1))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            time.sleep(0.05)
    ballast.unlink()


def _database_restarted(here: Hospital, _seconds: float) -> None:
    assert here.server is not None
    here.server.restart()


def _database_stopped(here: Hospital, seconds: float) -> None:
    assert here.server is not None
    here.server.stop()
    time.sleep(seconds)
    here.server.start()


def _clock_forward(here: Hospital, seconds: float) -> None:
    clock.set_wrong(here.folder, HOUR)
    time.sleep(seconds)


def _clock_back(here: Hospital, seconds: float) -> None:
    """An hour before the true time: two hours back for a node that was an hour ahead."""
    clock.set_wrong(here.folder, -HOUR)
    time.sleep(seconds)


def _broker_restarted(here: Hospital, _seconds: float) -> None:
    assert here.broker is not None
    here.broker.restart(hard=True)


def _broker_lost(here: Hospital, seconds: float) -> None:
    """For good: it does not come back."""
    assert here.broker is not None
    here.broker.stop(hard=True)
    time.sleep(seconds)


_EVENTS: dict[str, Callable[[Hospital, float], None]] = {
    "ledger-full": _ledger_full,
    "spool-full": _spool_full,
    "database-restarted": _database_restarted,
    "database-stopped": _database_stopped,
    "broker-restarted": _broker_restarted,
    "broker-lost": _broker_lost,
    "clock-forward": _clock_forward,
    "clock-back": _clock_back,
}
NAMES = tuple(_EVENTS)
