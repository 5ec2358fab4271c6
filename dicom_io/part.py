"""A file that grows while its object is still arriving, hashed on the way, so that no object is held in memory.

It is nobody's file until `Spool.adopting` renames it: its name ends in `.part`, and `Spool.sweep` deletes what a crash
leaves. A part that failed is deleted at once and stays failed; the error is told again to whoever wants to use it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dicom_io.content_digest import Buffer, ContentDigest
from dicom_io.errors import SpoolFull
from dicom_io.writeback import begin_writeback

UNLIMITED: Final = 1 << 62
_PIECE: Final = 256 << 10
"""Bytes that are written and hashed at once, or more: fragments of 16 KB, as many senders send, would be 640 writes."""
_WORTH_WRITEBACK: Final = 1_000_000
"""Bytes for which the kernel is asked to begin; what is less at the end of an object is left to its fsync."""
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
        self._held = bytearray(_PIECE)
        self._written = self._begun = 0
        """Bytes in the file, the rest of `_size` is held; and on their way to the disk."""
        self._digest = ContentDigest()
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

    @property
    def digest(self) -> str:
        """Of all that was sealed, head included, as the ledger keeps it."""
        return self._digest.text()

    def write(self, data: Buffer) -> None:
        """Append.

        Raises:
            SpoolFull: no space or quota left, or the object exceeds its limit.
            OSError: any other failure of the file system.

        """
        if self._size + len(data) > self._limit:
            msg = f"the object is larger than {self._limit - self._head_size} bytes"
            raise SpoolFull(msg)
        held = self._size - self._written
        self._size += len(data)
        if held + len(data) < _PIECE:
            self._held[held : held + len(data)] = data
        else:
            self._put(memoryview(self._held)[:held], memoryview(data))

    def _put(self, *pieces: memoryview) -> None:
        start = self._written
        with _named():
            self._written += os.writev(self._descriptor, pieces)
            while self._written < self._size:  # a signal, or a disk that is nearly full
                self._written += os.write(self._descriptor, b"".join(pieces)[self._written - start :])
        if self._written - self._begun >= _WORTH_WRITEBACK:
            begin_writeback(self._descriptor, self._begun, self._written - self._begun)
            self._begun = self._written
        for piece in pieces:  # while the disk works
            self._digest.update(piece)

    def _put_rest(self) -> None:
        if self._written < self._size:
            self._put(memoryview(self._held)[: self._size - self._written])

    def dataset(self) -> BufferedReader:
        """A reader at the first byte of the dataset so far; the caller closes it. Raises as `write`."""
        self._put_rest()
        stream = self._path.open("rb")
        stream.seek(self._head_size)
        return stream

    def seal(self) -> str:
        """Make the content durable; returns the digest of the whole file. Raises as `write`."""
        self._put_rest()
        with _named():
            os.fsync(self._descriptor)
        self._close()
        return self.digest

    def abandon(self) -> None:
        """Delete it, whatever its state; an adopted one has another name by now and stays."""
        self._close()
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


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
