import contextlib
import datetime as dt
import socket
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.hl7 import message, pid

from config.hl7_feed import Mllp
from node.feeds.inbox import accept
from node.feeds.mllp import HEADER_BYTES, Block, Framer, MllpServer, NotStored

AT = dt.datetime(2025, 3, 10, 9, tzinfo=dt.UTC)
VT, FS = b"\x0b", b"\x1c"


def adt(control):
    return message("ADT^A08^ADT_A01", pid(), control=control)


def block(data):
    return VT + data + FS + b"\r"


def frames(data, cuts=(), limit=2000):
    framer = Framer(limit)
    found = []
    at = 0
    for cut in [*sorted(cuts), len(data)]:
        found += framer.feed(data[at:cut])
        at = max(at, cut)
    return found, framer


pieces = st.lists(st.sampled_from([VT, FS, b"\r", b"\n", b"\0", b"x", b"MSH|", b"y" * 900]), max_size=14).map(b"".join)


@given(pieces, st.lists(st.integers(0, 6000), max_size=6))
@example(b"\x0b" + b"y" * 5000 + b"\x1c", [1000, 1500, 2500])
def test_frames_do_not_depend_on_how_tcp_cut_the_bytes(data, cuts):
    whole, one = frames(data)
    cut, other = frames(data, [min(c, len(data)) for c in cuts])
    assert cut == whole
    assert (other.junk, other.restarts, other.in_block) == (one.junk, one.restarts, one.in_block)


def test_framing_rows():
    assert frames(b"\x0ba\x1c\r\x0bb\x1c\r")[0] == [Block(data=b"a"), Block(data=b"b")]
    assert frames(b"\x0ba\x1c\r\n\x0bb\x1c\r\n")[0] == [Block(data=b"a"), Block(data=b"b")]
    assert frames(b"\x0ba\x1c\x0bb\x1c")[0] == [Block(data=b"a"), Block(data=b"b")], "FS without CR"
    restarted, framer = frames(b"\x0bhalf\x0bwhole\x1c\r")
    assert restarted == [Block(data=b"whole")]
    assert framer.restarts == 1
    assert frames(b"MSH|nostart\x1c")[1].junk == len("MSH|nostart\x1c")
    assert frames(b"\0\0\r\n \x0bz\x1c")[1].junk == 0
    long = frames(VT + b"z" * 20_000 + FS + block(b"next"), limit=10_000)[0]
    assert long == [Block(data=b"z" * HEADER_BYTES, oversize=True), Block(data=b"next")]


