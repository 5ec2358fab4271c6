"""The Storage SCP on the wire: pynetdicom and DCMTK as senders, over loopback."""

import contextlib
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from support.dicom_objects import encode, radiograph_dataset
from support.reception import RawAssociation, files

from config.settings import Peer, Reception
from dicom_io import spool_folder
from dicom_io.admission import Rejection, judge
from dicom_io.content_digest import digest_of
from dicom_io.errors import HeaderInvalid
from dicom_io.offer import storage_classes
from dicom_io.received import StoredInstance, adopt
from dicom_io.spool import Spool
from dicom_io.storage_scp import StorageScp
from dicom_io.syntaxes import TRANSFER_SYNTAXES

Handler = Callable[[StoredInstance], None]

STORAGE_CLASSES = storage_classes(Reception(accept_for_processing=True))


@contextmanager
def running(directory: Path, on_stored: Handler, **settings: object) -> Iterator[StorageScp]:
    scp = StorageScp(Reception(port=0, **settings), Spool(directory), on_stored)
    scp.start()
    try:
        yield scp
    finally:
        scp.stop(grace=1.0)


def associate(
    scp: StorageScp, *, called: str = "OSTEON", calling: str = "MODALITY", syntax: str | None = None
) -> Association:
    ae = AE(calling)
    ae.add_requested_context("1.2.840.10008.1.1")
    for sop_class in STORAGE_CLASSES:
        ae.add_requested_context(sop_class, syntax or uid.ExplicitVRLittleEndian)
    return ae.associate("127.0.0.1", scp.port, ae_title=called)


def send(scp: StorageScp, part10: bytes) -> int:
    dataset = dcmread(BytesIO(part10))
    association = associate(scp, syntax=dataset.file_meta.TransferSyntaxUID)
    assert association.is_established
    status = association.send_c_store(dataset)
    association.release()
    return int(status.Status)


def rejection(association: Association) -> tuple[int, int, int]:
    assert association.is_rejected
    answer = association.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


def test_stored_before_success_and_reported_once(tmp_path: Path) -> None:
    seen: list[StoredInstance] = []

    def on_stored(instance: StoredInstance) -> None:
        assert (tmp_path / instance.spool_file).exists()
        seen.append(instance)

    part10 = encode(radiograph_dataset())
    with running(tmp_path, on_stored) as scp:
        echo = associate(scp)
        assert echo.send_c_echo().Status == 0
        echo.release()
        assert send(scp, part10) == 0
        assert send(scp, part10) == 0
    first, second = seen
    assert (first.spool_file, first.digest) == (second.spool_file, second.digest)
    assert (first.calling_ae, first.peer_address) == ("MODALITY", "127.0.0.1")
    content = (tmp_path / first.spool_file).read_bytes()
    assert digest_of(content) == first.digest
    received, sent = dcmread(BytesIO(content)), dcmread(BytesIO(part10))
    assert received == sent
    assert first.reference.sop_instance_uid == sent.SOPInstanceUID
    assert len(files(tmp_path)) == 1


def test_every_class_is_taken_and_every_syntax_kept(tmp_path: Path) -> None:
    with running(tmp_path, lambda _: None, accept_for_processing=True) as scp:
        for number, sop_class in enumerate(STORAGE_CLASSES):
            assert send(scp, encode(radiograph_dataset(sop_class=sop_class, number=number))) == 0
        for syntax in TRANSFER_SYNTAXES:
            association = associate(scp, syntax=syntax)
            assert {str(one.transfer_syntax[0]) for one in association.accepted_contexts} == {
                "1.2.840.10008.1.2",
                str(syntax),
            }
            association.release()
        assert send(scp, encode(radiograph_dataset(number=80), uid.DeflatedExplicitVRLittleEndian)) == 0
        assert send(scp, encode(radiograph_dataset(number=81), uid.ExplicitVRBigEndian)) == 0
        ae = AE("MODALITY")
        ae.add_requested_context(uid.RTImageStorage)
        refused = ae.associate("127.0.0.1", scp.port, ae_title="OSTEON")
        assert not refused.is_established


def test_a_ledger_that_cannot_commit_means_a700_and_no_file(tmp_path: Path) -> None:
    def on_stored(_: StoredInstance) -> None:
        msg = "database is locked"
        raise RuntimeError(msg)

    with running(tmp_path, on_stored) as scp:
        assert send(scp, encode(radiograph_dataset())) == 0xA700
        assert files(tmp_path) == []


