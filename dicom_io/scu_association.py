"""An association of our own to another application entity, and what its end means for the next step.

Every SCU of the node opens its associations here: the same identity, the same time-outs (an archive that never answers
the request costs the ACSE time-out, not a thread), no Nagle delay, and the same words for what went wrong
(reception-and-delivery.md 4.1). Nothing is retried here.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from pydicom import uid
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from config.settings import Delivery, Destination
from dicom_io.contexts import Contexts
from dicom_io.errors import PeerFault, PeerRefused, PeerUnavailable
from dicom_io.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_io.orderly_association import OrderlyAssociation, Requestor

UNCOMPRESSED: Final = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
"""Transfer syntaxes every proposal contains."""
_TRANSIENT: Final = 2

Handlers = Sequence[tuple[Any, Callable[[Event], Any]]]


@contextlib.contextmanager
def associated(
    contexts: Iterable[tuple[str, str]], to: Destination, settings: Delivery, handlers: Handlers = ()
) -> Iterator[OrderlyAssociation]:
    """Open an association that proposes `contexts`, pairs of abstract and transfer syntax; released at the end.

    One context for each pair, because of several transfer syntaxes in one context the acceptor may pick any.

    Raises:
        PeerUnavailable: not reachable, busy, or gone.
        PeerRefused: it rejects us for good, or accepts none of the contexts.

    """
    ae = Requestor(settings.ae_title)
    ae.implementation_class_uid = uid.UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = settings.acse_timeout
    ae.acse_timeout = settings.acse_timeout
    ae.dimse_timeout = settings.dimse_timeout
    ae.network_timeout = settings.idle_timeout
    for abstract, transfer in contexts:
        ae.add_requested_context(abstract, transfer)
    connected: list[Event] = []
    bound: list[Any] = [(evt.EVT_CONN_OPEN, _without_nagle), (evt.EVT_CONN_OPEN, connected.append), *handlers]
    proposed = Contexts(ae.requested_contexts)
    try:
        association = ae.associate(to.host, to.port, proposed, ae_title=to.ae_title, evt_handlers=bound)
    except OSError as error:  # the name does not resolve
        raise _unconnected(PeerUnavailable(f"{to.name}: {to.host} is not a known host")) from error
    try:
        if not (association.is_established and isinstance(association, OrderlyAssociation)):
            raise _not_established(association, to) if connected else _no_connection(to)
        yield association
    finally:
        _close(association)


def _without_nagle(event: Event) -> None:
    """EVT_CONN_OPEN: small responses must not wait for Nagle and delayed acknowledgement."""
    connection: Any = event.assoc.dul.socket
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _no_connection(to: Destination) -> PeerFault:
    """TCP itself did not come about, so nothing on either side speaks of AE titles yet."""
    where = f"{to.host}:{to.port}"
    reason = f"{to.name}: no connection to {where} (refused or no answer): is it running, is the port right?"
    return _unconnected(PeerUnavailable(reason))


def _not_established(association: Association, to: Destination) -> PeerFault:
    answer: Any = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        reason = f"{to.name}: association rejected: {answer.result_str}, {answer.reason_str} ({to.ae_title})"
        return _unconnected(PeerUnavailable(reason)) if answer.result == _TRANSIENT else PeerRefused(reason)
    if association.rejected_contexts and not association.accepted_contexts:
        names = sorted({uid.UID(str(context.abstract_syntax)).name for context in association.rejected_contexts})
        return PeerRefused(f"{to.name}: SOP class refused: {', '.join(names)}")
    return _unconnected(PeerUnavailable(f"{to.name}: no association with {to.host}:{to.port}"))


def _unconnected(fault: PeerFault) -> PeerFault:
    fault.connected = False
    return fault


def _close(association: Association) -> None:
    if association.is_established:
        association.release()
    if association.is_alive():
        association.abort()
        association.join(5.0)
