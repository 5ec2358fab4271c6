"""MLLP framing and answers: every row of the table in clinical-data.md section 2."""

import asyncio
import contextlib
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.hl7 import message, pid
from support.mllp import AT, FS, VT, Feed, Peer, adt, block

from node.feeds.hl7_ack import HEADER_BYTES
from node.feeds.inbox import accept
from node.feeds.mllp_committer import Answer, Arrived, Committer, NotStored
from node.feeds.mllp_framing import Block, Framer
from node.feeds.outcome import Outcome


def frames(data, cuts=(), limit=2000):
    framer = Framer(limit)
    found = []
    at = 0
    for cut in [*sorted(cuts), len(data)]:
        found += framer.feed(data[at:cut])
        at = max(at, cut)
    return found, framer


def counted(framer):
    return framer.junk, framer.restarts, framer.without_cr, framer.in_block


pieces = st.lists(st.sampled_from([VT, FS, b"\r", b"\n", b"\0", b"x", b"MSH|", b"y" * 900]), max_size=14).map(b"".join)


@given(pieces, st.lists(st.integers(0, 6000), max_size=6))
@example(b"\x0b" + b"y" * 5000 + b"\x1c", [1000, 1500, 2500])
def test_chunk_invariance_frames_do_not_depend_on_how_tcp_cut_the_bytes(data, cuts):
    whole, one = frames(data)
    cut, other = frames(data, [min(c, len(data)) for c in cuts])
    assert cut == whole
    assert counted(other) == counted(one)


def test_framing_rows():
    assert frames(b"\x0ba\x1c\r\x0bb\x1c\r")[0] == [Block(data=b"a"), Block(data=b"b")]
    assert frames(b"\x0ba\x1c\r\n\x0bb\x1c\r\n")[0] == [Block(data=b"a"), Block(data=b"b")]
    assert frames(b"\x0ba\x1c\x0bb\x1c")[0] == [Block(data=b"a"), Block(data=b"b")], "FS without CR"
    assert frames(b"\x0ba\x1c\x0bb\x1c\r")[1].without_cr == 1
    assert frames(b"\x0ba\x1c\r\n\x0bb\x1c")[1].without_cr == 0
    assert frames(b"MSH|nostart\x1c")[1].junk == len("MSH|nostart\x1c")
    assert frames(b"\0\0\r\n \x0bz\x1c")[1].junk == 0
    long = frames(VT + b"z" * 20_000 + FS + block(b"next"), limit=10_000)[0]
    assert long == [Block(data=b"z" * HEADER_BYTES, oversize=True), Block(data=b"next")]


def test_vt_restart():
    restarted, framer = frames(b"\x0bhalf\x0bwhole\x1c\r")
    assert restarted == [Block(data=b"whole")]
    assert framer.restarts == 1


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:

        def start(commit=None, **settings):
            feed = Feed(commit, **settings)
            feed.server.start()
            stack.callback(feed.server.stop)
            peer = Peer(feed.server.port)
            stack.callback(peer.socket.close)
            return peer, feed

        yield start


def test_two_frames_in_one_segment_are_answered_in_order(serve):
    peer, feed = serve()
    peer.send(block(adt("1")) + b"\n" + block(adt("2")) + b"\r\n" + block(adt("3")))
    assert [peer.answer() for _ in range(3)] == [["AA", "1"], ["AA", "2"], ["AA", "3"]]
    assert [frame for frame, _ in feed.stored] == [adt("1"), adt("2"), adt("3")]
    assert feed.stored[0][1] == "127.0.0.1"


def test_fs_without_cr_then_the_next_patient_are_two_messages(serve):
    peer, feed = serve()
    peer.send(VT + adt("1") + FS + VT + adt("2") + FS + b"\r")
    assert [peer.answer(), peer.answer()] == [["AA", "1"], ["AA", "2"]]
    peer.socket.close()
    feed.await_count(Outcome.WITHOUT_CR)
    assert len(feed.stored) == 2


def without_field_9(control):
    return adt(control).replace(b"ADT^A08^ADT_A01", b"")


