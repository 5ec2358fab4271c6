"""Requestor associations whose reactors sleep, and that a peer may talk to while they are being released.

pynetdicom serves an N-EVENT-REPORT in a thread of its own, and that thread moves the flag by which `release` knows that
the association's reactor has stopped. So a report that came at the moment of a release was answered after the A-RELEASE
request, which is no event of that state (PS3.8 table 9-10, Evt9 in Sta7) and ended the upper layer: the release took
its whole time-out; or the flag was lost, and the release waited for ever, and with it a thread of the delivery. Found
by `make chaos`. Here the flag is what the reactor does, and a release and an answer take turns.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from io import BytesIO
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.transport import AssociationSocket

from dicom_io.connection import WAIT_SECONDS
from dicom_io.sleeping_provider import AVAILABLE, CLOSING, SleepingPlace, SleepingProvider

_LOOK_SECONDS: Final = 0.0005
"""Between looks whether a reactor that was told to end, or to stop, has done so."""
_LOW: Final = 2
"""Priority (0000,0700), PS3.7 9.1.1.1.5; nobody is known to heed it."""


class Requestor(AE):
    """An application entity whose associations are `OrderlyAssociation`s."""

    def _create_socket(self, assoc: Association, *arguments: Any) -> AssociationSocket:
        """The one call between the making of an association, which takes no class to make, and its start."""
        _make_orderly(assoc)
        return super()._create_socket(assoc, *arguments)


def _make_orderly(association: Association) -> None:
    association._turn = threading.RLock()  # type: ignore[attr-defined] # noqa: SLF001
    association.__class__ = OrderlyAssociation
    if AVAILABLE:
        RequestorProvider(association, SleepingPlace).serve()
    else:
        association._reactor_checkpoint = SleepingPlace(association, None)  # type: ignore[assignment] # noqa: SLF001


class OrderlyAssociation(Association):
    """See the module; made by `Requestor`."""

    _turn: threading.RLock

    @property
    def _is_paused(self) -> bool:
        checkpoint: Any = self._reactor_checkpoint
        return checkpoint.stopped or not self.is_alive()

    @_is_paused.setter
    def _is_paused(self, said: bool) -> None:
        """What other threads say about the reactor is not listened to."""

    def release(self) -> None:
        """Release when no report is being answered; one that comes meanwhile is recorded after it."""
        with self._turn:
            super().release()

    def kill(self) -> None:
        """End both reactors; pynetdicom's looks every 10 ms whether they have."""
        self._kill = True
        self.is_established = False
        self._reactor_checkpoint.set()
        while self.dul.is_alive() and not self.dul.stop_dul():
            self.dul.join(_LOOK_SECONDS)

    def store_encoded(self, dataset: bytes, *, sop_class: str, instance: str, syntax: str, message_id: int) -> Dataset:
        """C-STORE (PS3.7 9.1.1) of a dataset as it is encoded, which pynetdicom would decode and encode again.

        The status elements of the answer; none of them where no valid answer came.

        Raises:
            RuntimeError: the association is over.
            ValueError: the peer did not accept this class in this transfer syntax.

        """
        if not self.is_established:
            msg = "the association ended"
            raise RuntimeError(msg)
        context = self._get_valid_context(sop_class, syntax, "scu", allow_conversion=False)
        request = C_STORE()
        request.MessageID, request.Priority = message_id, _LOW
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = UID(sop_class), UID(instance)
        request.DataSet = BytesIO(dataset)
        self._reactor_checkpoint.clear()  # the answer is ours, not the reactor's
        while not self._is_paused:
            time.sleep(_LOOK_SECONDS)
        self.dimse.send_msg(request, context.context_id or 0)
        _, answer = self.dimse.get_msg(block=True)
        self._reactor_checkpoint.set()
        if answer is None:
            self._handle_no_response()
            return Dataset()
        return self._check_received_status(answer)

    def _serve_request(self, msg: Any, context_id: int) -> None:
        with self._turn:
            super()._serve_request(msg, context_id)


class RequestorProvider(SleepingProvider):
    """The upper layer of an association of our own."""

    def _is_transport_event(self) -> bool:
        """Sleep unless there is work, then look as pynetdicom does."""
        if self.event_queue.empty() and self.state_machine.current_state != CLOSING:
            self._sleep()
        return super()._is_transport_event()

    def _sleep(self) -> None:
        """Until bytes come, or something is put into a queue; a second at most, for the sake of the timers."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        connection: Any = self.socket
        if connection is not None and connection._is_connected and connection.socket is not None:  # noqa: SLF001
            with contextlib.suppress(OSError, ValueError, TypeError):  # another thread has just closed it
                poll.register(connection.socket, select.POLLIN)
        poll.poll(WAIT_SECONDS * 1000)
        self.woken()
