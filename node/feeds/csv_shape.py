"""A file is looked at as bytes and as raw rows before pandas sees it.

pandas shifts every column when the first row is longer than the header, pads short rows, renames double headers and
reads on after a quote that is never closed (all measured). So each raw row is counted here first, with the standard
library's strict reader, and a file in which one row does not fit is not read at all.
"""

from __future__ import annotations

import _csv
import bisect
import csv
import errno
import hashlib
import os
import stat
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from node.feeds.csv_layout import Layout
from node.feeds.csv_rules import MAX_LISTED, FileRejected, FileRule, Problem

MAX_FILE_BYTES = 2 << 30

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What tells that a file is still the one that was read."""

    inode: int
    size: int
    mtime_ns: int


@dataclass(slots=True)
class Lines:
    """Physical line on which each row ends: kept only where a blank line or a line break in a cell moves it."""

    _rows: array[int] = field(default_factory=lambda: array("Q"))
    _offsets: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, row: int, line: int) -> None:
        """Note that `row` ends on `line`; rows come in order."""
        offset = line - row
        if not self._offsets or self._offsets[-1] != offset:
            self._rows.append(row)
            self._offsets.append(offset)

    def of(self, row: int) -> int:
        """The line of a row; 0 for the file."""
        at = bisect.bisect_right(self._rows, row) - 1
        return row + self._offsets[at] if row and at >= 0 else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A file whose rows all fit its header."""

    header: tuple[str, ...]
    rows: int
    lines: Lines


def stamp(path: Path) -> Stamp:
    """The present state of a regular file of bearable size; links are not followed.

    Raises:
        FileRejected: it is no such file.

    """
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise FileRejected(FileRule.SYMLINK)
    if not stat.S_ISREG(status.st_mode):
        raise FileRejected(FileRule.NOT_A_FILE)
    if status.st_size > MAX_FILE_BYTES:
        raise FileRejected(FileRule.TOO_LARGE)
    return Stamp(inode=status.st_ino, size=status.st_size, mtime_ns=status.st_mtime_ns)


def sha256_of(path: Path) -> str:
    """SHA-256 of the bytes.

    Raises:
        FileRejected: the path became a link.
        OSError: it cannot be read now.

    """
    digest = hashlib.sha256()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileRejected(FileRule.SYMLINK) from error
        raise
    with os.fdopen(descriptor, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def check_shape(path: Path, layout: Layout) -> Shape:
    """Count header and rows of `path`.

    Raises:
        FileRejected: a workbook, undeclared UTF-16, a NUL, another encoding, an open quote, a row of another length.
        FileHeld: another header.

    """
    with _raw_rows(path, layout) as reader:
        header = next(reader, [])
        layout.check_header(header)
        return _count(reader, tuple(header))


def check_header(path: Path, layout: Layout) -> None:
    """Look at the header of `path` and at no row.

    Raises:
        FileRejected: it cannot be read.
        FileHeld: another header.

    """
    with _raw_rows(path, layout) as reader:
        layout.check_header(next(reader, []))


@contextmanager
def _raw_rows(path: Path, layout: Layout) -> Iterator[_csv.Reader]:
    _check_start(path, layout)
    try:
        with path.open(encoding=layout.codec, errors="strict", newline="") as file:
            yield csv.reader(_without_nul(file), delimiter=layout.source.delimiter, strict=True)
    except UnicodeError as error:
        raise FileRejected(FileRule.ENCODING) from error
    except csv.Error as error:
        raise FileRejected(FileRule.QUOTING) from error


def _check_start(path: Path, layout: Layout) -> None:
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK":
        raise FileRejected(FileRule.WORKBOOK)
    if start in (b"\xff\xfe", b"\xfe\xff") and layout.source.encoding != "utf-16":
        raise FileRejected(FileRule.ENCODING)


def _without_nul(file: TextIO) -> Iterator[str]:
    for line in file:
        if "\0" in line:
            raise FileRejected(FileRule.NUL)
        yield line


def _count(reader: _csv.Reader, header: tuple[str, ...]) -> Shape:
    rows, width, lines = 0, len(header), Lines()
    odd: list[Problem] = []
    for record in reader:
        if not record:
            continue
        rows += 1
        lines.add(rows, reader.line_num)
        if len(record) != width and len(odd) < MAX_LISTED:
            odd.append(Problem(row=rows, line=reader.line_num, rule=FileRule.FIELD_COUNT))
    if odd:
        raise FileRejected(FileRule.FIELD_COUNT, tuple(odd))
    return Shape(header=header, rows=rows, lines=lines)