class Peer:
    """A raw MLLP client."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.rest = b""

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        while FS not in self.rest:
            piece = self.socket.recv(65536)
            if not piece:
                return None
            self.rest += piece
        reply, self.rest = self.rest.split(FS, 1)
        lines = reply.strip(b"\x0b\r").decode().split("\r")
        return lines[1].split("|")[1:]

    def closed(self):
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:

        def start(commit=None, **settings):
            stored = []

            def store(frame, peer):
                stored.append((frame, peer))
                return accept(frame, at=AT).ack

            server = MllpServer(Mllp(port=0, **settings), commit or store)
            server.start()
            stack.callback(server.stop)

            def connect():
                peer = Peer(server.port)
                stack.callback(peer.socket.close)
                return peer

            return connect, stored

        yield start


def test_two_frames_in_one_segment_are_answered_in_order(serve):
    connect, stored = serve()
    peer = connect()
    peer.send(block(adt("1")) + b"\n" + VT + adt("2") + FS + block(adt("3")))
    assert [peer.answer() for _ in range(3)] == [["AA", "1"], ["AA", "2"], ["AA", "3"]]
    assert [frame for frame, _ in stored] == [adt("1"), adt("2"), adt("3")]
    assert stored[0][1] == "127.0.0.1"


@pytest.mark.parametrize(
    ("junk", "first"),
    [
        (adt("9"), None),
        (b"hello", None),
        (b"GET / HTTP/1.1\r\n\r\n", None),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", None),
        (b"\0" * 50, None),
        (block(b""), ["AR"]),
        (block(adt("8") + adt("9")), ["AR", "8"]),
        (block(adt("7").replace(b"|7|", b"||")), ["AE"]),
    ],
    ids=["no VT", "hello", "http", "tls", "nul", "empty", "two MSH", "no control id"],
)
def test_after_bad_input_the_next_message_is_answered(serve, junk, first):
    connect, _ = serve()
    peer = connect()
    peer.send(junk + block(adt("1")))
    if first:
        assert peer.answer() == first
    assert peer.answer() == ["AA", "1"]


def test_oversize_is_refused_and_the_link_lives(serve):
    connect, stored = serve(max_frame_bytes=100_000)
    peer = connect()
    peer.send(block(adt("big") + b"NTE|" + b"x" * 3_000_000))
    assert peer.answer() == ["AR", "big"]
    peer.send(block(adt("2")))
    assert peer.answer() == ["AA", "2"]
    assert len(stored) == 1


def test_a_large_message(serve):
    connect, stored = serve()
    frame = adt("L") + b"NTE|1||" + b"x" * 1_000_000
    peer = connect()
    peer.send(block(frame))
    assert peer.answer() == ["AA", "L"]
    assert stored[0][0] == frame


def test_a_failing_commit_is_answered_and_the_listener_lives(serve):
    def commit(frame, _peer):
        if b"|bad|" in frame:
            raise ZeroDivisionError
        return accept(frame, at=AT).ack

    connect, _ = serve(commit)
    peer = connect()
    peer.send(block(adt("bad")) + block(adt("good")))
    assert peer.answer() == ["AR", "bad"]
    assert peer.answer() == ["AA", "good"]


def test_not_stored_closes_the_link_without_an_answer(serve):
    def commit(_frame, _peer):
        raise NotStored

    connect, _ = serve(commit)
    peer = connect()
    peer.send(block(adt("1")))
    assert peer.answer() is None


def test_silence_when_no_answer_is_asked_for(serve):
    connect, stored = serve()
    peer = connect()
    peer.send(block(adt("1").replace(b"||||||UNICODE", b"|||NE|NE||UNICODE")) + block(adt("2")))
    assert peer.answer() == ["AA", "2"]
    assert len(stored) == 2


def test_an_unfinished_block_times_out_and_a_cut_one_is_dropped(serve):
    connect, stored = serve(block_timeout=0.2)
    slow = connect()
    slow.send(VT + b"MSH|")
    assert slow.closed()
    cut = connect()
    cut.send(VT + b"MSH|")
    cut.socket.close()
    fine = connect()
    fine.send(block(adt("1")))
    assert fine.answer() == ["AA", "1"]
    assert len(stored) == 1


def test_endless_junk_is_closed(serve):
    connect, _ = serve()
    peer = connect()
    with contextlib.suppress(ConnectionError):
        peer.send(b"x" * 200_000)
    assert peer.closed()


def test_the_number_of_connections_is_capped_and_recovers(serve):
    connect, _ = serve(max_connections=2)
    held = [connect(), connect()]
    for peer in held:
        peer.send(block(adt("1")))
        assert peer.answer() == ["AA", "1"]
    assert connect().closed()
    held[0].socket.close()
    for _ in range(50):
        peer = connect()
        with contextlib.suppress(ConnectionError):
            peer.send(block(adt("2")))
            if peer.answer() == ["AA", "2"]:
                return
    pytest.fail("no connection became free")


def test_stop_answers_what_was_received():
    entered, release = threading.Event(), threading.Event()

    def commit(frame, _peer):
        entered.set()
        release.wait(10)
        return accept(frame, at=AT).ack

    server = MllpServer(Mllp(port=0), commit)
    server.start()
    peer, idle = Peer(server.port), Peer(server.port)
    peer.send(block(adt("1")))
    entered.wait(10)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    assert idle.closed()
    release.set()
    assert peer.answer() == ["AA", "1"]
    stopping.join()
    assert peer.closed()
    peer.socket.close()
    idle.socket.close()


def test_a_taken_port_is_said_at_start():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match=r"\d"):
        MllpServer(Mllp(port=taken.getsockname()[1]), lambda _f, _p: None).start()


def test_logs_name_no_patient(serve, capsys):
    def commit(_frame, _peer):
        raise ValueError(pid())

    connect, _ = serve(commit)
    peer = connect()
    peer.send(block(adt("1")))
    assert peer.answer() == ["AR", "1"]
    logged = "".join(capsys.readouterr())
    assert "mllp_commit_failed" in logged
    assert "100001" not in logged
    assert "MÜLLER" not in logged