def test_a_spool_above_the_watermark_means_a700(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fills up while the association is open: a new one would be rejected."""
    with running(tmp_path, lambda _: None) as scp:
        association = associate(scp)
        monkeypatch.setattr(spool_folder, "disk_used_percent", lambda _: 95.0)
        assert association.send_c_store(dcmread(BytesIO(encode(radiograph_dataset())))).Status == 0xA700
        association.release()
        assert files(tmp_path) == []


def raw_store(scp: StorageScp, dataset: bytes, instance: str, sop_class: str = STORAGE_CLASSES[1]) -> int:
    """C-STORE of arbitrary bytes, as a broken sender would."""
    association = associate(scp)
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, instance
    request.DataSet = BytesIO(dataset)
    context = next(one for one in association.accepted_contexts if one.abstract_syntax == sop_class)
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    return int(answer.Status)


def body(**change: object) -> bytes:
    part10 = encode(radiograph_dataset(**change))
    return part10[part10.index(b"\x08\x00\x05\x00CS") :]


def test_objects_that_cannot_be_owned(tmp_path: Path) -> None:
    good = str(radiograph_dataset().SOPInstanceUID)
    with running(tmp_path, lambda _: None) as scp:
        assert raw_store(scp, body(), good) == 0x0000
        assert raw_store(scp, body(), "1.2.3.4.5") == 0xA900
        assert raw_store(scp, body(), good, STORAGE_CLASSES[0]) == 0xA900
        assert raw_store(scp, b"\xff" * 400, good) == 0xC000
        assert raw_store(scp, body(StudyInstanceUID=""), good) == 0xC000
        assert raw_store(scp, body(StudyInstanceUID="1.2." + "3" * 66), good) == 0xC000
    assert len(list((tmp_path / "quarantine").iterdir())) == 3


@pytest.mark.parametrize("fast_path", ["auto", "off"])
def test_an_object_above_the_limit_is_answered_a700_and_not_kept(tmp_path: Path, fast_path: str) -> None:
    large = radiograph_dataset(np.zeros((1000, 600), np.uint16), number=2)
    with running(tmp_path, lambda _: None, maximum_object_mb=1, fast_path=fast_path) as scp:
        association = associate(scp)
        assert association.send_c_store(dcmread(BytesIO(encode(large)))).Status == 0xA700
        assert files(tmp_path) == []
        small = dcmread(BytesIO(encode(radiograph_dataset(number=1))))
        assert association.send_c_store(small).Status == 0x0000
        association.release()
    assert len(files(tmp_path)) == 1


HOSTILE = ["1.2." + "3" * 61, "../../../../etc/cron.d/x", "1.2.3/../../4", "/etc/passwd", "..", "1.2.3%00"]
"""SOP Instance UIDs that break PS3.5 9.1; the first by its length of 65 alone."""


def raw_uid(value: str) -> bytes:
    """Element (0008,0018) in Explicit VR Little Endian."""
    padded = value.encode() + b"\0" * (len(value) % 2)
    return b"\x08\x00\x18\x00UI" + struct.pack("<H", len(padded)) + padded


@pytest.mark.parametrize("fast_path", ["auto", "off"])
@pytest.mark.parametrize("instance", HOSTILE)
def test_a_uid_that_is_none_becomes_no_file_name(tmp_path: Path, instance: str, fast_path: str) -> None:
    spool, good = tmp_path / "a" / "b" / "spool", str(radiograph_dataset().SOPInstanceUID)
    dataset = body().replace(raw_uid(good), raw_uid(instance))
    assert raw_uid(instance) in dataset
    with running(spool, lambda _: None, fast_path=fast_path) as scp:
        assert raw_store(scp, dataset, good) in (0xA900, 0xC000)
        if len(instance) <= 64:  # a longer one in the command ends the association, see the next test
            assert raw_store(scp, dataset, instance) == 0xC000
        assert send(scp, encode(radiograph_dataset())) == 0x0000
    kept = files(tmp_path)
    assert len([path for path in kept if path.suffix == ".dcm"]) == 1
    assert all(path.parent == spool / "quarantine" for path in kept if path.suffix != ".dcm")
    assert all(path.is_relative_to(spool) for path in kept)


def test_a_uid_of_65_characters_in_the_command_ends_the_association_alone(tmp_path: Path) -> None:
    with running(tmp_path, lambda _: None) as scp:
        association = associate(scp)
        request = C_STORE()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = STORAGE_CLASSES[1], "1.2." + "3" * 60
        request.DataSet = BytesIO(body())
        context = next(one for one in association.accepted_contexts if one.abstract_syntax == STORAGE_CLASSES[1])
        association.dul.send_pdu = _lengthened(association.dul.send_pdu)
        association.dimse.send_msg(request, context.context_id)
        association.join(20)
        assert association.is_aborted
        assert send(scp, encode(radiograph_dataset())) == 0x0000
    assert len(files(tmp_path)) == 1


def _lengthened(send_pdu: Callable[[object], None]) -> Callable[[object], None]:
    """Let one more digit into (0000,1000) of the command on its way out; 64 characters need no padding, 65 one."""
    uid64, uid65 = b"1.2." + b"3" * 60, b"1.2." + b"3" * 61 + b"\0"

    def send(primitive: object) -> None:
        values = primitive.presentation_data_value_list
        primitive.presentation_data_value_list = [
            [number, _longer(data, uid64, uid65) if data[0] & 1 else data] for number, data in values
        ]
        send_pdu(primitive)

    return send


def _longer(data: bytes, old: bytes, new: bytes) -> bytes:
    element = b"\x00\x00\x00\x10" + struct.pack("<L", len(old)) + old
    assert element in data
    group = struct.unpack_from("<L", data, 9)[0] + len(new) - len(old)
    longer = data.replace(element, b"\x00\x00\x00\x10" + struct.pack("<L", len(new)) + new)
    return longer[:9] + struct.pack("<L", group) + longer[13:]


@pytest.mark.parametrize(
    ("settings", "called", "expected"),
    [
        ({}, "OSTEON2", (1, 1, 7)),
        ({}, "osteon", (1, 1, 7)),
        ({"peers": (Peer(ae_title="OTHER"),)}, "OSTEON", (1, 1, 3)),
        ({"peers": (Peer(ae_title="MODALITY", networks=("10.0.0.0/8",)),)}, "OSTEON", (1, 1, 3)),
    ],
)
def test_permanent_rejections(
    tmp_path: Path, settings: dict[str, object], called: str, expected: tuple[int, int, int]
) -> None:
    with running(tmp_path, lambda _: None, **settings) as scp:
        assert rejection(associate(scp, called=called)) == expected


def test_an_address_off_loopback_needs_a_peer_entry() -> None:
    asked = {"called": "OSTEON", "calling": "PACS"}
    assert judge(Reception(), **asked, address="192.168.1.5") is Rejection.ADDRESS
    assert judge(Reception(), **asked, address="::ffff:127.0.0.1") is None
    listed = Reception(peers=(Peer(ae_title="PACS", networks=("192.168.1.0/24", "fd00::/8")),))
    assert judge(listed, **asked, address="192.168.1.5") is None
    assert judge(listed, **asked, address="fd00::5") is None
    assert judge(listed, **asked, address="127.0.0.1") is Rejection.ADDRESS


def test_beyond_the_limit_the_rejection_is_transient(tmp_path: Path) -> None:
    with running(tmp_path, lambda _: None, maximum_associations=1) as scp:
        first = associate(scp)
        assert rejection(associate(scp)) == (2, 3, 2)
        assert first.send_c_echo().Status == 0
        first.release()


def test_stop_rejects_transiently_lets_a_store_finish_and_leaves_no_thread(tmp_path: Path) -> None:
    entered, leave, seen = threading.Event(), threading.Event(), []

    def slow(instance: StoredInstance) -> None:
        entered.set()
        leave.wait(10)
        seen.append(instance)

    scp = StorageScp(Reception(port=0), Spool(tmp_path), slow)
    scp.start()
    statuses: list[int] = []
    sender = threading.Thread(target=lambda: statuses.append(send(scp, encode(radiograph_dataset()))))
    sender.start()
    assert entered.wait(10)
    stopper = threading.Thread(target=scp.stop, args=(10.0,))
    stopper.start()
    while not scp._doorman._door._draining:
        pass
    assert rejection(associate(scp)) == (2, 3, 2)
    leave.set()
    sender.join(10)
    stopper.join(10)
    assert statuses == [0]
    assert len(seen) == 1
    assert [one.name for one in threading.enumerate() if one.name.startswith(("Acceptor", "dicom-accept"))] == []


def test_stop_aborts_what_does_not_end(tmp_path: Path) -> None:
    scp = StorageScp(Reception(port=0), Spool(tmp_path), lambda _: None)
    scp.start()
    idle = associate(scp)
    silent = socket.create_connection(("127.0.0.1", scp.port))
    stalled = socket.create_connection(("127.0.0.1", scp.port))
    stalled.sendall(b"\x01\x00" + struct.pack(">L", 200) + b"half")
    scp.stop(grace=0.1)
    idle.join(5)
    assert not idle.is_alive()
    assert [one.name for one in threading.enumerate() if one.name.startswith(("Acceptor", "dicom-accept"))] == []
    silent.close()
    stalled.close()


@pytest.mark.parametrize("fast_path", ["auto", "off"])
def test_stop_ends_many_that_linger_together(tmp_path: Path, fast_path: str) -> None:
    """Idle, or stuck in the middle of a PDU, where no abort gets in between: half a second for all, not for each."""
    limits = {"maximum_associations": 30, "maximum_associations_per_peer": 30}
    scp = StorageScp(Reception(port=0, fast_path=fast_path, **limits), Spool(tmp_path), lambda _: None)
    scp.start()
    lingering = [RawAssociation(scp) for _ in range(26)]
    for association in lingering[2:]:
        association.begin_pdu()
    began = time.monotonic()
    scp.stop(grace=0.5)
    assert time.monotonic() - began < 8
    assert [one.name for one in threading.enumerate() if one.name.startswith(("Acceptor", "dicom-accept"))] == []
    assert [association.end() for association in lingering[:2]] == [b"\7\0\0\0\0\4\0\0\0\0"] * 2
    for association in lingering[2:]:
        with contextlib.suppress(ConnectionResetError):
            association.end()


def test_a_hostile_length_is_not_waited_for(tmp_path: Path) -> None:
    with running(tmp_path, lambda _: None) as scp:
        with socket.create_connection(("127.0.0.1", scp.port), timeout=5) as hostile:
            hostile.sendall(b"\x01\x00" + struct.pack(">L", 0xFFFFFFF0) + b"x" * 100)
            assert hostile.recv(100) in (b"", b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00")
        with socket.create_connection(("127.0.0.1", scp.port), timeout=5) as scanner:
            scanner.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert send(scp, encode(radiograph_dataset())) == 0


def test_orphans_are_adopted_and_damage_is_noticed(tmp_path: Path) -> None:
    spool, seen = Spool(tmp_path), []
    with running(tmp_path, seen.append) as scp:
        assert send(scp, encode(radiograph_dataset())) == 0
    (orphan,) = spool.orphans([])
    adopted = adopt(spool, orphan)
    assert (adopted.reference, adopted.digest, adopted.spool_file) == (seen[0].reference, seen[0].digest, orphan)
    spool.path(orphan).write_bytes(spool.path(orphan).read_bytes()[:-1])
    with pytest.raises(HeaderInvalid):
        adopt(spool, orphan)


@pytest.mark.skipif(shutil.which("storescu") is None, reason="DCMTK is not installed")
def test_dcmtk(tmp_path: Path) -> None:
    source = tmp_path / "in.dcm"
    source.write_bytes(encode(radiograph_dataset()))
    seen: list[StoredInstance] = []
    with running(tmp_path / "spool", seen.append, maximum_associations=2) as scp:
        target = ["127.0.0.1", str(scp.port)]
        assert subprocess.run(["echoscu", "-aec", "OSTEON", *target], check=False).returncode == 0
        assert (
            subprocess.run(["storescu", "-aec", "OSTEON", "-aet", "DCMTK", *target, source], check=False).returncode
            == 0
        )
        wrong = subprocess.run(["echoscu", "-aec", "WRONG", *target], check=False, capture_output=True, text=True)
    assert [one.calling_ae for one in seen] == ["DCMTK"]
    assert "Rejected Permanent, Source: Service User" in wrong.stderr
    assert "Called AE Title Not Recognized" in wrong.stderr
    received: Dataset = dcmread(tmp_path / "spool" / seen[0].spool_file)
    assert received == dcmread(source)
