"""Copies on this host of files that lie on shared storage: bounded, and never the only place of anything.

Whoever reads an image reads a copy: storage that fails in the middle is met here, where it has its name, and not in a
decoder. A copy is trusted only if it is what its name promises.

Several processes of the host use one cache. A file appears in it complete, by a rename; what has not been asked for
longest goes first. What was asked for within the last minutes stays, so that nobody's file vanishes between the asking
and the opening: the bound may be exceeded by that much.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from dicom_io.errors import SpoolUnavailable
from dicom_io.spool_names import promised

_IN_USE_SECONDS: Final = 600.0
_LEFT_OVER_SECONDS: Final = 3600.0
"""A copy that is not complete after so long has no process any more."""
_TRIM_EVERY: Final = 16
"""Files put in between two looks at the whole cache."""
_TRIES: Final = 2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Entry:
    used_at: float
    size: int
    path: Path


class SpoolCache:
    """A folder of at most `limit` bytes. Safe for many threads and processes."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()
        self._added = 0
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, file: str) -> Path:
        """Where a copy of `file` lies, or would."""
        return self._folder / file

    def use(self, file: str) -> bool:
        """Whether there is a copy; it counts as asked for now."""
        try:
            os.utime(self.path(file))
        except FileNotFoundError:
            return False
        return True

    def put(self, complete: Path, file: str) -> None:
        """Take `complete`, of the same file system, as the copy of `file`."""
        target = self.path(file)
        target.parent.mkdir(exist_ok=True)
        complete.replace(target)
        os.utime(target)
        with self._lock:
            self._added += 1
            due = self._added % _TRIM_EVERY == 1
        if due:
            self.trim()

    def fetch(self, file: str, download: Callable[[str, Path], bool], marker: Callable[[], str | None]) -> Path:
        """Where a copy of `file` lies: one that is here, else what `download` writes to a path, if it is True.

        Nothing is there where the storage has none that is what its name promises. Raises SpoolUnavailable where it
        lacks its `marker`: then it is not our spool that answers; and what the two callables raise.
        """
        if not self.use(file):
            arriving = self._arriving()
            try:
                if self._download(file, arriving, download, marker):
                    self.put(arriving, file)
            finally:
                arriving.unlink(missing_ok=True)
        return self.path(file)

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[Path]:
        """A name for a copy that nobody keeps."""
        path = self._arriving()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def drop(self, file: str) -> None:
        """Delete the copy of `file`; none there is fine."""
        self.path(file).unlink(missing_ok=True)

    def trim(self) -> None:
        """Delete what exceeds the limit, and what dead processes left."""
        now = time.time()
        entries = sorted(self._entries(now), key=lambda entry: entry.used_at)
        excess = sum(entry.size for entry in entries) - self._limit
        for entry in entries:
            if excess <= 0 or entry.used_at > now - _IN_USE_SECONDS:
                return
            with contextlib.suppress(FileNotFoundError):  # another process trims too
                entry.path.unlink()
            excess -= entry.size

    def forget(self, before: float) -> None:
        """Delete what nobody has asked for since `before` (seconds since 1970), also below the limit."""
        now = time.time()
        for entry in self._entries(now):
            if entry.used_at < min(before, now - _IN_USE_SECONDS):
                entry.path.unlink(missing_ok=True)

    def _arriving(self) -> Path:
        return self._folder / f"{uuid.uuid4().hex}.part"

    def _download(
        self, file: str, to: Path, download: Callable[[str, Path], bool], marker: Callable[[], str | None]
    ) -> bool:
        for _ in range(_TRIES):
            if not download(file, to):
                if marker() is None:
                    msg = "the shared spool is not there: its marker is missing"
                    raise SpoolUnavailable(msg)
                return False
            if promised(to, file) is not None:
                return True
        log.error("spool.damaged", file=file)
        return False

    def _entries(self, now: float) -> list[_Entry]:
        """Every complete copy; copies that will never be complete are deleted on the way."""
        found = []
        for path in self._folder.rglob("*.*"):
            with contextlib.suppress(FileNotFoundError):
                state = path.stat()
                if path.suffix != ".part":
                    found.append(_Entry(state.st_mtime, state.st_size, path))
                elif state.st_mtime < now - _LEFT_OVER_SECONDS:
                    path.unlink()
        return found
