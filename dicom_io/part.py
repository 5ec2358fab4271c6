"""A file that grows while its object is still arriving, hashed on the way, so that no object is held in memory.

It is nobody's file until `Spool.adopting` renames it: its name ends in `.part`, and `Spool.sweep` deletes what a crash
leaves. A part that failed is deleted at once and stays failed; the error is told again to whoever wants to use it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dicom_io.errors import SpoolFull

Buffer = bytes | bytearray | memoryview

UNLIMITED: Final = 1 << 62
_HASHED_INLINE: Final = 2 << 20
"""Objects up to this size are not worth a thread."""
_STEP: Final = 256 << 10
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Part:
    """One object on its way into the spool: `head`, then the dataset as it comes. Not for two threads at once.

    As a context manager it is abandoned at the end, which does nothing to a part that was adopted.
    """

    def __init__(self, path: Path, head: bytes = b"", *, limit: int = UNLIMITED) -> None:
        """Create the file; `limit` is in bytes of the dataset. Raises as `write`."""
        self._path = path
        self._head_size = len(head)
        self._limit = limit + len(head)
        self._size = 0
        self._digest = hashlib.sha256()
        self._follower: _Follower | None = None
        with _named():
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            self.write(head)
        except BaseException:
            self.abandon()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    @property
    def path(self) -> Path:
        """Where it lies until it is adopted."""
        return self._path

    @property
    def size(self) -> int:
        """Bytes so far, head included."""
        return self._size

    def write(self, data: Buffer) -> None:
        """Append.

        Raises:
            SpoolFull: no space or quota left, or the object exceeds its limit.
            OSError: any other failure of the file system.

        """
        if self._size + len(data) > self._limit:
            msg = f"the object is larger than {self._limit - self._head_size} bytes"
            raise SpoolFull(msg)
        if self._follower is None:
            self._digest.update(data)
        with _named():
            written = os.write(self._descriptor, data)
            while written < len(data):  # a signal, or a disk that is nearly full
                written += os.write(self._descriptor, memoryview(data)[written:])
        self._size += len(data)
        if self._follower is not None:
            self._follower.advance(self._size)
        elif self._size > _HASHED_INLINE:
            self._follower = _Follower(self._path, self._digest, self._size)

    def dataset(self) -> BufferedReader:
        """A reader at the first byte of the dataset; the caller closes it."""
        stream = self._path.open("rb")
        stream.seek(self._head_size)
        return stream

    def seal(self) -> str:
        """Make the content durable; returns the hex SHA-256 of the whole file. Raises as `write`."""
        with _named():
            os.fsync(self._descriptor)
            if self._follower is not None:
                self._follower.finish()
        self._close()
        return self._digest.hexdigest()

    def abandon(self) -> None:
        """Delete it, whatever its state; an adopted one has another name by now and stays."""
        self._close()
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._follower is not None:
            self._follower.end()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _Follower(threading.Thread):
    """Hashes a growing file a step behind its writer, from the page cache.

    Without SHA instructions in the processor 10 MB take 26 ms, more than to receive and to sync them: so they are
    hashed on another core meanwhile.
    """

    def __init__(self, path: Path, digest: hashlib._Hash, hashed: int) -> None:
        super().__init__(name="dicom-hash", daemon=True)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._digest = digest
        self._at = self._size = hashed
        self._changed = threading.Condition()
        self._finish = False
        self._error: OSError | None = None
        self.start()

    def advance(self, size: int) -> None:
        """The file has `size` bytes now."""
        with self._changed:
            self._size = size
            self._changed.notify()

    def finish(self) -> None:
        """Wait until all is hashed. OSError: the file could not be read."""
        self.end()
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Hash what is there and stop."""
        with self._changed:
            self._finish = True
            self._changed.notify()
        self.join()

    def run(self) -> None:
        """Follow until `end`."""
        try:
            while self._more():
                self._hash()
        except OSError as error:
            self._error = error
        finally:
            os.close(self._descriptor)

    def _more(self) -> bool:
        with self._changed:
            while self._at >= self._size and not self._finish:
                self._changed.wait()
            return self._at < self._size

    def _hash(self) -> None:
        buffer = bytearray(_STEP)
        while self._at < self._size:
            got = os.preadv(self._descriptor, [buffer], self._at)
            if not got:
                raise OSError(errno.EIO, "a spool file is shorter than what was written to it")
            self._digest.update(memoryview(buffer)[:got])
            self._at += got


def named(error: OSError) -> Exception:
    """`error` under the name of what happens next: SpoolFull where space or quota ran out, else itself."""
    if error.errno in _FULL:
        return SpoolFull(f"spool out of space: {os.strerror(error.errno)}")
    return error


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise named(error) from error
