"""Durable write of received objects: what `Spool` has returned survives a power cut.

Order (reception-and-delivery.md 2.1): a `Part` in the same file system, fsync file, rename, fsync directory. A file
under its final name is therefore complete. The dataset is kept byte for byte as received, in its transfer syntax; only
the preamble and the file meta information (PS3.10 7.1) are written in front of it. Nothing here decodes, and nothing
here knows the ledger.

The folders of the final names are made and fsynced once, when the spool is opened: a folder made in the middle of
reception would be seen by a second thread, which would answer, before the first has fsynced it.

The final name is a function of the SOP Instance UID and the content, so a re-send meets its own file and the same UID
with other content gets another one. Two receptions of the same bytes take turns: else the roll-back of one could
remove the file the other has just acknowledged.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import struct
import threading
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from dicom_io.content_digest import Buffer, hex_of
from dicom_io.errors import HeaderInvalid
from dicom_io.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_io.part import UNLIMITED, Part, named
from dicom_io.uid_grammar import is_uid

_ELEMENT: Final = struct.Struct("<HH2sH")
_GROUP_LENGTH: Final = struct.Struct("<HH2sHI")
_PREAMBLE: Final = b"\0" * 128 + b"DICM"
DIGEST_CHARACTERS: Final = 16
_CHUNK: Final = 1 << 20
_QUARANTINE: Final = "quarantine"
_MARK: Final = re.compile(f"[0-9a-f]{{{DIGEST_CHARACTERS}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """One object on disk."""

    file: str
    """Path below the spool directory, with `/`."""
    digest: str
    """Of the whole file, with its algorithm (`dicom_io.content_digest`)."""
    size: int
    """Bytes of the whole file."""


class Spool:
    """A directory of Part 10 files. Safe for many threads of one process; a spool belongs to one process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._turns = tuple(threading.Lock() for _ in range(64))
        directory.mkdir(parents=True, exist_ok=True)
        _make_folders(directory)

    def store(self, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, dataset: Buffer) -> Spooled:
        """Write one object durably.

        Raises:
            HeaderInvalid: `sop_instance_uid` is no UID (PS3.5 9.1) and must not become a file name.
            SpoolFull: no space or quota left; nothing remains of the object.
            OSError: any other failure of the file system; nothing remains of the object either.

        """
        with self.storing(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            dataset=dataset,
        ) as spooled:
            return spooled

    @contextlib.contextmanager
    def storing(
        self, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, dataset: Buffer
    ) -> Iterator[Spooled]:
        """`store`, taken back if the block raises; a file that was there before stays. Raises as `store`."""
        _expect_uid(sop_instance_uid)
        with self.begin(sop_class_uid, sop_instance_uid, transfer_syntax_uid) as part:
            part.write(dataset)
            with self.adopting(part, sop_instance_uid) as spooled:
                yield spooled

    def begin(
        self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, *, limit: int = UNLIMITED
    ) -> Part:
        """Start a file for an object that is still arriving, of at most `limit` bytes. Raises as `Part.write`.

        The UIDs are the sender's word; where they break the grammar there is no head, and `adopting` will refuse.
        """
        sound = is_uid(sop_class_uid) and is_uid(sop_instance_uid)
        head = part10_head(sop_class_uid, sop_instance_uid, transfer_syntax_uid) if sound else b""
        return Part(self._directory / f"{uuid.uuid4().hex}.part", head, limit=limit)

    @contextlib.contextmanager
    def adopting(self, part: Part, sop_instance_uid: str) -> Iterator[Spooled]:
        """Give a complete `part` its final name, durably; taken back as by `storing`. Raises as `store`."""
        _expect_uid(sop_instance_uid)
        digest = part.seal()
        mark = hex_of(digest)[:DIGEST_CHARACTERS]
        file = f"{mark[:2]}/{sop_instance_uid}-{mark}.dcm"
        with self._turns[self._turn(mark)]:
            was_there = self.path(file).exists()
            try:
                self._publish(part, file)
                yield Spooled(file=file, digest=digest, size=part.size)
            except BaseException:
                if not was_there:
                    self.remove(file)
                raise

    def quarantine(self, dataset: Buffer | BinaryIO) -> str:
        """Keep bytes that could not be owned, for a person to look at. Returns the file; raises as `store`."""
        stream = BytesIO(dataset) if isinstance(dataset, Buffer) else dataset
        with Part(self._directory / f"{uuid.uuid4().hex}.part") as part:
            while chunk := stream.read(_CHUNK):
                part.write(chunk)
            file = f"{_QUARANTINE}/{hex_of(part.seal())[:32]}.bin"
            self._publish(part, file)
        return file

    def rename(self, file: str, to: str) -> None:
        """Give `file` the name `to`, durably, also where that one is missing or taken. Raises as `store`."""
        try:
            self._move(self.path(file), to)
        except OSError as error:
            raise named(error) from error

    def path(self, file: str) -> Path:
        """Where `file` lies."""
        return self._directory / file

    @contextlib.contextmanager
    def retiring(self, file: str) -> Iterator[None]:
        """Delete `file` and note it in the block, while no re-send of the same bytes can be adopted in between."""
        with self._turns[self._turn(file.rpartition("-")[2].removesuffix(".dcm"))]:
            self.remove(file)
            yield

    def quarantined(self) -> tuple[Path, ...]:
        """What could not be owned and waits for a person."""
        return tuple(sorted((self._directory / _QUARANTINE).glob("*.bin")))

    def remove(self, file: str) -> None:
        """Delete `file`; none there is fine."""
        self.path(file).unlink(missing_ok=True)

    def sweep(self) -> int:
        """Delete what interrupted writes left behind; returns how many. Only before reception starts."""
        parts = list(self._directory.rglob("*.part"))
        for part in parts:
            part.unlink(missing_ok=True)
        return len(parts)

    def orphans(self, known: Iterable[str]) -> Iterator[str]:
        """Complete files the ledger has no row for: stored, but the process died before the commit."""
        rows = frozenset(known)
        for path in sorted(self._directory.glob("[0-9a-f][0-9a-f]/*.dcm")):
            file = path.relative_to(self._directory).as_posix()
            if file not in rows:
                yield file

    def used_percent(self) -> float:
        """How full the spool's file system is for us, 0 to 100."""
        usage = shutil.disk_usage(self._directory)
        usable = usage.used + usage.free
        return 100.0 * usage.used / usable if usable else 100.0

    def _turn(self, mark: str) -> int:
        """Which lock bytes with this mark take; the names that older releases gave end otherwise and share one."""
        return int(mark, 16) % len(self._turns) if _MARK.fullmatch(mark) else 0

    def _publish(self, part: Part, file: str) -> None:
        try:
            self._move(part.path, file)
        except OSError as error:
            raise named(error) from error

    def _move(self, source: Path, file: str) -> None:
        target = self.path(file)
        if not target.parent.is_dir():
            target.parent.mkdir(exist_ok=True)
            _fsync_directory(self._directory)
        source.replace(target)
        _fsync_directory(target.parent)


