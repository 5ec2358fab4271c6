"""What a connection to the HL7 port may cost, who may open one, and TLS (clinical-data.md section 2)."""

import contextlib
import socket
import ssl
import threading

import psutil
import pytest
from support import certificates
from support.mllp import AT, FS, VT, Feed, Peer, adt, block

from config.hl7_feed import FeedTls, Mllp
from dicom_io.tls import TlsFiles
from node.feeds.inbox import accept
from node.feeds.mllp import MllpServer
from node.feeds.mllp_link import MAX_QUEUED
from node.feeds.outcome import Outcome


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:

        def start(commit=None, context=None, **settings):
            feed = Feed(commit, context, **settings)
            feed.server.start()
            stack.callback(feed.server.stop)

            def connect(**how):
                peer = Peer(feed.server.port, **how)
                stack.callback(peer.socket.close)
                return peer

            return connect, feed

        yield start


def answered(connect, control):
    """Whether a new connection is served; the one before may still be closing."""
    for _ in range(100):
        peer = connect()
        with contextlib.suppress(ConnectionError):
            peer.send(block(adt(control)))
            if peer.answer() == ["AA", control]:
                return True
    return False


def test_slow_sender_an_unfinished_block_times_out(serve):
    connect, feed = serve(block_timeout=0.2)
    slow = connect()
    slow.send(block(adt("1")) + VT + b"MSH|")
    assert slow.answer() == ["AA", "1"]
    assert slow.closed()
    feed.await_count(Outcome.TIMED_OUT)
    assert len(feed.stored) == 1


def test_an_idle_link_has_no_time_out(serve):
    connect, _ = serve(block_timeout=0.05)
    idle = connect()
    threading.Event().wait(0.3)
    idle.send(block(adt("1")))
    assert idle.answer() == ["AA", "1"]


def test_peer_closes_mid_frame_and_nothing_is_stored(serve):
    connect, feed = serve()
    cut = connect()
    cut.send(VT + b"MSH|")
    cut.socket.close()
    feed.await_count(Outcome.TRUNCATED)
    assert answered(connect, "1")
    assert len(feed.stored) == 1


def test_endless_junk_is_closed_after_64_kib(serve):
    connect, feed = serve()
    peer = connect()
    peer.send(b"x" * 60_000)
    peer.send(block(adt("1")))
    assert peer.answer() == ["AA", "1"], "less is skipped"
    with contextlib.suppress(ConnectionError):
        peer.send(b"x" * 200_000)
    assert peer.closed()
    feed.await_count(Outcome.NO_PROTOCOL)


def test_endless_vt_are_closed_as_junk_and_others_are_served(serve):
    connect, feed = serve()
    peer, other = connect(), connect()
    with contextlib.suppress(ConnectionError):
        peer.send(VT * 10_000_000)
    assert peer.closed()
    feed.await_count(Outcome.NO_PROTOCOL)
    other.send(block(adt("1")))
    assert other.answer() == ["AA", "1"]


def test_oddities_are_counted_while_the_link_lives(serve):
    connect, feed = serve()
    peer = connect()
    peer.send(VT + b"half" + VT + adt("1") + FS + block(adt("2")))
    assert [peer.answer(), peer.answer()] == [["AA", "1"], ["AA", "2"]]
    feed.await_count(Outcome.RESTARTED)
    feed.await_count(Outcome.WITHOUT_CR)


def test_100_mb_without_an_end_are_dropped_as_they_come_and_others_are_served(serve):
    connect, feed = serve(max_frame_bytes=1 << 20)
    before = psutil.Process().memory_info().rss
    flood = connect()
    flood.send(VT)
    piece = b"x" * (1 << 20)
    for _ in range(100):
        flood.send(piece)
    other = connect()
    other.send(block(adt("1")))
    assert other.answer() == ["AA", "1"]
    assert psutil.Process().memory_info().rss - before < 32 << 20
    flood.send(FS + b"\r" + block(adt("2")))
    assert flood.answer()[0] == "AR"
    assert flood.answer() == ["AA", "2"]
    assert feed.counts[Outcome.OVERSIZE] == 1


def test_200_half_open_connections_are_capped_and_it_recovers(serve):
    connect, feed = serve(max_connections=64, max_connections_per_peer=64)
    half_open = []
    for _ in range(200):
        peer = connect()
        with contextlib.suppress(ConnectionError):
            peer.send(VT + b"MSH|")
        half_open.append(peer)
    feed.await_count(Outcome.TOO_MANY, 136)
    assert feed.counts[Outcome.CONNECTED] == 64
    assert connect().closed()
    for peer in half_open:
        peer.socket.close()
    assert answered(connect, "1")


def test_one_peer_has_at_most_8_connections_and_others_are_served(serve):
    connect, feed = serve()
    held = [connect() for _ in range(8)]
    for peer in held:
        peer.send(block(adt("1")))
        assert peer.answer() == ["AA", "1"]
    assert connect().closed()
    feed.await_count(Outcome.TOO_MANY_OF_PEER)
    held[0].socket.close()
    assert answered(connect, "2")


def test_whoever_is_not_in_the_networks_is_dropped(serve):
    connect, feed = serve(networks=["10.0.0.0/8"])
    assert connect().closed()
    feed.await_count(Outcome.ADDRESS)
    assert feed.counts[Outcome.CONNECTED] == 0


