"""Storage SCU: brings frozen result objects to one archive, in order, over one association.

What an answer means for the next step is decided here and nowhere else (reception-and-delivery.md 4.1): stored, try
again (`PeerUnavailable`), or a person must act (`PeerRefused`). Sending an object twice is harmless: same UID, same
bytes. When waiting is over is the caller's business; nothing is retried here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final

import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset

from config.settings import Delivery, Destination
from dicom_io.element import expect_defects
from dicom_io.errors import PeerFault, PeerRefused, PeerUnavailable
from dicom_io.negotiation import Accepted, accepted, proposal
from dicom_io.orderly_association import OrderlyAssociation
from dicom_io.scu_association import associated

_log = structlog.get_logger()

_SUCCESS: Final = 0x0000
_WARNINGS: Final = (*range(0xB000, 0xC000), 0x0001, 0x0107, 0x0116)
"""Stored, with a remark: PS3.4 B.2.3 and PS3.7 annex C."""
_DUPLICATE: Final = 0x0111
"""PS3.7 C.5.6: the archive has that UID already; it is ours, from a send whose answer was lost."""
ALREADY_REJECTED: Final = (0xA770, 0xA774)
"""dcm4chee-arc: this rejection note was received before; the object it names is rejected already."""
SUBSEQUENT_OCCURRENCE: Final = 0xA771
"""dcm4chee-arc: the object was rejected there by a note and is not taken again."""
NO_SUCH_OBJECT: Final = 0xA772
"""dcm4chee-arc: the note names an object that is not there."""
CLASS_CONFLICT: Final = 0xA773
"""dcm4chee-arc: the note names an object by another class than the one it has."""
_TRY_AGAIN: Final = (
    *set(range(0xA700, 0xA800)) - {SUBSEQUENT_OCCURRENCE, NO_SUCH_OBJECT, CLASS_CONFLICT},
    0x0110,
    0x0213,
)
"""Out of resources, processing failure, resource limitation."""


_TRANSFER_SYNTAX: Final = bytes.fromhex("02001000") + b"UI"
_GROUP_LENGTH_ENDS: Final = 144
"""Preamble, prefix and (0002,0000) (PS3.10 7.1): the rest of the File Meta Information is counted from there."""
_KEYS: Final = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingObject:
    """One frozen object of a report."""

    sop_class_uid: str
    sop_instance_uid: str
    part10: bytes = field(repr=False)
    """The whole file; its dataset is sent as it stands."""

    @property
    def transfer_syntax_uid(self) -> str:
        """Of the file."""
        return _file_meta(self.part10)[0]

    @property
    def keys(self) -> tuple[str, str, str]:
        """Study, Series and SOP Instance UID."""
        header = _read(self.part10, header_only=True)
        return str(header.StudyInstanceUID), str(header.SeriesInstanceUID), str(header.SOPInstanceUID)


class Outbound:
    """An open association to an archive: what it accepted, and a way to store."""

    def __init__(self, association: OrderlyAssociation, to: Destination) -> None:
        self._association = association
        self._to = to
        self._message = 0
        self.took: Accepted = accepted(association)

    @property
    def open(self) -> bool:
        """Whether the archive has not ended it."""
        return self._association.is_established

    def store(self, item: OutgoingObject) -> int:
        """Store one object; the status it was stored with. One with a warning is stored.

        Raises:
            PeerUnavailable: busy, out of resources, or gone in the middle; `partly` when it may have been stored.
            PeerRefused: declined, with the peer's reason.

        """
        self._message += 1
        try:
            answer = self._answer(item)
        except RuntimeError as error:  # the association ended between two objects
            msg = f"{self._to.name}: the association ended"
            raise PeerUnavailable(msg) from error
        status = answer.get("Status")
        if status is None:
            fault = PeerUnavailable(f"{self._to.name}: no answer to C-STORE, or the association was aborted")
            fault.partly = True
            raise fault
        _judge(int(status), str(answer.get("ErrorComment", "")), item.sop_instance_uid, self._to)
        return int(status)

    def _answer(self, item: OutgoingObject) -> Dataset:
        """As it is where the archive takes its transfer syntax, else in one that it takes. RuntimeError: it is over."""
        syntax, start = _file_meta(item.part10)
        if (item.sop_class_uid, syntax) not in self.took.pairs:
            return self._association.send_c_store(_uncompressed(_read(item.part10)), msg_id=self._message)
        return self._association.store_encoded(
            item.part10[start:],
            sop_class=item.sop_class_uid,
            instance=item.sop_instance_uid,
            syntax=syntax,
            message_id=self._message,
        )


@contextlib.contextmanager
def outbound(
    objects: Sequence[tuple[str, str]], to: Destination, settings: Delivery, *, proving: bool = False
) -> Iterator[Outbound]:
    """Open an association for `objects`, pairs of SOP class and transfer syntax; `proving` as in `proposal`.

    Raises:
        PeerUnavailable: not reachable or busy.
        PeerRefused: it rejects us, or takes none of the classes.

    """
    expect_defects()
    with associated(proposal(objects, proving=proving), to, settings) as association:
        yield Outbound(association, to)


def send(objects: Sequence[OutgoingObject], to: Destination, settings: Delivery) -> None:
    """Store `objects` at `to` as they are, in order, over one association; returns when every one is stored.

    Raises:
        PeerUnavailable: not reachable, busy, out of resources, or gone in the middle; try again, all of them.
        PeerRefused: understood and declined, with the peer's reason; nothing changes until a person acts.

    """
    if not objects:
        return
    with outbound([(one.sop_class_uid, one.transfer_syntax_uid) for one in objects], to, settings) as archive:
        for one in objects:
            if not archive.took.takes(one.sop_class_uid, one.transfer_syntax_uid):
                msg = f"{to.name}: SOP class refused: {_read(one.part10, header_only=True).SOPClassUID.name}"
                raise PeerRefused(msg)
        for number, one in enumerate(objects, start=1):
            try:
                archive.store(one)
            except PeerFault as fault:
                fault.partly |= number > 1
                raise


def _read(part10: bytes, *, header_only: bool = False) -> FileDataset:
    return dcmread(BytesIO(part10), specific_tags=_KEYS) if header_only else dcmread(BytesIO(part10))


def _file_meta(part10: bytes) -> tuple[str, int]:
    """Transfer Syntax UID, and where the dataset begins, of a file that was written here (PS3.10 7.1).

    Asked several times for each object sent: pydicom's parsing took a millisecond of every report.
    """
    start = _GROUP_LENGTH_ENDS + int.from_bytes(part10[_GROUP_LENGTH_ENDS - 4 : _GROUP_LENGTH_ENDS], "little")
    value = part10.index(_TRANSFER_SYNTAX, _GROUP_LENGTH_ENDS, start) + len(_TRANSFER_SYNTAX) + 2
    length = int.from_bytes(part10[value - 2 : value], "little")
    return part10[value : value + length].decode("ascii").rstrip("\0"), start


def _uncompressed(dataset: FileDataset) -> FileDataset:
    """For an archive that takes pixels only so. Lossless: the pixels, and so the object, stay the same."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not syntax.is_deflated:
        dataset.decompress(generate_instance_uid=False)
    return dataset


def _judge(status: int, comment: str, instance: str, to: Destination) -> None:
    if status == _SUCCESS:
        return
    if status in (*_WARNINGS, _DUPLICATE, *ALREADY_REJECTED):
        _log.warning("delivery.warning", destination=to.name, sop_instance_uid=instance, status=f"{status:04X}")
        return
    detail = f"{to.name}: C-STORE answered {status:04X}" + (f" ({comment})" if comment else "")
    fault = PeerUnavailable(detail) if status in _TRY_AGAIN else PeerRefused(detail)
    fault.status = status
    raise fault
