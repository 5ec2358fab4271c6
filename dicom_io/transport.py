"""The node's own receive path under pynetdicom: no polling, no copies, an object goes from the socket to its file.

Measured reason (performance.md 2.1, 2.2): pynetdicom reads in 4096-byte pieces, copies each PDU several times, holds
objects in memory, and both reactors of an association poll at 1 kHz, so 50 idle senders cost a whole core. Here one
`recv_into` fetches a PDU or many small ones, and both reactors sleep until something happens.

Only a P-DATA PDU in state Sta6 (PS3.8 9.2) takes the short way; every other byte goes to the parent classes. Nothing
is overridden but what `transport_check.CONTRACT` lists; where that differs, the stock path serves. Not allowed here:
policy, statuses, the ledger.
"""

from __future__ import annotations

import select
import ssl
import struct
from collections.abc import Callable
from typing import Final

import structlog
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.pdu_primitives import P_DATA

from dicom_io.admission import Drop
from dicom_io.arrival import Arrival
from dicom_io.connection import Connection
from dicom_io.part import Part
from dicom_io.secure_connection import SecureConnection
from dicom_io.sleeping_provider import CLOSING, ServingPlace, SleepingProvider
from dicom_io.store_messages import answer_quickly, parse_request

OpenPart = Callable[[str, str, str], Part]
"""SOP Class UID, SOP Instance UID (both as the sender says), transfer syntax UID -> the file to write to."""

SLACK: Final = 1024
"""Bytes a P-DATA PDU may exceed the advertised maximum by: headers of its items (PS3.8 D.1.1)."""
LARGEST_ASSOCIATE_PDU: Final = 131_072
"""128 presentation contexts with every transfer syntax stay below this."""

_ITEM: Final = struct.Struct(">IB")
_A_ASSOCIATE_RQ: Final = 1
_P_DATA: Final = 4
_TLS_HANDSHAKE: Final = 0x16
"""First byte of a TLS connection (RFC 8446 5.1), and no type of a PDU."""
_TLS_MINOR: Final = range(4)
"""Its third byte, where a PDU has the first of its length: the second half of the version, 3.1 or 3.3 by that RFC."""
_AWAITS_REQUEST: Final = "Sta2"
_ESTABLISHED: Final = "Sta6"
_COMMAND_OR_LAST: Final = 0b11
"""Message control header (PS3.8 E.2) of all fragments but those in the middle of a dataset."""
_SMALLEST_ITEM: Final = 2
"""Context and message control header."""
_DEFAULT_PATIENCE: Final = 60.0
_LARGEST_COMMAND: Final = 65_536
_LARGEST_DATASET_IN_MEMORY: Final = 16 << 20
"""Of messages other than C-STORE; a commitment request of 100,000 instances stays below."""
_UNANSWERED: Final = 16
"""C-STOREs a sender may have waiting: without asynchronous operations (PS3.7 D.3.3.3) it is one."""

_log = structlog.get_logger()


def accelerate(association: Association, open_part: OpenPart, broken: Callable[[Drop], None]) -> bool:
    """Give a new acceptor association, before its start, this module's socket and reactors; False leaves it as it was.

    It stays with the stock path where no descriptor is left. `broken` is told why one is aborted.
    """
    stock = association.dul
    connection = stock.socket.socket if stock.socket else None
    if connection is None:
        return False
    try:
        provider = Provider(association, open_part, broken)
    except OSError:
        return False
    provider.serve()
    if isinstance(connection, ssl.SSLSocket):
        provider.socket = SecureConnection(association, connection)
    else:
        provider.socket = Connection(association, connection)
    answer_quickly(association)
    return True


def no_request(kind: int, length: int) -> Drop | None:
    """Why the first PDU of a connection, by type and length, is no A-ASSOCIATE-RQ (PS3.8 9.3.2); None: it may be."""
    if kind == _TLS_HANDSHAKE and length >> 24 in _TLS_MINOR:
        return Drop.TLS_ON_PLAIN
    return None if kind == _A_ASSOCIATE_RQ and length <= LARGEST_ASSOCIATE_PDU else Drop.UNREADABLE


