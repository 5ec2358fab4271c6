"""Delivery over real associations: each answer of an archive, and what it means."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.events import Event
from support.dicom_objects import encode, radiograph_dataset

from config.settings import Delivery, Destination
from dicom_io.errors import PeerFault, PeerRefused, PeerUnavailable
from dicom_io.storage_scu import OutgoingObject, send

SETTINGS = Delivery(acse_timeout=2.0, dimse_timeout=2.0)
PAGE, SR = uid.SecondaryCaptureImageStorage, uid.EnhancedSRStorage


def outgoing(sop_class: str, number: int, syntax: str = uid.ExplicitVRLittleEndian) -> OutgoingObject:
    dataset = radiograph_dataset(sop_class=sop_class, number=number)
    return OutgoingObject(
        sop_class_uid=sop_class, sop_instance_uid=str(dataset.SOPInstanceUID), part10=encode(dataset, syntax)
    )


REPORT = (outgoing(PAGE, 1), outgoing(SR, 2))


@contextmanager
def archive(
    answer: Callable[[Event], int | Dataset],
    *,
    classes: tuple[str, ...] = (PAGE, SR),
    syntaxes: tuple[str, ...] = (),
    title: str = "PACS",
) -> Iterator[Destination]:
    ae = AE(title)
    ae.require_called_aet = True
    for sop_class in classes:
        ae.add_supported_context(sop_class, list(syntaxes or (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)))
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])
    try:
        yield Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=server.server_address[1])
    finally:
        ae.shutdown()


def test_objects_arrive_in_order_byte_for_byte() -> None:
    received: list[bytes] = []

    def keep(event: Event) -> int:
        received.append(event.request.DataSet.getvalue())
        assert event.assoc.requestor.ae_title == "OSTEON"
        return 0x0000

    with archive(keep) as pacs:
        send(REPORT, pacs, SETTINGS)
        send((), pacs, SETTINGS)
    assert len(received) == 2
    for one, dataset in zip(REPORT, received, strict=True):
        assert one.part10.endswith(dataset)
        assert dataset.startswith(b"\x08\x00\x05\x00CS")


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007, 0xB0FF, 0x0107, 0x0111])
def test_stored_also_with_a_warning(status: int) -> None:
    seen: list[int] = []
    with archive(lambda _: seen.append(1) or status) as pacs:
        send(REPORT, pacs, SETTINGS)
    assert len(seen) == 2


@pytest.mark.parametrize("status", [0xA700, 0xA702, 0x0110, 0x0213])
def test_out_of_resources_is_tried_again(status: int) -> None:
    with archive(lambda _: status) as pacs, pytest.raises(PeerUnavailable, match=f"{status:04X}"):
        send(REPORT, pacs, SETTINGS)


@pytest.mark.parametrize("status", [0xA700, 0xA900])
def test_a_page_without_its_sr_is_a_part_of_the_report(status: int) -> None:
    """4.1: companions first, SR last; what was stored before the fault is at the archive all the same."""
    with archive(lambda event: 0 if event.request.AffectedSOPClassUID == PAGE else status) as pacs:
        with pytest.raises(PeerFault) as after_the_page:
            send(REPORT, pacs, SETTINGS)
        with pytest.raises(PeerFault) as at_once:
            send(REPORT[1:], pacs, SETTINGS)
    assert (after_the_page.value.partly, at_once.value.partly) == (True, False)


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0xC123, 0x0117, 0x0122, 0x0124])
def test_a_refusal_needs_a_person_and_nothing_more_is_sent(status: int) -> None:
    seen: list[int] = []

    def refuse(_: Event) -> Dataset:
        seen.append(1)
        answer = Dataset()
        answer.Status, answer.ErrorComment = status, "no such patient"
        return answer

    with archive(refuse) as pacs, pytest.raises(PeerRefused, match=f"{status:04X} .no such patient"):
        send(REPORT, pacs, SETTINGS)
    assert len(seen) == 1


def test_a_refused_class_is_known_before_anything_is_sent() -> None:
    seen: list[int] = []
    with (
        archive(lambda _: seen.append(1) or 0, classes=(PAGE,)) as pacs,
        pytest.raises(PeerRefused, match="Enhanced SR"),
    ):
        send(REPORT, pacs, SETTINGS)
    with (
        archive(lambda _: seen.append(1) or 0, classes=(uid.CTImageStorage,)) as pacs,
        pytest.raises(PeerRefused, match="SOP class"),
    ):
        send(REPORT, pacs, SETTINGS)
    assert seen == []


def test_an_archive_that_only_speaks_implicit_gets_implicit() -> None:
    syntaxes: list[str] = []

    def keep(event: Event) -> int:
        syntaxes.append(event.context.transfer_syntax)
        assert event.dataset.PatientID == "0012345"
        return 0

    with archive(keep, syntaxes=(uid.ImplicitVRLittleEndian,)) as pacs:
        send(REPORT, pacs, SETTINGS)
    assert syntaxes == [uid.ImplicitVRLittleEndian] * 2


def test_an_unknown_ae_title_is_permanent_and_a_full_house_is_not() -> None:
    with (
        archive(lambda _: 0, title="OTHER") as pacs,
        pytest.raises(PeerRefused, match="Called AE title not recognised"),
    ):
        send(REPORT, pacs, SETTINGS)

    def busy(event: Event) -> None:
        event.assoc.acse.send_reject(2, 3, 2)
        event.assoc.kill()

    ae = AE("PACS")
    ae.add_supported_context(SR)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_REQUESTED, busy)])
    pacs = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=server.server_address[1])
    with pytest.raises(PeerUnavailable, match="rejected"):
        send(REPORT, pacs, SETTINGS)
    ae.shutdown()


# pynetdicom leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nobody_there_nobody_answering_and_nobody_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        hanging = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)
        with pytest.raises(PeerUnavailable, match=f"^pacs: no association with 127.0.0.1:{port}$"):
            send(REPORT, hanging, Delivery(acse_timeout=0.3))
    with pytest.raises(PeerUnavailable, match=f"^pacs: no connection to 127.0.0.1:{port} .*is the port right"):
        send(REPORT, hanging, SETTINGS)
    with pytest.raises(PeerUnavailable):
        send(REPORT, Destination(name="pacs", ae_title="PACS", host="no-such-host.invalid", port=104), SETTINGS)


def test_an_abort_in_the_middle_and_a_silent_archive() -> None:
    def abort(event: Event) -> int:
        event.assoc.abort()
        return 0

    with archive(abort) as pacs, pytest.raises(PeerUnavailable) as unanswered:
        send(REPORT, pacs, SETTINGS)
    assert unanswered.value.partly

    def sleep(_: Event) -> int:
        time.sleep(1.0)
        return 0

    with archive(sleep) as pacs, pytest.raises(PeerUnavailable):
        send(REPORT, pacs, Delivery(acse_timeout=2.0, dimse_timeout=0.3))