@pytest.mark.parametrize(
    ("junk", "first"),
    [
        (adt("9"), None),
        (b"hello", None),
        (b"GET / HTTP/1.1\r\n\r\n", None),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", None),
        (b"\0" * 50, None),
        (block(b""), ["AR"]),
        (block(b"hello"), ["AR"]),
        (block(b"GET / HTTP/1.1\r\n\r\n"), ["AR"]),
        (block(b"\0" * 50), ["AR"]),
        (block(adt("8") + adt("9")), ["AR", "8"]),
        (block(adt("7").replace(b"|7|", b"||")), ["AE"]),
        (block(without_field_9("6")), ["AE", "6"]),
        (block(b"MSH|^~\\&|HIS"), ["AE"]),
        (block(b"MSH|^~"), ["AE"]),
    ],
    ids=[
        "no VT",
        "hello",
        "http",
        "tls",
        "nul",
        "empty frame",
        "hello in a frame",
        "http in a frame",
        "nul in a frame",
        "two MSH",
        "no control id",
        "no MSH-9",
        "short MSH",
        "cut separators",
    ],
)
def test_after_bad_input_the_next_message_is_answered(serve, junk, first):
    peer, _ = serve()
    peer.send(junk + block(adt("1")))
    if first:
        assert peer.answer() == first
    assert peer.answer() == ["AA", "1"]


@pytest.mark.parametrize(
    "frame",
    [
        adt("1").replace(b"\r", b"\n"),
        adt("1").replace(b"\r", b"\r\n"),
        b"\xef\xbb\xbf" + adt("1"),
        adt("1").replace(b"UNICODE UTF-8", b"8859/1").replace("Ü".encode(), "Ü".encode("latin-1")),
    ],
    ids=["LF", "CRLF", "BOM", "latin-1 with 8859/1"],
)
def test_odd_but_readable_messages_are_taken_as_they_are(serve, frame):
    peer, feed = serve()
    peer.send(block(frame))
    assert peer.answer() == ["AA", "1"]
    assert feed.stored == [(frame, "127.0.0.1")]


def test_bytes_that_contradict_msh_18_are_answered_ae_102(serve):
    peer, _ = serve()
    peer.send(block(adt("1").replace("Ü".encode(), b"\xdc")))
    reply = peer.reply().decode()
    assert reply.split("\r")[1] == "MSA|AE|1"
    assert "|102^" in reply
    assert "LLER" not in reply


def test_oversize_is_answered_ar_207_and_the_connection_lives(serve):
    peer, feed = serve(max_frame_bytes=100_000)
    peer.send(block(adt("big") + b"NTE|" + b"x" * 3_000_000))
    reply = peer.reply().decode()
    assert reply.split("\r")[1] == "MSA|AR|big"
    assert "|207^" in reply
    peer.send(block(adt("2")))
    assert peer.answer() == ["AA", "2"]
    assert len(feed.stored) == feed.counts[Outcome.OVERSIZE] == 1


@pytest.mark.parametrize("size", [70_000, 1_000_000])
def test_a_large_message(serve, size):
    peer, feed = serve()
    frame = adt("L") + b"NTE|1||" + b"x" * size
    peer.send(block(frame))
    assert peer.answer() == ["AA", "L"]
    assert feed.stored[0][0] == frame


def test_a_thousand_pipelined_messages_are_answered_in_order_and_committed_in_groups(serve):
    peer, feed = serve()
    peer.send(b"".join(block(adt(str(n))) for n in range(1000)))
    assert [peer.answer() for _ in range(1000)] == [["AA", str(n)] for n in range(1000)]
    assert [frame for frame, _ in feed.stored] == [adt(str(n)) for n in range(1000)]
    assert max(feed.groups) > 1


def test_a_bad_message_then_a_good_one_a_failure_inside_is_answered_ar_207_and_never_ends_the_listener(serve):
    def commit(frame):
        if b"|bad|" in frame:
            raise ZeroDivisionError
        return accept(frame, at=AT).ack

    peer, feed = serve(commit)
    peer.send(block(adt("1")) + block(adt("bad")) + block(adt("good")))
    assert [peer.answer() for _ in range(3)] == [["AA", "1"], ["AR", "bad"], ["AA", "good"]]
    assert feed.counts[Outcome.FAILED] == 1


def test_what_is_not_stored_closes_the_link_without_an_answer(serve):
    def commit(_frame):
        raise NotStored

    peer, feed = serve(commit)
    peer.send(block(adt("1")))
    assert peer.answer() is None
    assert feed.counts[Outcome.NOT_STORED] == 1


def test_once_a_message_was_not_stored_none_that_came_behind_it_on_the_link_is(serve):
    entered, queued = threading.Event(), threading.Event()

    def commit(frame):
        if not entered.is_set():
            entered.set()
            queued.wait(10)
            raise NotStored
        return accept(frame, at=AT).ack

    peer, feed = serve(commit)
    peer.send(block(adt("1")))
    entered.wait(10)
    peer.send(block(adt("2")))
    threading.Event().wait(0.3)
    queued.set()
    assert peer.answer() is None
    feed.await_count(Outcome.NOT_STORED, 2)
    again = Peer(feed.server.port)
    again.send(block(adt("1")) + block(adt("2")))
    assert [again.answer(), again.answer()] == [["AA", "1"], ["AA", "2"]]
    assert [frame for frame, _ in feed.stored] == [adt("1"), adt("2")]
    again.socket.close()


