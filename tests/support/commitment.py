"""A sender that asks for storage commitment: pynetdicom as SCU, told on its own association or on a new one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from queue import Queue

from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from support.dicom_objects import encode

from dicom_io.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE

Event = tuple[int, Dataset]
"""Event Type ID and Event Information of an N-EVENT-REPORT."""


class Sender:
    """AE `SENDER`; what it was told is in `events`, and it answers when it may."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.events: Queue[Event] = Queue()

    @contextmanager
    def associated(self) -> Iterator[Association]:
        """An association to the node that takes N-EVENT-REPORT as well."""
        ae = AE("SENDER")
        ae.add_requested_context(PUSH_MODEL)
        ae.add_requested_context(uid.DigitalXRayImageStorageForPresentation, uid.ExplicitVRLittleEndian)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._told)]
        association = ae.associate("127.0.0.1", self._port, ae_title="OSTEON", evt_handlers=handlers)
        assert association.is_established
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    @contextmanager
    def listening(self, port: int = 0) -> Iterator[int]:
        """Take N-EVENT-REPORT on associations of the node; gives the port."""
        ae = AE("SENDER")
        ae.add_supported_context(PUSH_MODEL, scu_role=False, scp_role=True)
        server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._told)])
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()

    def store(self, *datasets: Dataset) -> None:
        """Send images, each answered with Success."""
        with self.associated() as association:
            for dataset in datasets:
                assert association.send_c_store(dcmread(BytesIO(encode(dataset)))).Status == 0

    def ask(self, association: Association, transaction: str, items: Sequence[tuple[str, str]]) -> int:
        """Request commitment of (class, instance) `items`; the status of the N-ACTION."""
        status, _ = association.send_n_action(
            action_information(transaction, items), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
        return int(status.Status)

    def _told(self, event: evt.Event) -> tuple[int, None]:
        self.events.put((event.event_type, event.event_information))
        self.may_answer.wait(30)
        return 0x0000, None


def action_information(transaction: str, items: Sequence[tuple[str, str]]) -> Dataset:
    """Action Information of PS3.4 table J.3-1."""
    information = Dataset()
    information.TransactionUID = transaction
    information.ReferencedSOPSequence = []
    for sop_class, instance in items:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        information.ReferencedSOPSequence.append(item)
    return information