def _make_folders(directory: Path) -> None:
    """Make what is missing of `00` to `ff` and the quarantine, durably, also what a killed process had just made."""
    there = {entry.name for entry in os.scandir(directory)}
    # Not possible on a full disk: the node must start all the same, and `_move` makes a folder when it is needed.
    with contextlib.suppress(OSError):
        for name in (*(f"{number:02x}" for number in range(256)), _QUARANTINE):
            if name not in there:
                (directory / name).mkdir(exist_ok=True)
    _fsync_directory(directory)


def _expect_uid(sop_instance_uid: str) -> None:
    if not is_uid(sop_instance_uid):
        msg = "SOP Instance UID breaks the grammar of PS3.5 9.1"
        raise HeaderInvalid(msg)


def part10_head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble and file meta information (PS3.10 7.1) to be put in front of a dataset.

    No Source Application Entity Title: the same image over two routers must have one digest.
    """
    meta = b"".join(
        (
            b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01",  # File Meta Information Version
            _element(0x0002, b"UI", sop_class_uid),
            _element(0x0003, b"UI", sop_instance_uid),
            _element(0x0010, b"UI", transfer_syntax_uid),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
        )
    )
    return _PREAMBLE + _GROUP_LENGTH.pack(2, 0, b"UL", 4, len(meta)) + meta


def _element(number: int, vr: bytes, value: str) -> bytes:
    """(0002,`number`) in Explicit VR Little Endian, padded as its VR wants it (PS3.5 6.2, 7.1)."""
    content = value.encode("ascii")
    content += (b" " if vr == b"SH" else b"\0") * (len(content) % 2)
    return _ELEMENT.pack(2, number, vr, len(content)) + content


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
