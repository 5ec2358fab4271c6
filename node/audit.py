"""The audit trail: what came in and what became of it, one JSON object a line, one file a day, only ever appended to.

Ids, AE titles and addresses; never a name, a patient identifier or a value. Lines are collected and made durable
together (`flush`, called every second by `node.contacts`), so that no association waits for them; what a crash may cost
is the last second of this file, never a case: the ledger holds its history. Nothing here deletes: how long the trail is
kept is the hospital's rule (`retention.audit`).
"""

from __future__ import annotations

import datetime as dt
import errno
import json
import os
import threading
from pathlib import Path
from typing import NoReturn

import structlog

FILES = "audit-????-??-??.jsonl"
"""Names of the files, one a day."""
MAX_WAITING = 10_000
"""Lines kept in memory while the disk does not take them; further ones are lost, and how many is written."""

log = structlog.get_logger()


class AuditTrail:
    """Files `audit-YYYY-MM-DD.jsonl` (UTC days) in `directory`, mode 0600. Safe for many threads of one process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: list[tuple[dt.date, str]] = []
        self._lost = 0
        self._failing = False
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def record(self, event: str, **facts: str | int) -> None:
        """Add one line: `event` in words of the operations guide, `facts` by name. Returns at once."""
        now = dt.datetime.now(dt.UTC)
        line = json.dumps({"at": now.isoformat(timespec="milliseconds"), "event": event, **facts})
        with self._lock:
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append((now.date(), line))
            else:
                self._lost += 1

    def flush(self) -> None:
        """Make what was recorded durable. A disk that refuses is logged once; the lines wait."""
        with self._writing:
            self._write_what_waits()

    def _write_what_waits(self) -> None:
        with self._lock:
            lines, self._waiting = self._waiting, []
            lost, self._lost = self._lost, 0
        try:
            for day in sorted({day for day, _ in lines}):
                self._append(day, [line for its_day, line in lines if its_day == day])
                lines = [one for one in lines if one[0] != day]
            self._failing = False
        except OSError as error:
            self._put_back(lines, lost)
            if not self._failing:
                log.exception("audit.not_written", error=error.strerror, waiting=len(lines))
            self._failing = True
            return
        if lost:
            self.record("audit.lost", count=lost)

    def _put_back(self, lines: list[tuple[dt.date, str]], lost: int) -> None:
        with self._lock:
            waiting = lines + self._waiting
            self._waiting = waiting[:MAX_WAITING]
            self._lost += lost + len(waiting) - len(self._waiting)

    def _append(self, day: dt.date, lines: list[str]) -> None:
        """Write whole lines or none: a torn batch is cut off again, one torn by a crash ends before the next begins."""
        path = self._directory / f"audit-{day.isoformat()}.jsonl"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            data = ("\n" if torn else "").encode() + "".join(f"{line}\n" for line in lines).encode()
            if os.write(descriptor, data) != len(data):
                os.ftruncate(descriptor, size)
                _refuse_short_write()
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def day_of(path: Path) -> dt.date:
    """The day whose lines a file of the trail holds."""
    return dt.date.fromisoformat(path.stem.removeprefix("audit-"))


def _refuse_short_write() -> NoReturn:
    """Name a short write for what it is; the system call itself gives no error."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