def test_an_ipv4_sender_on_a_dual_stack_socket_is_known_by_its_ipv4_address(serve):
    if not socket.has_dualstack_ipv6():
        pytest.skip("this host has no IPv6")
    connect, feed = serve(host="::")
    peer = connect()
    peer.send(block(adt("1")))
    assert peer.answer() == ["AA", "1"]
    assert feed.stored[0][1] == "127.0.0.1"


def test_reading_pauses_at_64_queued_frames(serve):
    entered, release = threading.Event(), threading.Event()

    def commit(frame):
        entered.set()
        release.wait(20)
        return accept(frame, at=AT).ack

    connect, feed = serve(commit)
    peer = connect()
    total = 2000  # 40 MB: more than the buffers of TCP hold

    def send():
        for n in range(total):
            peer.send(block(adt(str(n)) + b"NTE|1||" + b"x" * 20_000))

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    entered.wait(10)
    sending.join(1.0)
    assert sending.is_alive(), "the sender is held back by TCP"
    release.set()
    assert [peer.answer() for _ in range(total)] == [["AA", str(n)] for n in range(total)]
    sending.join()
    assert max(feed.groups) <= MAX_QUEUED


def test_graceful_stop_answers_what_was_received_and_closes():
    entered, release = threading.Event(), threading.Event()

    def commit(frame):
        entered.set()
        release.wait(10)
        return accept(frame, at=AT).ack

    feed = Feed(commit)
    feed.server.start()
    peer, idle = Peer(feed.server.port), Peer(feed.server.port)
    peer.send(block(adt("1")))
    entered.wait(10)
    peer.send(block(adt("2")))
    threading.Event().wait(0.3)
    stopping = threading.Thread(target=feed.server.stop)
    stopping.start()
    assert idle.closed()
    with pytest.raises(ConnectionError):
        Peer(feed.server.port)
    release.set()
    assert [peer.answer(), peer.answer()] == [["AA", "1"], ["AA", "2"]], "the queue is finished"
    stopping.join()
    assert peer.closed()
    peer.socket.close()
    idle.socket.close()


def test_a_taken_port_is_said_at_start():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match=r"\d"):
        MllpServer(Mllp(port=taken.getsockname()[1]), lambda _frames: [], lambda _peer, _outcome: None).start()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def site(folder):
    return certificates.authority(folder, "site-ca")


@pytest.fixture
def files(folder, site, tmp_path):
    """The node's certificate, in files of its own that a test may replace."""
    pair = certificates.signed(folder, site, "localhost")
    for name, source in (("node.pem", pair.certificate), ("node.key", pair.key)):
        (tmp_path / name).write_bytes(source.read_bytes())
    return {"certificate": tmp_path / "node.pem", "key": tmp_path / "node.key"}


def client_context(site, pair=None):
    context = ssl.create_default_context(cafile=site.certificate)
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def secured(files, **more):
    return TlsFiles(FeedTls(enabled=True, **files, **more)).context


def test_tls_messages_are_answered_and_plain_text_is_refused(serve, files, site):
    connect, feed = serve(context=secured(files))
    peer = connect(context=client_context(site))
    assert peer.socket.version() in ("TLSv1.2", "TLSv1.3")
    peer.send(b"".join(block(adt(str(n))) for n in range(100)))
    assert [peer.answer() for _ in range(100)] == [["AA", str(n)] for n in range(100)]
    plain = connect()
    plain.send(block(adt("1")))
    assert plain.answer() is None
    feed.await_count(Outcome.TLS)
    assert len(feed.stored) == 100


def test_tls_1_1_is_refused(serve, files, site):
    connect, feed = serve(context=secured(files))
    old = client_context(site)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(context=old)
    feed.await_count(Outcome.TLS)


def test_with_a_client_authority_a_sender_must_show_a_certificate(serve, files, folder, site):
    connect, feed = serve(context=secured(files, client_ca=site.certificate))
    sender = certificates.signed(folder, site, "sender")
    peer = connect(context=client_context(site, sender))
    peer.send(block(adt("1")))
    assert peer.answer() == ["AA", "1"]
    with contextlib.suppress(ssl.SSLError):  # with TLS 1.3 the client believes itself connected until it reads
        nobody = connect(context=client_context(site))
        nobody.send(block(adt("2")))
        assert nobody.closed()
    feed.await_count(Outcome.TLS)
    assert len(feed.stored) == 1


def test_a_renewed_certificate_is_used_without_a_restart_and_links_go_on(serve, files, folder, site):
    connect, _ = serve(context=secured(files))
    old = connect(context=client_context(site))
    first = old.socket.getpeercert()["serialNumber"]
    renewed = certificates.signed(folder, site, "localhost", days=60)
    files["key"].write_bytes(renewed.key.read_bytes())
    files["certificate"].write_bytes(renewed.certificate.read_bytes())
    new = connect(context=client_context(site))
    assert new.socket.getpeercert()["serialNumber"] != first
    for peer in (old, new):
        peer.send(block(adt("1")))
        assert peer.answer() == ["AA", "1"]


def test_a_client_that_never_shakes_hands_does_not_hold_up_stop(files):
    feed = Feed(context=secured(files))
    feed.server.start()
    mute = Peer(feed.server.port)
    threading.Event().wait(0.2)
    feed.server.stop()
    assert mute.closed()
    mute.socket.close()
