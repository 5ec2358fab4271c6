"""Spooled files in a folder: of this host (`LocalFolder`), or mounted by several (`SharedFolder`).

Order (reception-and-delivery.md 2.1): a `Part` in the same file system, fsync file, rename, fsync directory. A file
under its final name is therefore complete. fsspec is not used for folders: its local file system neither fsyncs nor
renames durably.

The folders of the final names are made and fsynced once, when the spool is opened: a folder made in the middle of
reception would be seen by a second thread, which would answer, before the first has fsynced it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dicom_io.content_digest import is_intact
from dicom_io.errors import SpoolUnavailable
from dicom_io.part import Part, named
from dicom_io.spool_cache import SpoolCache
from dicom_io.spool_names import FOLDERS, QUARANTINE
from dicom_io.spool_shelf import ABANDONED_AFTER, MARKER, Shelved, disk_used_percent

_PARTS: Final = "parts"


class LocalFolder:
    """A folder of one process; everything in it is ours."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        _make_folders(directory)

    @property
    def shared(self) -> bool:
        """It is not."""
        return False

    def part(self, head: bytes, limit: int) -> Part:
        """As `Shelf.part`."""
        return Part(self._directory / f"{uuid.uuid4().hex}.part", head, limit=limit)

    def publish(self, part: Part, file: str) -> None:
        """As `Shelf.publish`."""
        self._rename(part.path, file)

    def path(self, file: str) -> Path:
        """As `Shelf.path`."""
        return self._directory / file

    def holds(self, file: str) -> bool:
        """As `Shelf.holds`."""
        return (self._directory / file).exists()

    def size(self, file: str) -> int:
        """As `Shelf.size`."""
        with contextlib.suppress(FileNotFoundError):
            return (self._directory / file).stat().st_size
        return 0

    def intact(self, file: str, digest: str) -> bool:
        """As `Shelf.intact`."""
        return is_intact(self._directory / file, digest)

    def move(self, file: str, to: str) -> None:
        """As `Shelf.move`."""
        self._rename(self._directory / file, to)

    def remove(self, file: str) -> None:
        """As `Shelf.remove`."""
        (self._directory / file).unlink(missing_ok=True)

    def images(self) -> Iterator[Shelved]:
        """As `Shelf.images`."""
        return self._listed("[0-9a-f][0-9a-f]/*.dcm")

    def quarantined(self) -> Iterator[Shelved]:
        """As `Shelf.quarantined`."""
        return self._listed(f"{QUARANTINE}/*.bin")

    def sweep(self) -> int:
        """As `Shelf.sweep`."""
        return _unlink_all(list(self._directory.rglob("*.part")))

    def sweep_abandoned(self) -> int:
        """Nobody else writes here."""
        return 0

    def forget_copies(self, before: dt.datetime) -> None:
        """As `Shelf.forget_copies`; it has none."""

    def used_percent(self) -> float:
        """As `Shelf.used_percent`."""
        return disk_used_percent(self._directory)

    def marker(self) -> str | None:
        """As `Shelf.marker`."""
        try:
            return (self._directory / MARKER).read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None

    def write_marker(self, text: str) -> None:
        """As `Shelf.write_marker`."""
        with self.part(text.encode("ascii"), len(text)) as part:
            part.seal()
            self._rename(part.path, MARKER)

    def _listed(self, pattern: str) -> Iterator[Shelved]:
        for path in sorted(self._directory.glob(pattern)):
            # Removed since it was listed: another host's retention did its work.
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                at = dt.datetime.fromtimestamp(found.st_mtime, dt.UTC)
                yield Shelved(file=path.relative_to(self._directory).as_posix(), size=found.st_size, at=at)

    def _rename(self, source: Path, file: str) -> None:
        try:
            target = self._directory / file
            self._make_way(target.parent)
            source.replace(target)
            _fsync_directory(target.parent)
        except OSError as error:
            raise named(error) from error

    def _make_way(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            _fsync_directory(self._directory)


class SharedFolder(LocalFolder):
    """A folder that several hosts mount (NFS, a cluster file system).

    Temporary files lie in a folder for each listener, `parts/<own>`, so that one sweeps only its own. Folders are made
    with the marker and at no other time: under a mount that is gone a write must fail, not land on this host's disk.

    Args:
        directory: the mounted folder.
        own: name of this listener's data directory, the same after a restart.
        cache: copies on this host.

    """

    def __init__(self, directory: Path, *, own: str, cache: SpoolCache) -> None:
        # Not LocalFolder's: it makes the folder, which a missing mount must not be.
        self._directory = directory
        self._parts = directory / _PARTS / own
        self._cache = cache

    @property
    def shared(self) -> bool:
        """It is."""
        return True

    def part(self, head: bytes, limit: int) -> Part:
        """As `Shelf.part`."""
        with _answering():
            # Its parent is there with the marker; where that is missing, so is the mount, and this must fail.
            self._parts.mkdir(exist_ok=True)
            return Part(self._parts / f"{uuid.uuid4().hex}.part", head, limit=limit)

    def publish(self, part: Part, file: str) -> None:
        """As `Shelf.publish`."""
        with _answering():
            super().publish(part, file)

    def path(self, file: str) -> Path:
        """As `Shelf.path`: a copy on this host."""
        return self._cache.fetch(file, self._download, self.marker)

    def holds(self, file: str) -> bool:
        """As `Shelf.holds`."""
        with _answering():
            return super().holds(file)

    def size(self, file: str) -> int:
        """As `Shelf.size`."""
        with _answering():
            return super().size(file)

    def move(self, file: str, to: str) -> None:
        """As `Shelf.move`."""
        with _answering():
            super().move(file, to)
        self._cache.drop(file)

    def remove(self, file: str) -> None:
        """As `Shelf.remove`."""
        self._cache.drop(file)
        with _answering():
            super().remove(file)

    def sweep(self) -> int:
        """As `Shelf.sweep`: what this listener left. Storage that is away is swept as abandoned another day."""
        try:
            return _unlink_all(list(self._parts.glob("*.part")))
        except OSError:
            return 0

    def sweep_abandoned(self) -> int:
        """As `Shelf.sweep_abandoned`."""
        before = time.time() - ABANDONED_AFTER.total_seconds()
        stale = []
        for path in (self._directory / _PARTS).glob("*/*.part"):
            with contextlib.suppress(FileNotFoundError):  # adopted or swept meanwhile
                if path.stat().st_mtime < before:
                    stale.append(path)
        return _unlink_all(stale)

    def forget_copies(self, before: dt.datetime) -> None:
        """As `Shelf.forget_copies`."""
        self._cache.forget(before.timestamp())

    def used_percent(self) -> float:
        """As `Shelf.used_percent`; full where the storage does not answer, so that senders keep their images."""
        try:
            return super().used_percent()
        except OSError:
            return 100.0

    def marker(self) -> str | None:
        """As `Shelf.marker`."""
        with _answering():
            return super().marker()

    def write_marker(self, text: str) -> None:
        """As `Shelf.write_marker`; last, when everything else is there."""
        with _answering():
            _make_folders(self._directory)
            (self._directory / _PARTS).mkdir(exist_ok=True)
            self._parts.mkdir(exist_ok=True)
            super().write_marker(text)

    def _make_way(self, folder: Path) -> None:
        """Make no folder; see above."""

    def _download(self, file: str, to: Path) -> bool:
        with _answering():
            try:
                shutil.copyfile(super().path(file), to)
            except FileNotFoundError:
                return False
            return True


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Give an error of the mounted file system the name of what it means."""
    try:
        yield
    except OSError as error:
        msg = f"the shared spool does not answer ({error.strerror or type(error).__name__})"
        raise SpoolUnavailable(msg) from error


def _unlink_all(paths: list[Path]) -> int:
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)


def _make_folders(directory: Path) -> None:
    """Make what is missing of `00` to `ff` and the quarantine, durably, also what a killed process had just made."""
    there = {entry.name for entry in os.scandir(directory)}
    # Not possible on a full disk: the node must start all the same, and a folder is made when it is needed.
    with contextlib.suppress(OSError):
        for name in (*FOLDERS, QUARANTINE):
            if name not in there:
                (directory / name).mkdir(exist_ok=True)
    _fsync_directory(directory)


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
