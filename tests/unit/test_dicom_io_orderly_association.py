"""Associations of our own: a peer may talk at the moment of a release, a dataset goes as it is, nothing polls."""

from __future__ import annotations

import threading
import time

import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association

from config.settings import Delivery, Destination
from dicom_io.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from dicom_io.scu_association import UNCOMPRESSED, associated

LIMIT = 20.0


def report(association: Association, answers: list[int | None]) -> None:
    told = Dataset()
    told.TransactionUID = "1.2.3"
    status, _ = association.send_n_event_report(told, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    answers.append(status.get("Status"))


def test_a_report_that_comes_at_the_moment_of_a_release_is_answered_before_it() -> None:
    open_here: list[Association] = []
    answers: list[int | None] = []
    taken, go_on = threading.Event(), threading.Event()

    def slow(_event: evt.Event) -> tuple[int, None]:
        taken.set()
        go_on.wait(LIMIT)
        return 0, None

    archive = AE("ARCHIVE")
    archive.add_supported_context(PUSH_MODEL)
    server = archive.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_ESTABLISHED, lambda event: open_here.append(event.assoc))]
    )
    to = Destination(name="pacs", ae_title="ARCHIVE", host="127.0.0.1", port=server.server_address[1])
    contexts = [(PUSH_MODEL, syntax) for syntax in UNCOMPRESSED]

    def ask() -> None:
        with associated(contexts, to, Delivery(), [(evt.EVT_N_EVENT_REPORT, slow)]) as association:
            seen.append(association)
            assert taken.wait(LIMIT)

    seen: list[Association] = []
    asking = threading.Thread(target=ask)
    asking.start()
    while not open_here or not seen:
        threading.Event().wait(0.01)
    telling = threading.Thread(target=report, args=(open_here[0], answers))
    telling.start()
    assert taken.wait(LIMIT)
    threading.Event().wait(0.2)  # the release is asked for, and has to wait for the answer
    assert not seen[0].is_released
    go_on.set()
    asking.join(LIMIT)
    telling.join(LIMIT)
    server.shutdown()
    assert answers == [0]
    assert seen[0].is_released
    assert not asking.is_alive()


def test_an_encoded_dataset_is_stored_as_it_is_and_only_in_a_syntax_that_was_accepted() -> None:
    received: list[bytes] = []

    def keep(event: evt.Event) -> int:
        received.append(event.request.DataSet.getvalue())
        return 0xB000

    archive = AE("ARCHIVE")
    archive.add_supported_context(uid.EnhancedSRStorage, uid.ExplicitVRLittleEndian)
    server = archive.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    to = Destination(name="pacs", ae_title="ARCHIVE", host="127.0.0.1", port=server.server_address[1])
    contexts = [(str(uid.EnhancedSRStorage), str(syntax)) for syntax in UNCOMPRESSED]
    dataset = b"\x08\x00\x16\x00UI\x00\x00" + bytes(70_000)  # nothing pydicom would write: it is not looked at
    what = {"sop_class": str(uid.EnhancedSRStorage), "instance": "1.2.3", "message_id": 65_535}
    with associated(contexts, to, Delivery()) as association:
        answer = association.store_encoded(dataset, syntax=uid.ExplicitVRLittleEndian, **what)
        with pytest.raises(ValueError, match="presentation context"):
            association.store_encoded(dataset, syntax=uid.ImplicitVRLittleEndian, **what)
        association.abort()
        with pytest.raises(RuntimeError):
            association.store_encoded(dataset, syntax=uid.ExplicitVRLittleEndian, **what)
    server.shutdown()
    assert answer.Status == 0xB000
    assert received == [dataset]


def test_an_association_that_waits_sleeps() -> None:
    archive = AE("ARCHIVE")
    archive.add_supported_context(PUSH_MODEL)
    server = archive.start_server(("127.0.0.1", 0), block=False)
    to = Destination(name="pacs", ae_title="ARCHIVE", host="127.0.0.1", port=server.server_address[1])
    with associated([(PUSH_MODEL, syntax) for syntax in UNCOMPRESSED], to, Delivery()) as association:
        looks: list[int] = []
        stock = association.dul._process_recv_primitive
        association.dul._process_recv_primitive = lambda: looks.append(1) or stock()  # type: ignore[method-assign]
        time.sleep(1.0)
    server.shutdown()
    assert len(looks) < 50, "pynetdicom's looks about 800 times a second"