@pytest.mark.parametrize("alone", [False, True], ids=["in groups", "one by one"])
def test_frames_of_other_links_are_stored_although_one_link_breaks(alone):
    """`alone`: the group fails, so that each of its frames is tried by itself."""
    stored = []

    def commit(arrived):
        if alone and len(arrived) > 1:
            raise ZeroDivisionError
        if arrived[0].data == b"1":
            raise NotStored
        stored.extend(frame.data for frame in arrived)
        return [frame.data for frame in arrived]

    async def submitted():
        committer = Committer(commit, lambda _peer, _outcome: None)
        mine, other = committer.line(), committer.line()
        first = [mine(Arrived(data=b"1", peer="::1"))]
        running = asyncio.create_task(committer.run())
        if not alone:
            await asyncio.sleep(0)  # the first goes by itself
        lines = ((mine, b"2"), (other, b"3"), (mine, b"4"))
        answers = await asyncio.gather(*first, *(line(Arrived(data=data, peer="::1")) for line, data in lines))
        answers.append(await mine(Arrived(data=b"5", peer="::1")))
        running.cancel()
        committer.close()
        return answers

    closed = Answer(close=True)
    assert asyncio.run(submitted()) == [closed, closed, Answer(reply=b"3"), closed, closed]
    assert stored == [b"3"]


def test_ne_ne_is_silent(serve):
    peer, feed = serve()
    peer.send(block(adt("1").replace(b"||||||UNICODE", b"|||NE|NE||UNICODE")) + block(adt("2")))
    assert peer.answer() == ["AA", "2"]
    assert len(feed.stored) == 2


def test_enhanced_mode_is_answered_ca(serve):
    peer, _ = serve()
    peer.send(block(adt("1").replace(b"||||||UNICODE", b"|||AL|NE||UNICODE")))
    assert peer.answer() == ["CA", "1"]


@pytest.mark.parametrize(
    ("settings", "change", "expected"),
    [
        ({}, (b"|P|", b"|T|"), "AR"),
        ({"accept_test": True}, (b"|P|", b"|T|"), "AA"),
        ({}, (b"ADT^A08^ADT_A01", b"SIU^S12"), "AA"),
        ({"strict_types": True}, (b"ADT^A08^ADT_A01", b"SIU^S12"), "AR"),
        ({"strict_types": True}, (b"ADT^A08^ADT_A01", b"ADT^A60"), "AR"),
        ({"strict_types": True}, (b"", b""), "AA"),
        ({"sending_applications": [{"application": "HIS"}]}, (b"", b""), "AA"),
        ({"sending_applications": [{"application": "HIS", "facility": "FAC"}]}, (b"", b""), "AA"),
        ({"sending_applications": [{"application": "HIS", "facility": "OTHER"}]}, (b"", b""), "AR"),
        ({"sending_applications": [{"application": "LAB"}]}, (b"", b""), "AR"),
    ],
)
def test_what_the_settings_let_pass(serve, settings, change, expected):
    peer, _ = serve(**settings)
    peer.send(block(adt("1").replace(*change)))
    assert peer.answer() == [expected, "1"]


def test_a_pinned_character_set_goes_before_msh_18_and_a_default_serves_where_it_is_empty(serve):
    latin = adt("1").replace("Ü".encode(), b"\xdc")
    peer, _ = serve(pinned_charset="iso8859-1")
    peer.send(block(latin))
    assert peer.answer() == ["AA", "1"]
    peer, _ = serve(default_charset="iso8859-1")
    peer.send(block(latin.replace(b"UNICODE UTF-8", b"")) + block(latin))
    assert [peer.answer(), peer.answer()] == [["AA", "1"], ["AE", "1"]]


def test_logs_name_no_patient(serve, capsys):
    def commit(_frame):
        raise ValueError(pid())

    peer, _ = serve(commit)
    peer.send(block(message("ADT^A08", pid(), control="1")))
    assert peer.answer() == ["AR", "1"]
    logged = "".join(capsys.readouterr())
    assert "mllp_commit_failed" in logged
    assert "100001" not in logged
    assert "MÜLLER" not in logged