class Provider(SleepingProvider):
    """The upper layer of one association: sleeps until there is something to do, hands P-DATA straight to DIMSE."""

    def __init__(self, association: Association, open_part: OpenPart, broken: Callable[[Drop], None]) -> None:
        super().__init__(association, ServingPlace)
        self._broken = broken
        self._open_part = open_part
        self._arrivals: list[Arrival] = []
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)

    def run_reactor(self) -> None:
        """Run until the association is over; what was still arriving is given up."""
        try:
            super().run_reactor()
        finally:
            for one in self._arrivals:
                one.close()

    def _is_transport_event(self) -> bool:
        """Sleep unless there is work, and read while there is no other; whether the idle timer is to be restarted."""
        connection = self.socket
        if not isinstance(connection, Connection) or not self.event_queue.empty():
            return False
        if self.state_machine.current_state == CLOSING and not connection.ready:
            return super()._is_transport_event()
        while self._may_read(connection):
            self._receive(connection)
            if not self._undisturbed():
                return True
            self._idle_timer.restart()
        return False

    def _may_read(self, connection: Connection) -> bool:
        readable = connection.sleep(self._poll)
        if not readable:
            self.woken()
        return readable

    def _undisturbed(self) -> bool:
        """Whether to await the next PDU here; on the reactor's way to it is a `time.sleep(0)`, which takes 60 us."""
        return (
            self.state_machine.current_state == _ESTABLISHED
            and self.event_queue.empty()
            and self.to_provider_queue.empty()
            and not self._kill_thread
        )

    def _receive(self, connection: Connection) -> None:
        """Take one PDU; pynetdicom reads what is not P-DATA of an established association."""
        head = connection.begin(self._patience())
        if head is None:
            self._lost(connection)
            return
        kind, length = head
        if self.state_machine.current_state == _AWAITS_REQUEST and (why := no_request(kind, length)) is not None:
            self._turn_away(connection, why)
            return
        if length > self._limit(kind):
            self._refuse(connection, Drop.PDU, f"a PDU of {length} bytes was announced")
            return
        if kind != _P_DATA or self.state_machine.current_state != _ESTABLISHED:
            self._read_pdu_data()
            return
        body = connection.body(length)
        if body is None:
            self._lost(connection)
            return
        self._deliver(connection, body)

    def _limit(self, kind: int) -> int:
        return (self.assoc.acceptor.maximum_length or 0) + SLACK if kind == _P_DATA else LARGEST_ASSOCIATE_PDU

    def _patience(self) -> float:
        established = self.state_machine.current_state == _ESTABLISHED
        return (self.assoc.dimse_timeout if established else self.assoc.acse_timeout) or _DEFAULT_PATIENCE

    def _lost(self, connection: Connection) -> None:
        if connection.stalled():
            _log.warning("connection.stalled", peer=str(self.assoc.requestor.address))
        connection.deafen()
        self.event_queue.put("Evt17")

    def _refuse(self, connection: Connection, kind: Drop, why: str) -> None:
        _log.warning("connection.invalid_pdu", peer=str(self.assoc.requestor.address), reason=why)
        self._turn_away(connection, kind)

    def _turn_away(self, connection: Connection, kind: Drop) -> None:
        """Evt19 of PS3.8 table 9-10: the association is aborted; what else it says is not read."""
        self._broken(kind)
        connection.deafen()
        self.event_queue.put("Evt19")

    def _deliver(self, connection: Connection, body: memoryview) -> None:
        """The presentation data values of one P-DATA-TF PDU (PS3.8 9.3.5.1), in their order."""
        at = 0
        try:
            while at < len(body):
                length, context = _ITEM.unpack_from(body, at)
                end = at + 4 + length
                if length < _SMALLEST_ITEM or end > len(body):
                    self._refuse(connection, Drop.PDU, "an item does not fit its PDU")
                    return
                self._deliver_value(context, body[at + _ITEM.size : end])
                at = end
        except Exception as error:  # noqa: BLE001 - outermost: a hostile message ends its association, not the node
            self._refuse(connection, Drop.MESSAGE, f"the message cannot be decoded ({type(error).__name__})")

    def _deliver_value(self, context: int, value: memoryview) -> None:
        dimse = self.assoc.dimse
        file: object = None if dimse.message is None else dimse.message._data_set_file  # noqa: SLF001
        if isinstance(file, Arrival) and not value[0] & _COMMAND_OR_LAST:
            file.write(value[1:])
            return
        request = parse_request(value, context) if dimse.message is None else None
        if request is not None:
            request.goes_to(self._expect(request, *request.uids))
            dimse.message = request
            return
        primitive = P_DATA()
        primitive._presentation_data_value_list = [(context, value)]  # type: ignore[list-item] # noqa: SLF001
        dimse.receive_primitive(primitive)
        message = dimse.message
        if message is None or message._data_set_file is not None:  # noqa: SLF001
            return
        if isinstance(message, C_STORE_RQ):
            uids = str(message.command_set.AffectedSOPClassUID), str(message.command_set.AffectedSOPInstanceUID)
            message._data_set_file = self._expect(message, *uids)  # type: ignore[assignment] # noqa: SLF001
        elif (
            message.encoded_command_set.tell() > _LARGEST_COMMAND
            or (message.data_set or message.encoded_command_set).tell() > _LARGEST_DATASET_IN_MEMORY
        ):
            raise OverflowError

    def _expect(self, message: C_STORE_RQ, sop_class: str, instance: str) -> Arrival:
        """The command of a C-STORE has come: make a file for its dataset. KeyError: a context that was not accepted."""
        self._arrivals = [one for one in self._arrivals if one.name]
        if len(self._arrivals) >= _UNANSWERED:
            raise OverflowError
        syntax = {one.context_id: str(one.transfer_syntax[0]) for one in self.assoc.accepted_contexts}[
            message.context_id
        ]
        expected = Arrival(lambda: self._open_part(sop_class, instance, syntax))
        self._arrivals.append(expected)
        return expected
