"""The receive path over TLS: the same bytes, limits and deadlines as without, and idle senders cost nothing."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pynetdicom.dul import DULServiceProvider
from support import certificates
from support.dicom_objects import encoded_dx
from support.raw_dicom import DX, EXPLICIT, RawSender, fresh_uid, pdu, store_stream
from support.reception import await_true, files, serving

from config.settings import ReceptionTls
from dicom_io.content_digest import digest_of
from dicom_io.received import StoredInstance
from dicom_io.spool import part10_head
from dicom_io.transport import Provider

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> tuple[ReceptionTls, certificates.Pair]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = certificates.authority(folder, "site-ca")
    node = certificates.signed(folder, authority, "node")
    return ReceptionTls(enabled=True, port=0, certificate=node.certificate, key=node.key), authority


@pytest.fixture
def tls(site) -> ssl.SSLContext:
    return certificates.trusting(site[1])


@pytest.fixture
def start(tmp_path: Path, site) -> Iterator[Callable[..., tuple[int, list[StoredInstance]]]]:
    """Starts a TLS-only SCP; its port, and what it stores."""
    with contextlib.ExitStack() as stack:

        def started(**settings: object) -> tuple[int, list[StoredInstance]]:
            stored: list[StoredInstance] = []
            scp, _ = stack.enter_context(serving(tmp_path, stored.append, tls=site[0], plain=False, **settings))
            return scp.tls_port, stored

        yield started


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("limit", [4096, 16_384, 131_072, 1 << 20])
def test_what_is_stored_is_what_was_sent(tmp_path, start, tls, version, limit):
    tls.minimum_version = tls.maximum_version = VERSIONS[version]
    port, stored = start()
    with RawSender(port, tls=tls) as sender:
        assert sender.max_pdu == 1 << 20
        assert any(isinstance(one, Provider) for one in threading.enumerate())
        for size in (256, 16_384, 3_000_064):
            instance = fresh_uid()
            sent = encoded_dx(instance, size)
            assert sender.store(sent, instance, limit=limit) == 0
            content = (tmp_path / stored[-1].spool_file).read_bytes()
            assert content == part10_head(DX, instance, EXPLICIT) + sent
            assert digest_of(content) == stored[-1].digest
            assert sender.echo() == 0
        sender.release()


def test_requests_that_do_not_wait_are_answered_in_their_order(start, tls):
    port, stored = start()
    sent = {(instance := fresh_uid()): encoded_dx(instance, size) for size in (256, 500_224, 512)}
    with RawSender(port, tls=tls) as sender:
        sender.socket.sendall(b"".join(store_stream(data, one, DX, 16_384) for one, data in sent.items()))
        assert [sender.status() for _ in sent] == [0, 0, 0]
        sender.release()
    assert [one.reference.sop_instance_uid for one in stored] == list(sent)


@pytest.mark.parametrize("end", ["abort", "shutdown", "close"])
def test_an_object_that_breaks_off_leaves_nothing(tmp_path, start, tls, end):
    port, stored = start()
    instance = fresh_uid()
    wire = store_stream(encoded_dx(instance, 1_000_192), instance, DX, 16_384)
    with RawSender(port, tls=tls) as sender:
        sender.socket.sendall(wire[:400_000])
        await_true(lambda: files(tmp_path) != [])
        if end == "abort":
            sender.abort()
        elif end == "shutdown":
            with contextlib.suppress(OSError):  # the node closes without an answer
                sender.socket.unwrap()
    await_true(lambda: files(tmp_path) == [])
    assert not stored


def test_a_sender_that_trickles_misses_the_deadline_of_its_pdu(start, tls):
    port, _ = start(dimse_timeout=1.0)
    wire = pdu(4, bytes(400))
    with RawSender(port, tls=tls) as slow:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in wire:
                slow.socket.sendall(bytes([byte]))
                time.sleep(0.1)
        assert time.monotonic() - began < 10
    with RawSender(port, tls=tls) as good:
        assert good.echo() == 0
        good.release()


def test_bytes_that_are_no_record_end_their_association_and_no_other(start, tls):
    port, _ = start()
    with RawSender(port, tls=tls) as bad, RawSender(port, tls=tls) as good:
        socket.socket.sendall(bad.socket, b"\x17\x03\x03\x00\x40" + bytes(64))  # below TLS
        assert bad.closed_by_peer()
        assert good.echo() == 0
        good.release()


def test_idle_senders_cost_nothing(start, tls):
    port, _ = start(maximum_associations=60, maximum_associations_per_peer=60)
    process = psutil.Process()
    with contextlib.ExitStack() as idle:
        senders = [idle.enter_context(RawSender(port, calling=f"IDLE{n}", tls=tls)) for n in range(50)]
        kinds = {type(one) for one in threading.enumerate() if isinstance(one, DULServiceProvider)}
        assert kinds == {Provider}
        spent = []
        for _ in range(5):
            before = process.cpu_times()
            time.sleep(0.5)
            after = process.cpu_times()
            spent.append(after.user + after.system - before.user - before.system)
        assert min(spent) < 0.15, "a third of a core for doing nothing"
        for sender in senders:
            sender.release()


def test_a_silent_sender_is_ended_by_the_idle_timer(start, tls):
    port, _ = start(idle_timeout=0.5)
    with RawSender(port, tls=tls, timeout=8) as sender:
        assert sender.read_pdu()[0] == 7
