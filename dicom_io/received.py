"""One received object before the ledger knows it: whose it is, and the file that holds it.

Read here are UIDs and identifiers, no pixel and nothing clinical, so that the association's thread is done in a moment.
"""

from __future__ import annotations

import datetime as dt
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, Final

from pydicom import uid
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from dicom_io.errors import HeaderInvalid
from dicom_io.header import instance_reference, patient_ids, read_header
from dicom_io.spool import Spool
from dicom_io.spool_names import promised
from model.domain import InstanceReference

_SERIES_INSTANCE_UID: Final = BaseTag(0x0020000E)
_PREFIX: Final = 1 << 20
"""Bytes of a deflated dataset inflated to find its UIDs."""


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
        HeaderInvalid: not a dataset of that transfer syntax, or one without the UIDs it takes to own it.

    """
    try:
        if transfer_syntax.is_deflated:
            stream = BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(_PREFIX), _PREFIX))
        dataset = read_dataset(
            stream,
            transfer_syntax.is_implicit_VR,
            transfer_syntax.is_little_endian,
            stop_when=lambda tag, _vr, _length: tag > _SERIES_INSTANCE_UID,
        )
    except Exception as error:  # pydicom raises whatever a damaged stream provokes; here it gets one name
        msg = f"the dataset cannot be parsed ({type(error).__name__})"
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
    header = read_header(path)
    return StoredInstance(
        reference=instance_reference(header),
        spool_file=file,
        digest=digest,
        calling_ae="",
        peer_address="",
        received_at=dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC),
        patient_ids=patient_ids(header),
    )
