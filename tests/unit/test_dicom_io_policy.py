"""Who is let in, who is told to come again, and that nothing stays of those who never say what they want."""

import contextlib
import socket
import ssl
import struct
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support.reception import Memory, RawAssociation, await_true, request, server_threads, serving

from config.settings import Peer, Reception
from dicom_io.admission import Door, Drop, Lobby, Rejection, caller
from dicom_io.commitment_scu import CommitmentEvents
from dicom_io.spool import Spool
from dicom_io.storage_scp import StorageScp
from dicom_io.watermark import Watermark

TRANSIENT_LOCAL_LIMIT = (2, 3, 2)


def test_one_address_cannot_take_every_place(tmp_path: Path) -> None:
    with serving(tmp_path, maximum_associations=3, maximum_associations_per_peer=2) as (scp, memory):
        first, second = RawAssociation(scp), RawAssociation(scp)
        assert RawAssociation(scp).rejection == TRANSIENT_LOCAL_LIMIT
        first.release()
        await_true(lambda: is_served(scp))
        second.release()
    assert memory.words[:3] == ["accepted", "accepted", "peer_limit_exceeded"]


def is_served(scp: StorageScp) -> bool:
    association = RawAssociation(scp)
    if association.accepted:
        association.release()
    return association.accepted


def test_the_limits_count_by_address_and_in_total() -> None:
    door = Door(Reception(maximum_associations=3, maximum_associations_per_peer=2), disk_low=lambda: False)
    stay = threading.Event()
    threads = [threading.Thread(target=stay.wait) for _ in range(5)]
    for thread in threads:
        thread.start()

    def admit(thread: threading.Thread, address: str) -> Rejection | None:
        return door.admit(thread, called="OSTEON", calling="ANY", address=address)

    assert admit(threads[0], "127.0.0.1") is None
    assert admit(threads[1], "::ffff:127.0.0.1") is None
    assert admit(threads[2], "127.0.0.1") is Rejection.PEER_LIMIT
    assert admit(threads[3], "127.0.0.2") is None
    assert admit(threads[4], "127.0.0.3") is Rejection.LIMIT
    assert door.occupied()
    stay.set()
    for thread in threads:
        thread.join()
    assert not door.occupied()
    door.drain()
    assert admit(threads[0], "127.0.0.1") is Rejection.DRAINING


def test_each_rejection_is_told_with_who_and_why(tmp_path: Path) -> None:
    peers = (Peer(ae_title="CT1", networks=("10.0.0.0/8",)), Peer(ae_title="DX1"))
    with capture_logs() as logs, serving(tmp_path, peers=peers) as (scp, memory):
        assert RawAssociation(scp, called=b"OSTEO", calling=b"DX1").rejection == (1, 1, 7)
        assert RawAssociation(scp, calling=b"DX2").rejection == (1, 1, 3)
        assert RawAssociation(scp, calling=b"CT1").rejection == (1, 1, 3)
        RawAssociation(scp, calling=b"DX1").release()
    assert [(who.calling, who.called, word) for who, word in memory.entries] == [
        ("DX1", "OSTEO", "called_ae_not_recognised"),
        ("DX2", "OSTEON", "calling_ae_not_recognised"),
        ("CT1", "OSTEON", "address_not_allowed"),
        ("DX1", "OSTEON", "accepted"),
    ]
    assert {who.address for who, _ in memory.entries} == {"127.0.0.1"}
    assert [one["reason"] for one in logs if one["event"] == "association.rejected"] == memory.words[:3]


def test_a_rejection_is_no_fault_of_the_stack_where_archives_may_report_commitment(tmp_path: Path) -> None:
    settings = Reception(port=0, peers=(Peer(ae_title="DX1"),))
    scp = StorageScp(settings, Spool(tmp_path), lambda _: None, Memory(), None, CommitmentEvents(lambda _: None))
    with capture_logs() as logs:
        scp.start()
        try:
            assert RawAssociation(scp, calling=b"DX2").rejection == (1, 1, 3)
            RawAssociation(scp, calling=b"DX1").release()
        finally:
            scp.stop()
    assert [one["event"] for one in logs if one["event"].startswith("association.")] == [
        "association.rejected",
        "association.accepted",
    ]


@pytest.mark.parametrize(
    ("called", "calling", "reply", "word", "shown"),
    [
        (b"OSTEON\0\0", b"DX1", b"\3\0\0\0\0\4\0\1\1\7", "called_ae_not_recognised", ("OSTEON\\x00\\x00", "DX1")),
        (b"osteon", b"DX1", b"\3\0\0\0\0\4\0\1\1\7", "called_ae_not_recognised", ("osteon", "DX1")),
        (b"  OSTEON", b"DX\t1", b"\2", "accepted", ("OSTEON", "DX\\t1")),
        (b"OSTEON", b"", b"\7\0\0\0\0\4\0\0\0\0", "association_request_unreadable", ("OSTEON", "")),
        (b"\xd6STEON", b"DX1", b"\7\0\0\0\0\4\0\0\0\0", "association_request_unreadable", ("\\xd6STEON", "DX1")),
    ],
)
def test_odd_titles_are_answered_and_shown(tmp_path: Path, called, calling, reply, word, shown) -> None:
    with serving(tmp_path) as (scp, memory):
        association = RawAssociation(scp, called=called, calling=calling)
        assert association.reply.startswith(reply)
        who = memory.await_word(word)
        if association.accepted:
            association.release()
    assert (who.called, who.calling) == shown


