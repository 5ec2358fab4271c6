"""Durable write of received objects: what `Spool` has returned survives a power cut.

An object is written into a `Part`, sealed, and published under its final name by the spool's shelf; a file under its
final name is therefore complete. The dataset is kept byte for byte as received, in its transfer syntax; only the
preamble and the file meta information (PS3.10 7.1) are written in front of it. Nothing here decodes, and nothing here
knows the ledger.

The final name is a function of the SOP Instance UID and the content, so a re-send meets its own file and the same UID
with other content gets another one. Two receptions of the same bytes take turns: else the roll-back of one could
remove the file the other has just acknowledged. On a shared shelf the other may be another host, so there nothing is
rolled back: the file stays an orphan until it is sent again, or `orphans` gives it out.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import struct
import threading
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from dicom_io.content_digest import Buffer
from dicom_io.errors import HeaderInvalid, SpoolUnavailable
from dicom_io.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_io.part import UNLIMITED, Part
from dicom_io.spool_folder import LocalFolder
from dicom_io.spool_names import DIGEST_CHARACTERS, image_name, mark_of, quarantine_name
from dicom_io.spool_shelf import SETTLED_AFTER, Shelf, Shelved
from dicom_io.uid_grammar import is_uid

_ELEMENT: Final = struct.Struct("<HH2sH")
_GROUP_LENGTH: Final = struct.Struct("<HH2sHI")
_PREAMBLE: Final = b"\0" * 128 + b"DICM"
_CHUNK: Final = 1 << 20
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
    """Part 10 files on a shelf. Safe for many threads of one process, whose own a folder given as a path is."""

    def __init__(self, place: Path | Shelf) -> None:
        self._place: Shelf = LocalFolder(place) if isinstance(place, Path) else place
        self._refusal = ""
        self._turns = tuple(threading.Lock() for _ in range(64))

    @property
    def shared(self) -> bool:
        """Whether other hosts use it too."""
        return self._place.shared

    @property
    def refused(self) -> bool:
        """Whether `refuse` holds."""
        return bool(self._refusal)

    def refuse(self, why: str) -> None:
        """Answer everything with SpoolUnavailable until `why` is empty: it is not proved to be our spool."""
        self._refusal = why

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
        return self._shelf.part(head, limit)

    @contextlib.contextmanager
    def adopting(self, part: Part, sop_instance_uid: str) -> Iterator[Spooled]:
        """Give a complete `part` its final name, durably; taken back as by `storing`. Raises as `store`."""
        _expect_uid(sop_instance_uid)
        digest = part.seal()
        file = image_name(sop_instance_uid, digest)
        if self.shared:
            self._shelf.publish(part, file)
            yield Spooled(file=file, digest=digest, size=part.size)
            return
        with self._turns[self._turn(file)]:
            was_there = self._shelf.holds(file)
            try:
                self._shelf.publish(part, file)
                yield Spooled(file=file, digest=digest, size=part.size)
            except BaseException:
                if not was_there:
                    self.remove(file)
                raise

    def quarantine(self, dataset: Buffer | BinaryIO) -> str:
        """Keep bytes that could not be owned, for a person to look at. Returns the file; raises as `store`."""
        stream = BytesIO(dataset) if isinstance(dataset, Buffer) else dataset
        with self._shelf.part(b"", UNLIMITED) as part:
            while chunk := stream.read(_CHUNK):
                part.write(chunk)
            file = quarantine_name(part.seal())
            self._shelf.publish(part, file)
        return file

    def rename(self, file: str, to: str) -> None:
        """Give `file` the name `to`, durably, also where that one is missing or taken. Raises as `store`."""
        self._shelf.move(file, to)

    def path(self, file: str) -> Path:
        """Where `file` can be read on this host; nothing is there when the spool has no such file.

        Raises:
            SpoolUnavailable: shared storage does not answer, so that nobody knows.

        """
        return self._shelf.path(file)

    def holds(self, file: str) -> bool:
        """Whether the spool itself, not a copy on this host, has `file`. Raises as `path`."""
        return self._shelf.holds(file)

    def intact(self, file: str, digest: str) -> bool:
        """Whether the spool's own `file` has this digest.

        Raises:
            FileNotFoundError: there is none.
            OSError: it cannot be read.
            SpoolUnavailable: as `path`.

        """
        return self._shelf.intact(file, digest)

    def size(self, file: str) -> int:
        """Bytes of `file`, 0 when there is none. Raises as `path`."""
        return self._shelf.size(file)

    @contextlib.contextmanager
    def retiring(self, *files: str) -> Iterator[None]:
        """Let no re-send of the same bytes to this listener be adopted while the block notes and deletes `files`."""
        with contextlib.ExitStack() as held:
            for turn in sorted({self._turn(file) for file in files}):  # two files may share one
                held.enter_context(self._turns[turn])
            yield

    def quarantined(self) -> Iterator[Shelved]:
        """What could not be owned and waits for a person. Raises as `path`."""
        return self._shelf.quarantined()

    def remove(self, file: str) -> None:
        """Delete `file`; none there is fine. Raises as `path`."""
        self._shelf.remove(file)

    def sweep(self) -> int:
        """Delete what this listener's interrupted writes left behind; how many. Only before its reception starts."""
        return self._place.sweep()

    def sweep_abandoned(self) -> int:
        """Delete what listeners left behind that are gone for good; how many. At any time, by any of them."""
        return self._shelf.sweep_abandoned()

    def forget_copies(self, before: dt.datetime) -> None:
        """Delete copies on this host that nobody here has asked for since `before`: the file may be gone elsewhere."""
        self._place.forget_copies(before)

    def orphans(self, known: Iterable[str]) -> Iterator[str]:
        """Complete files the ledger has no row for: stored, but the process died before the commit.

        On a shared shelf only those that no listener can be about to record any more. Raises as `path`.
        """
        rows = frozenset(known)
        before = dt.datetime.now(dt.UTC) - SETTLED_AFTER
        for found in self._shelf.images():
            if found.file not in rows and (not self.shared or found.at < before):
                yield found.file

    def used_percent(self) -> float:
        """How full the disk is that objects arrive on, 0 to 100."""
        return self._place.used_percent()

    def probe(self) -> None:
        """Keep a few bytes, read them back and delete them.

        Raises:
            SpoolUnavailable, SpoolFull, OSError: it cannot be used from here.

        """
        file = f"probe-{uuid.uuid4().hex}"
        with self._place.part(b"osteon", UNLIMITED) as part:
            digest = part.seal()
            self._place.publish(part, file)
        intact = self._place.intact(file, digest)
        self._place.remove(file)
        if not intact:
            msg = "it did not give back what it was given"
            raise SpoolUnavailable(msg)

    def marker(self) -> str | None:
        """Whose spool it says it is; None: nobody has said so yet. Raises as `path`."""
        return self._place.marker()

    def write_marker(self, text: str) -> None:
        """Say whose spool this is. Raises as `store`."""
        self._place.write_marker(text)

    @property
    def _shelf(self) -> Shelf:
        if self._refusal:
            raise SpoolUnavailable(self._refusal)
        return self._place

    def _turn(self, file: str) -> int:
        """Which lock these bytes take; the names that older releases gave have no mark and share one."""
        mark = mark_of(file)
        return int(mark, 16) % len(self._turns) if _MARK.fullmatch(mark) else 0


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
