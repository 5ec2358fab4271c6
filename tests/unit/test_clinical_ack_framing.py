"""Acceptance line "Framing: every row of the section 2 table" of clinical-data.md, as one table through one listener.

The rows about size and number of connections (100 MB without an end, 200 half-open) are in test_clinical_mllp_limits.
"""

import pytest
from support.mllp import FS, VT, Feed, Peer, adt, block

LATIN = adt("1").replace(b"UNICODE UTF-8", b"8859/1").replace("Ü".encode(), b"\xdc")
NOTHING = []
"""Neither answered nor in the way of what follows."""

ROWS = {
    "2 frames in one segment": (block(adt("1")) + block(adt("2")), [["AA", "1"], ["AA", "2"]]),
    "CRLF between frames": (block(adt("1")) + b"\r\n" + block(adt("2")), [["AA", "1"], ["AA", "2"]]),
    "FS without CR, then the next patient": (VT + adt("1") + FS + block(adt("2")), [["AA", "1"], ["AA", "2"]]),
    "two MSH in one frame": (block(adt("1") + adt("2")), [["AR", "1"]]),
    "no VT": (adt("1") + FS + b"\r", NOTHING),
    "empty frame": (block(b""), [["AR"]]),
    "hello": (b"hello", NOTHING),
    "hello in a frame": (block(b"hello"), [["AR"]]),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", NOTHING),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", NOTHING),
    "NULs": (b"\0" * 100, NOTHING),
    "NULs in a frame": (block(b"\0" * 100), [["AR"]]),
    "LF segment ends": (block(adt("1").replace(b"\r", b"\n")), [["AA", "1"]]),
    "CRLF segment ends": (block(adt("1").replace(b"\r", b"\r\n")), [["AA", "1"]]),
    "UTF-8 BOM": (block(b"\xef\xbb\xbf" + adt("1")), [["AA", "1"]]),
    "latin-1 bytes with MSH-18 = 8859/1": (block(LATIN), [["AA", "1"]]),
    "bytes contradicting MSH-18": (block(LATIN.replace(b"8859/1", b"UNICODE UTF-8")), [["AE", "1"]]),
    "MSH-10 empty": (block(adt("1").replace(b"|1|", b"||")), [["AE"]]),
    "MSH-9 empty": (block(adt("1").replace(b"ADT^A08^ADT_A01", b"")), [["AE", "1"]]),
    "short MSH": (block(b"MSH|^~\\&|HIS"), [["AE"]]),
    "70 kB message": (block(adt("1") + b"NTE|1||" + b"x" * 70_000), [["AA", "1"]]),
    "1 MB message": (block(adt("1") + b"NTE|1||" + b"x" * 1_000_000), [["AA", "1"]]),
}


@pytest.fixture(scope="module")
def feed():
    listening = Feed()
    listening.server.start()
    yield listening
    listening.server.stop()


@pytest.mark.parametrize("row", ROWS)
def test_framing_every_row_of_the_section_2_table_and_the_next_message_is_aa(feed, row):
    sent, answers = ROWS[row]
    peer = Peer(feed.server.port)
    peer.send(sent + block(adt("next")))
    assert [peer.answer() for _ in answers] == answers
    assert peer.answer() == ["AA", "next"]
    peer.socket.close()