@given(st.binary(max_size=64))
def test_a_title_is_always_printable_and_short(title: bytes) -> None:
    who = caller("::ffff:10.0.0.1", calling=title)
    assert who.calling.isascii()
    assert who.calling.isprintable()
    assert len(who.calling) <= 64
    assert who.address == "10.0.0.1"


def test_silent_connections_end_by_artim_and_leave_no_thread(tmp_path: Path) -> None:
    with serving(tmp_path, acse_timeout=0.3, dimse_timeout=0.5) as (scp, memory):
        base = server_threads()
        silent = [socket.create_connection(("127.0.0.1", scp.port)) for _ in range(15)]
        half = socket.create_connection(("127.0.0.1", scp.port))
        half.sendall(b"\x01\x00" + struct.pack(">L", 200) + b"half of a request")
        scanners = [socket.create_connection(("127.0.0.1", scp.port)) for _ in range(20)]
        for number, scanner in enumerate(scanners):
            scanner.sendall((b"", b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\0")[number % 4])
            scanner.close()
        await_true(lambda: len(memory.entries) >= 36)
        await_true(lambda: server_threads() <= base)
        assert set(memory.words) <= {Drop.NO_REQUEST.value, Drop.UNREADABLE.value, Drop.TLS_ON_PLAIN.value}
        RawAssociation(scp).release()
        for connection in (*silent, half):
            connection.settimeout(5)
            assert connection.recv(100) in (b"", b"\x07\0\0\0\0\x04\0\0\x02\0", b"\x07\0\0\0\0\x04\0\0\0\0")
            connection.close()


def client_hello() -> bytes:
    """What a TLS client says first."""
    said = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), said, server_hostname="node")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return said.read()


@pytest.mark.parametrize("fast_path", ["auto", "off"])
def test_what_comes_in_place_of_a_request_is_told_apart(tmp_path: Path, fast_path: str) -> None:
    """TLS to the plain port has a remedy of its own; none of these is a balancer that says nothing."""
    too_long = b"\x01\x00" + struct.pack(">L", 1 << 20) + bytes(100)
    release, unknown = b"\x05\x00" + struct.pack(">L", 4) + bytes(4), b"\x42\x00" + struct.pack(">L", 4) + bytes(4)
    first = {client_hello(): Drop.TLS_ON_PLAIN}
    first |= dict.fromkeys((b"GET / HTTP/1.0\r\n\r\n", too_long, release, unknown), Drop.UNREADABLE)
    with serving(tmp_path, fast_path=fast_path) as (scp, memory), capture_logs() as logs:
        for said in first:
            told = len(memory.entries)
            with socket.create_connection(("127.0.0.1", scp.port), timeout=10) as stranger:
                stranger.sendall(said)
                await_true(lambda told=told: len(memory.entries) > told)
        RawAssociation(scp).release()
    assert memory.words == [*(why.value for why in first.values()), "accepted"]
    dropped = [one for one in logs if one["event"] == "connection.dropped"]
    assert {one["log_level"] for one in dropped} == {"warning"}
    assert "connection.invalid_pdu" not in [one["event"] for one in logs]


def test_more_connections_than_can_be_held_are_closed_and_counted(tmp_path: Path) -> None:
    with serving(tmp_path, maximum_associations=1, acse_timeout=1.0) as (scp, memory):
        held = [socket.create_connection(("127.0.0.1", scp.port)) for _ in range(6)]
        memory.await_word(Drop.TOO_MANY.value)
        for connection in held:
            connection.close()
        await_true(lambda: is_served(scp))


@pytest.mark.parametrize("fast_path", ["auto", "off"])
def test_a_connection_that_closes_without_a_word_holds_its_place_no_longer(tmp_path: Path, fast_path: str) -> None:
    with serving(tmp_path, fast_path=fast_path, acse_timeout=30.0) as (scp, memory):
        for number in range(1, 61):  # more than one address may have open
            socket.create_connection(("127.0.0.1", scp.port)).close()
            await_true(lambda number=number: memory.words == [Drop.NO_REQUEST.value] * number)
            await_true(lambda: not scp._plain.active_associations, seconds=5.0)
        half = socket.create_connection(("127.0.0.1", scp.port))
        half.sendall(b"\x01\x00" + struct.pack(">L", 200) + b"half of a request")
        half.close()
        await_true(lambda: len(memory.entries) == 61)
        await_true(lambda: not scp._plain.active_associations, seconds=5.0)


