"""Durable write of received objects: what `Spool` has returned survives a power cut.

Order (reception-and-delivery.md 2.1): a `Part` in the same file system, fsync file, rename, fsync directory. A file
under its final name is therefore complete. The dataset is kept byte for byte as received, in its transfer syntax; only
the preamble and the file meta information (PS3.10 7.1) are written in front of it. Nothing here decodes, and nothing
here knows the ledger.

The final name is a function of the SOP Instance UID and the content, so a re-send meets its own file and the same UID
with other content gets another one. Two receptions of the same bytes take turns: else the roll-back of one could
remove the file the other has just acknowledged.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from dicom_io.errors import HeaderInvalid
from dicom_io.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_io.part import UNLIMITED, Buffer, Part, named

_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)+", re.ASCII)
_MAX_UID: Final = 64
_PREAMBLE: Final = b"\0" * 128 + b"DICM"
_DIGEST_CHARACTERS: Final = 16
_CHUNK: Final = 1 << 20
_QUARANTINE: Final = "quarantine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """One object on disk."""

    file: str
    """Path below the spool directory, with `/`."""
    sha256: str
    """Hex digest of the whole file."""
    size: int
    """Bytes of the whole file."""


class Spool:
    """A directory of Part 10 files. Safe for many threads of one process; a spool belongs to one process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._turns = tuple(threading.Lock() for _ in range(64))
        directory.mkdir(parents=True, exist_ok=True)

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
        sha256 = part.seal()
        file = f"{sha256[:2]}/{sop_instance_uid}-{sha256[:_DIGEST_CHARACTERS]}.dcm"
        with self._turns[int(sha256[:8], 16) % len(self._turns)]:
            was_there = self.path(file).exists()
            try:
                self._publish(part, file)
                yield Spooled(file=file, sha256=sha256, size=part.size)
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
            file = f"{_QUARANTINE}/{part.seal()[:32]}.bin"
            self._publish(part, file)
        return file

    def path(self, file: str) -> Path:
        """Where `file` lies."""
        return self._directory / file

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

    def _publish(self, part: Part, file: str) -> None:
        target = self.path(file)
        try:
            if not target.parent.is_dir():
                target.parent.mkdir(exist_ok=True)
                _fsync_directory(self._directory)
            part.path.replace(target)
            _fsync_directory(target.parent)
        except OSError as error:
            raise named(error) from error


def _expect_uid(sop_instance_uid: str) -> None:
    if not is_uid(sop_instance_uid):
        msg = "SOP Instance UID breaks the grammar of PS3.5 9.1"
        raise HeaderInvalid(msg)


def is_uid(text: str) -> bool:
    """Whether `text` may be a UID: digits in dotted components, at most 64 characters (PS3.5 9.1).

    A component with a leading zero breaks 9.1, but such objects exist, their senders repeat for ever when refused, and
    as a file name they are harmless.
    """
    return len(text) <= _MAX_UID and _UID.fullmatch(text) is not None


def part10_head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble and file meta information (PS3.10 7.1) to be put in front of a dataset.

    No Source Application Entity Title: the same image over two routers must have one digest.
    """
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta, enforce_standard=True)
    return _PREAMBLE + buffer.getvalue()


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
