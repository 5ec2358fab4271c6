"""One received object before the ledger knows it: whose it is, and the file that holds it.

Read here are UIDs and identifiers, no pixel and nothing clinical, so that the association's thread is done in a moment.
What stands between them is sought over or, where it has no length, read within a budget: pydicom makes of an empty item
of 8 bytes objects of a kilobyte, so an object of 8 MB could have the listener fill its memory.
"""

from __future__ import annotations

import datetime as dt
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final, cast

from pydicom import uid
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from dicom_io.element import text
from dicom_io.errors import HeaderInvalid
from dicom_io.file_meta import file_meta
from dicom_io.header import instance_reference, patient_ids
from dicom_io.spool import Spool
from dicom_io.spool_names import promised
from model.domain import InstanceReference

_SERIES_INSTANCE_UID: Final = BaseTag(0x0020000E)
_WANTED: Final[list[BaseTag | int]] = [0x00080016, 0x00080018, 0x00100020, 0x00101002, 0x0020000D, _SERIES_INSTANCE_UID]
"""What `instance_reference` and `patient_ids` look at."""
_BUDGET: Final = 1 << 20
"""Bytes read of a dataset, or inflated of a deflated one, to find its UIDs. Radiographs need a few kilobytes, a
presentation state that refers to 5,000 images 700."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """One object that lies complete in the spool and waits for its row in the ledger."""

    reference: InstanceReference
    spool_file: str
    """Path below the spool directory."""
    digest: str
    """Of the whole file, with its algorithm (`dicom_io.content_digest`)."""
    calling_ae: str
    """Empty for a file adopted at start: nobody remembers."""
    peer_address: str
    received_at: dt.datetime
    """Aware, UTC."""
    patient_ids: tuple[str, ...]
    """Identifier values of the patient, without issuer; never logged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """Whose an encoded dataset is."""

    reference: InstanceReference
    patient_ids: tuple[str, ...]


def identify(stream: BinaryIO, transfer_syntax: uid.UID) -> Identified:
    """The UIDs of an encoded dataset, from where `stream` stands; reads no further than the Series Instance UID.

    The identifiers of the patient stand before it, so that nobody need read the header a second time.

    Raises:
        HeaderInvalid: not a dataset of that transfer syntax, one without the UIDs it takes to own it, or one with more
            than a megabyte before them that cannot be sought over.
        OSError: the stream cannot be read.

    """
    thrifty = _Thrifty(stream)
    try:
        if transfer_syntax.is_deflated:
            thrifty = _Thrifty(BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(_BUDGET), _BUDGET)))
        dataset = read_dataset(
            cast(BinaryIO, thrifty),
            transfer_syntax.is_implicit_VR,
            transfer_syntax.is_little_endian,
            stop_when=lambda tag, _vr, _length: tag > _SERIES_INSTANCE_UID,
            specific_tags=_WANTED,
        )
    except Exception as error:  # pydicom raises whatever a damaged stream provokes; here it gets one name
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file system's; pydicom's own, for a sequence that ends early, has no number
        spent = "more than a megabyte stands before its Series Instance UID"
        msg = spent if thrifty.left < 0 else f"the dataset cannot be parsed ({type(error).__name__})"
        raise HeaderInvalid(msg) from error
    return Identified(reference=instance_reference(dataset), patient_ids=patient_ids(dataset))


def adopt(spool: Spool, file: str) -> StoredInstance:
    """A file of `Spool.orphans` as if it had just been received; the ledger commits it as usual.

    Raises:
        HeaderInvalid: it is damaged (content and name disagree) or cannot be owned.
        OSError: it cannot be read.

    """
    path = spool.path(file)
    digest = promised(path, file)
    if digest is None:
        msg = "the file's content is not what its name promises"
        raise HeaderInvalid(msg)
    identified = _identify_file(path)
    return StoredInstance(
        reference=identified.reference,
        spool_file=file,
        digest=digest,
        calling_ae="",
        peer_address="",
        received_at=dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC),
        patient_ids=identified.patient_ids,
    )


def _identify_file(path: Path) -> Identified:
    """`identify` of a file as the spool writes them. Raises as it."""
    with path.open("rb") as stream:
        meta = file_meta(stream)
        if meta is None:
            msg = "the file has no file meta information"
            raise HeaderInvalid(msg)
        return identify(stream, uid.UID(text(meta, "TransferSyntaxUID")))


class _Thrifty:
    """As much of a stream as pydicom's reader takes, which may read `_BUDGET` bytes of it; to seek costs nothing."""

    def __init__(self, stream: BinaryIO) -> None:
        self.left = _BUDGET
        self.seek, self.tell = stream.seek, stream.tell
        self._read = stream.read

    def read(self, count: int) -> bytes:
        """Raises OverflowError where the budget is spent; how long a value says it is may be a lie too."""
        self.left -= count
        if self.left < 0:
            raise OverflowError
        return self._read(count)
