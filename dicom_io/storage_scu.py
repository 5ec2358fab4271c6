"""Storage SCU: brings frozen result objects to one archive, in order, over one association.

What an answer means for the next step is decided here and nowhere else (reception-and-delivery.md 4.1): stored, try
again (`PeerUnavailable`), or a person must act (`PeerRefused`). Sending an object twice is harmless: same UID, same
bytes. When waiting is over is the caller's business; nothing is retried here.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

import structlog
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from config.settings import Delivery, Destination
from dicom_io.element import expect_defects
from dicom_io.errors import PeerFault, PeerRefused, PeerUnavailable
from dicom_io.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_log = structlog.get_logger()

_SUCCESS: Final = 0x0000
_WARNINGS: Final = (*range(0xB000, 0xC000), 0x0001, 0x0107, 0x0116)
"""Stored, with a remark: PS3.4 B.2.3 and PS3.7 annex C."""
_DUPLICATE: Final = 0x0111
"""PS3.7 C.5.6: the archive has that UID already; it is ours, from a send whose answer was lost."""
_TRY_AGAIN: Final = (*range(0xA700, 0xA800), 0x0110, 0x0213)
"""Out of resources, processing failure, resource limitation."""
_TRANSIENT: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingObject:
    """One frozen object of a report."""

    sop_class_uid: str
    sop_instance_uid: str
    part10: bytes = field(repr=False)
    """The whole file; its dataset is sent as it stands."""


def send(objects: Sequence[OutgoingObject], to: Destination, settings: Delivery) -> None:
    """Store `objects` at `to` in order, over one association; returns when every one is stored.

    Raises:
        PeerUnavailable: not reachable, busy, out of resources, or gone in the middle; try again, all of them.
        PeerRefused: understood and declined, with the peer's reason; nothing changes until a person acts.

    Both say whether a part of the report, a page without its SR for one, is or may be there.
    """
    if not objects:
        return
    expect_defects()
    datasets = [dcmread(BytesIO(one.part10)) for one in objects]
    with _associated(datasets, to, settings) as association:
        for dataset in datasets:
            _require_context(association, dataset, to)
        for number, dataset in enumerate(datasets, start=1):
            try:
                _store(association, dataset, number, to)
            except PeerFault as fault:
                fault.partly |= number > 1
                raise


@contextlib.contextmanager
def _associated(datasets: Sequence[Dataset], to: Destination, settings: Delivery) -> Iterator[Association]:
    ae = AE(settings.ae_title)
    ae.implementation_class_uid = uid.UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = settings.acse_timeout
    ae.acse_timeout = settings.acse_timeout
    ae.dimse_timeout = settings.dimse_timeout
    ae.network_timeout = settings.dimse_timeout
    for sop_class, syntax in _contexts(datasets):
        ae.add_requested_context(sop_class, syntax)
    try:
        association = ae.associate(
            to.host, to.port, ae_title=to.ae_title, evt_handlers=[(evt.EVT_CONN_OPEN, _without_nagle)]
        )
    except OSError as error:  # the name does not resolve
        msg = f"{to.name}: {to.host} is not a known host"
        raise PeerUnavailable(msg) from error
    try:
        if not association.is_established:
            raise _not_established(association, to)
        yield association
    finally:
        _close(association)


def _contexts(datasets: Sequence[Dataset]) -> list[tuple[str, str]]:
    """Each class with its own transfer syntax, Explicit and Implicit VR Little Endian, one context each.

    Separate contexts, because of several transfer syntaxes in one context the acceptor may pick any.
    """
    pairs: dict[tuple[str, str], None] = {}
    for dataset in datasets:
        for syntax in (dataset.file_meta.TransferSyntaxUID, uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian):
            pairs[str(dataset.SOPClassUID), str(syntax)] = None
    return list(pairs)


def _without_nagle(event: Event) -> None:
    """EVT_CONN_OPEN: small responses must not wait for Nagle and delayed acknowledgement."""
    connection: Any = event.assoc.dul.socket
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _not_established(association: Association, to: Destination) -> PeerUnavailable | PeerRefused:
    answer: Any = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        reason = f"{to.name}: association rejected: {answer.result_str}, {answer.reason_str} ({to.ae_title})"
        return PeerUnavailable(reason) if answer.result == _TRANSIENT else PeerRefused(reason)
    if association.rejected_contexts and not association.accepted_contexts:
        names = sorted({uid.UID(str(context.abstract_syntax)).name for context in association.rejected_contexts})
        return PeerRefused(f"{to.name}: SOP class refused: {', '.join(names)}")
    return PeerUnavailable(f"{to.name}: no association with {to.host}:{to.port}")


def _require_context(association: Association, dataset: Dataset, to: Destination) -> None:
    """Before the first object is sent, every object must have a way: a report is not delivered in halves."""
    own = dataset.file_meta.TransferSyntaxUID
    usable = (own,) if own.is_compressed and not own.is_deflated else (own, *_UNCOMPRESSED)
    for context in association.accepted_contexts:
        if context.abstract_syntax == dataset.SOPClassUID and context.transfer_syntax[0] in usable:
            return
    msg = f"{to.name}: SOP class refused: {dataset.SOPClassUID.name}"
    raise PeerRefused(msg)


def _store(association: Association, dataset: Dataset, number: int, to: Destination) -> None:
    instance = str(dataset.SOPInstanceUID)
    try:
        answer = association.send_c_store(dataset, msg_id=number)
    except RuntimeError as error:  # the association ended between two objects
        msg = f"{to.name}: the association ended"
        raise PeerUnavailable(msg) from error
    status = answer.get("Status")
    if status is None:
        fault = PeerUnavailable(f"{to.name}: no answer to C-STORE, or the association was aborted")
        fault.partly = True
        raise fault
    _judge(int(status), str(answer.get("ErrorComment", "")), instance, to)


def _judge(status: int, comment: str, instance: str, to: Destination) -> None:
    if status == _SUCCESS:
        return
    if status in _WARNINGS or status == _DUPLICATE:
        _log.warning("delivery.warning", destination=to.name, sop_instance_uid=instance, status=f"{status:04X}")
        return
    detail = f"{to.name}: C-STORE answered {status:04X}" + (f" ({comment})" if comment else "")
    if status in _TRY_AGAIN:
        raise PeerUnavailable(detail)
    raise PeerRefused(detail)


def _close(association: Association) -> None:
    if association.is_established:
        association.release()
    if association.is_alive():
        association.abort()
        association.join(5.0)


_UNCOMPRESSED: Final = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