LISTED = (Peer(ae_title="MODALITY", networks=("127.0.0.1/32", "127.0.0.2/32")),)


def connections_from(address: str, port: int, count: int, held: ExitStack) -> list[socket.socket]:
    return [
        held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(address, 0)))
        for _ in range(count)
    ]


@pytest.mark.parametrize(("address", "taken"), [("127.0.0.9", 4), ("127.0.0.2", 40)])
def test_silent_connections_of_one_address_keep_no_other_sender_out(tmp_path: Path, address: str, taken: int) -> None:
    with ExitStack() as held, serving(tmp_path, peers=LISTED) as (scp, memory):
        connections_from(address, scp.port, 110, held)
        await_true(lambda: memory.words.count(Drop.TOO_MANY.value) == 110 - taken)
        assert {who.address for who, word in memory.entries if word == Drop.TOO_MANY.value} == {address}
        assert is_served(scp)
        held.close()
        await_true(lambda: not scp._plain.active_associations)


def test_forty_senders_of_one_address_may_come_at_once(tmp_path: Path) -> None:
    """Ten are let in and the others told to come again; none is closed without an answer."""
    with ExitStack() as held, serving(tmp_path) as (scp, _):
        senders = connections_from("127.0.0.1", scp.port, 40, held)
        for sender in senders:
            sender.sendall(request(b"OSTEON", b"MODALITY"))
        answers = [sender.recv(4096)[:1] for sender in senders]
    assert (answers.count(b"\2"), answers.count(b"\3")) == (10, 30)


def test_the_lobby_counts_by_address_and_leaves_strangers_a_quarter() -> None:
    lobby = Lobby(Reception(peers=LISTED, maximum_associations=3, maximum_associations_per_peer=2))
    listed, strangers = "127.0.0.1", ["10.0.0.1", "10.0.0.2", "::1"]
    assert lobby.has_room(listed, [listed] * 7)
    assert not lobby.has_room(listed, [listed] * 8)
    assert not lobby.has_room(listed, [*[listed] * 4, *["::ffff:127.0.0.1"] * 4])
    assert lobby.has_room("127.0.0.2", [listed] * 8)
    assert lobby.has_room(strangers[0], strangers[1:])
    assert not lobby.has_room(strangers[0], strangers)
    assert lobby.has_room(listed, strangers)
    assert not lobby.has_room(listed, [*["127.0.0.2"] * 8, *strangers, "127.0.0.1"])
    assert not Lobby(Reception()).has_room("10.0.0.1", ["10.0.0.1"] * 4)
    assert Lobby(Reception()).has_room("127.0.0.1", ["127.0.0.1"] * 39)


def test_an_idle_association_ends_by_the_idle_timeout(tmp_path: Path) -> None:
    with serving(tmp_path, idle_timeout=0.3) as (scp, _):
        assert RawAssociation(scp).end()[:1] == b"\7"


def test_low_disk_rejects_transiently_and_says_so_once(tmp_path: Path) -> None:
    with serving(tmp_path, reject_at_percent=0.0001) as (scp, memory), capture_logs() as logs:
        assert RawAssociation(scp).rejection == TRANSIENT_LOCAL_LIMIT
        assert RawAssociation(scp).rejection == TRANSIENT_LOCAL_LIMIT
    assert memory.words == ["disk_low", "disk_low"]
    assert len([one for one in logs if one["event"] == "reception.disk"]) == 1


def test_nobody_is_let_in_because_the_decision_failed(tmp_path: Path) -> None:
    with serving(tmp_path) as (scp, memory), capture_logs() as logs:
        tmp_path.rename(tmp_path.with_name("unplugged"))
        assert RawAssociation(scp).rejection == (2, 3, 1)
        tmp_path.with_name("unplugged").rename(tmp_path)
        RawAssociation(scp).release()
    assert memory.words == ["internal_fault", "accepted"]
    assert "association.undecided" in [one["event"] for one in logs]


def test_the_marks_of_the_disk() -> None:
    used = [10.0]
    mark = Watermark(lambda: used[0], low_at=85, full_at=95)
    with capture_logs() as logs:
        for used[0], low, full in [(84.9, False, False), (85, True, False), (95, True, True), (60, False, False)]:
            assert (mark.low(), mark.full()) == (low, full)
    assert [(one["before"], one["level"]) for one in logs] == [("ok", "low"), ("low", "full"), ("full", "ok")]


def test_accepted_sockets_are_kept_alive_and_not_delayed(tmp_path: Path) -> None:
    with serving(tmp_path) as (scp, _):
        held = RawAssociation(scp)
        (association,) = scp._plain.active_associations
        connection = association.dul.socket.socket
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        held.release()
