"""The receive path on the wire: byte equality, limits, deadlines, and no cost for connections that say nothing."""

import contextlib
import itertools
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket
from support.dicom_objects import encoded_dx
from support.raw_dicom import (
    COMMAND,
    DX,
    EXPLICIT,
    LAST,
    RawSender,
    associate_rq,
    fragments,
    fresh_uid,
    pdu,
    store_command,
    store_stream,
    value,
)
from support.reception import SERVER_THREADS, await_true, files, serving

from dicom_io import transport_check
from dicom_io.content_digest import digest_of
from dicom_io.part import Part
from dicom_io.received import StoredInstance
from dicom_io.spool import Spool, part10_head
from dicom_io.storage_scp import StorageScp

PATHS = ("auto", "off")
WIDE = 1 << 20


def kept(directory: Path) -> bytes:
    (only,) = files(directory)
    return only.read_bytes()


@pytest.fixture(scope="module", params=PATHS)
def scp(request, tmp_path_factory) -> Iterator[tuple[StorageScp, list[StoredInstance], Path]]:
    directory, stored = tmp_path_factory.mktemp("spool"), []
    with serving(directory, stored.append, fast_path=request.param) as (running, _):
        yield running, stored, directory


def expect_stored(scp, instance: str, sent: bytes) -> None:
    _, stored, directory = scp
    last = stored[-1]
    assert last.reference.sop_instance_uid == instance
    content = (directory / last.spool_file).read_bytes()
    assert content == part10_head(DX, instance, EXPLICIT) + sent
    assert digest_of(content) == last.digest


@pytest.mark.parametrize("limit", [4096, 16382, 131_072, WIDE])
@pytest.mark.parametrize("size", [0, 4077, 131_066, 3_000_000])
def test_what_is_stored_is_what_was_sent_whatever_the_pdu_size(scp, limit, size):
    instance = fresh_uid()
    sent = encoded_dx(instance, size)
    with RawSender(scp[0].port) as sender:
        assert sender.store(sent, instance, limit=min(limit, sender.max_pdu)) == 0
        sender.release()
    expect_stored(scp, instance, sent)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    command_room=st.integers(1, 200),
    data_room=st.integers(1, 900),
    per_pdu=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    step=st.integers(100, 5000),
)
def test_any_fragmentation_gives_the_same_bytes(scp, command_room, data_room, per_pdu, step):
    """Values of any size, any number of them in a PDU, the command in pieces, bytes leaving the socket in pieces."""
    instance = fresh_uid()
    sent = encoded_dx(instance, 3000)
    values = iter(
        [
            *fragments(1, store_command(DX, instance), command_room, COMMAND),
            *fragments(1, sent, data_room),
        ]
    )
    wire = b""
    for count in itertools.cycle(per_pdu):
        if not (some := list(itertools.islice(values, count))):
            break
        wire += pdu(4, b"".join(some))
    with RawSender(scp[0].port) as sender:
        for start in range(0, len(wire), step):
            sender.socket.sendall(wire[start : start + step])
        assert sender.status() == 0
        sender.release()
    expect_stored(scp, instance, sent)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.integers(0, 700_000), max_size=6), head=st.sampled_from([0, 1, 500, 300_000]))
def test_a_part_holds_what_was_written_however_it_came(tmp_path, pieces, head):
    content = np.random.default_rng(1).bytes(head + sum(pieces))
    path = tmp_path / fresh_uid()
    with Part(path, content[:head]) as part:
        at = head
        for size in pieces:
            part.write(memoryview(content)[at : at + size])
            at += size
        assert part.size == len(content)
        with part.dataset() as stream:
            assert stream.read() == content[head:]
        assert part.seal() == digest_of(content) == part.digest
        assert path.read_bytes() == content


def test_requests_that_do_not_wait_are_answered_in_their_order_and_then_the_release(scp):
    """Asynchronous operations were not negotiated (PS3.7 D.3.3.3), and senders are known that do it anyway."""
    sent = {(instance := fresh_uid()): encoded_dx(instance, size) for size in (10, 500_000, 20)}
    wire = b"".join(store_stream(data, instance, DX, 16_384) for instance, data in sent.items())
    with RawSender(scp[0].port) as sender:
        sender.socket.sendall(wire)
        assert [sender.status() for _ in sent] == [0, 0, 0]
        sender.release()
    assert [one.reference.sop_instance_uid for one in scp[1][-3:]] == list(sent)


def test_echoes_between_objects_and_a_value_without_bytes(scp):
    with RawSender(scp[0].port) as sender:
        for size in (10, 200_000, 11):
            instance = fresh_uid()
            sent = encoded_dx(instance, size)
            assert sender.echo() == 0
            sender.socket.sendall(pdu(4, value(1, COMMAND | LAST, store_command(DX, instance))))
            sender.socket.sendall(pdu(4, b""))
            sender.socket.sendall(pdu(4, value(1, 0, sent) + value(1, LAST, b"")))
            assert sender.status() == 0
            expect_stored(scp, instance, sent)
        assert sender.echo() == 0
        sender.release()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("end", ["abort", "release", "close", "nonsense"])
def test_an_object_that_breaks_off_leaves_nothing(tmp_path, path, end):
    with serving(tmp_path, fast_path=path) as (running, _):
        instance = fresh_uid()
        half = store_stream(encoded_dx(instance, 600_000), instance, DX, 65_536)[:300_000]
        with RawSender(running.port) as sender:
            sender.socket.sendall(half[: half.rindex(b"\x04\0\0\x01\0\0")])
            if path == "auto":  # pynetdicom's own path has it in memory
                await_true(lambda: files(tmp_path) != [])
            match end:
                case "abort":
                    sender.abort()
                case "release":
                    sender.socket.sendall(pdu(5, bytes(4)))
                case "close":
                    sender.socket.close()
                case "nonsense":
                    sender.socket.sendall(pdu(4, struct.pack(">IBB", 99, 1, 0)))
                    assert sender.closed_by_peer()
        await_true(lambda: files(tmp_path) == [])
        with RawSender(running.port) as sender:
            assert sender.echo() == 0
            sender.release()


@pytest.mark.parametrize("path", PATHS)
def test_an_object_over_its_limit_is_answered_a700_and_the_association_goes_on(tmp_path, path):
    with serving(tmp_path, fast_path=path, maximum_object_mb=1) as (running, memory):
        with RawSender(running.port) as sender:
            instance = fresh_uid()
            assert sender.store(encoded_dx(instance, 1_500_000), instance) == 0xA700
            assert files(tmp_path) == []
            instance = fresh_uid()
            assert sender.store(encoded_dx(instance, 400_000), instance) == 0
            sender.release()
        assert memory.words.count("accepted") == 1


@pytest.mark.parametrize("path", PATHS)
def test_a_disk_that_fills_while_an_object_arrives_means_a700_and_nothing_left(tmp_path, path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", tmp_path], check=False)
    if mounted.returncode:
        pytest.skip("may not mount a small file system here")
    try:
        with serving(tmp_path, fast_path=path) as (running, _), RawSender(running.port) as sender:
            instance = fresh_uid()
            assert sender.store(encoded_dx(instance, 8_000_000), instance) == 0xA700
            assert files(tmp_path) == []
            instance = fresh_uid()
            assert sender.store(encoded_dx(instance, 1_000_000), instance) == 0
            sender.release()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_failed_write_is_told_once_and_deleted(tmp_path, monkeypatch):
    def broken(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with serving(tmp_path) as (running, memory), RawSender(running.port) as sender:
        instance = fresh_uid()
        with monkeypatch.context() as patch:
            patch.setattr(Part, "write", broken)
            assert sender.store(encoded_dx(instance, 100_000), instance) == 0xA700
        assert sender.store(encoded_dx(instance, 100_000), instance) == 0
        sender.release()
    assert len(files(tmp_path)) == 1
    assert len(memory.words) == 2


@pytest.mark.parametrize(
    "wire",
    [
        struct.pack(">BxI", 4, 0xFFFFFFFF),
        struct.pack(">BxI", 4, 0x7FFFFFFF),
        pdu(4, struct.pack(">IBB", 0, 1, 0)),
        pdu(4, struct.pack(">IBB", 5000, 1, 0)),
        pdu(4, value(9, COMMAND | LAST, store_command(DX, "1.2.3"))),
        pdu(4, value(1, COMMAND | LAST, b"\0" * 64)),
        pdu(4, value(1, LAST, b"no command came before")),
        pdu(0x55, b"unknown"),
        pdu(4, value(1, COMMAND, b"c" * 66_000)),
    ],
    ids=["4GiB", "2GiB", "empty-item", "long-item", "context", "command", "no-command", "type", "huge-command"],
)
def test_an_invalid_pdu_ends_its_association_and_no_other(tmp_path, wire):
    with serving(tmp_path) as (running, _), RawSender(running.port) as good, RawSender(running.port) as bad:
        bad.socket.settimeout(5)
        with contextlib.suppress(OSError):
            bad.socket.sendall(wire)
        assert bad.closed_by_peer()
        assert good.echo() == 0
        good.release()
    assert files(tmp_path) == []


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("where", ["request", "data"])
def test_an_announced_4_gib_pdu_allocates_nothing(tmp_path, path, where):
    with serving(tmp_path, fast_path=path) as (running, _):
        before = psutil.Process().memory_info().rss
        with (
            socket.create_connection(("127.0.0.1", running.port), 10)
            if where == "request"
            else RawSender(running.port).socket as hostile
        ):
            hostile.settimeout(10)
            hostile.sendall(struct.pack(">BxI", 1 if where == "request" else 4, 0xFFFF_FFF0))
            block = bytes(1 << 20)
            with contextlib.suppress(OSError):
                for _ in range(200):
                    hostile.sendall(block)
                pytest.fail("200 MB of one PDU were taken")
        assert psutil.Process().memory_info().rss - before < 16 << 20


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"\x01",
        associate_rq("OSTEON", "SLOW", [(DX, EXPLICIT)])[:3],
        associate_rq("OSTEON", "SLOW", [(DX, EXPLICIT)])[:-1],
    ],
    ids=["silence", "a-byte", "3-bytes", "all-but-one"],
)
def test_a_request_that_never_ends_is_closed(tmp_path, path, begun):
    with serving(tmp_path, fast_path=path, acse_timeout=0.5) as (running, _), RawSender(running.port) as good:
        with socket.create_connection(("127.0.0.1", running.port), 8) as slow:
            slow.sendall(begun)
            with contextlib.suppress(ConnectionError):
                while slow.recv(100):
                    pass
        assert good.echo() == 0
        good.release()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sent", [3, 6, 40], ids=["half-header", "header", "body"])
def test_a_sender_that_trickles_misses_the_deadline_of_its_pdu(tmp_path, path, sent):
    """One byte every 0.1 s would never time out if each read had its own limit."""
    with serving(tmp_path, fast_path=path, dimse_timeout=0.8) as (running, _):
        with RawSender(running.port) as slow:
            wire = store_stream(b"\0" * 400, fresh_uid(), DX, 4096)
            slow.socket.sendall(wire[:sent])
            with contextlib.suppress(OSError):
                for byte in wire[sent : sent + 60]:
                    time.sleep(0.1)
                    slow.socket.sendall(bytes([byte]))
                pytest.fail("60 bytes in 6 s were waited for")
        with RawSender(running.port) as good:
            assert good.echo() == 0
            good.release()
    assert files(tmp_path) == []


@pytest.mark.parametrize("path", PATHS)
def test_a_read_that_a_signal_interrupts_goes_on(tmp_path, path):
    """As of a process that was stopped and continued, or frozen with its container: the kernel returns what it has."""
    instance = fresh_uid()
    wire = store_stream(encoded_dx(instance, 200_000), instance, DX, WIDE)
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with serving(tmp_path, fast_path=path) as (running, _), RawSender(running.port, timeout=8) as sender:
            for start in range(0, len(wire), 50_000):
                sender.socket.sendall(wire[start : start + 50_000])
                time.sleep(0.1)
                for thread in threading.enumerate():
                    signal.pthread_kill(thread.ident, signal.SIGUSR1)
            assert sender.status() == 0
            sender.release()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(files(tmp_path)) == 1


def test_an_association_that_falls_silent_is_ended_by_the_idle_timer(tmp_path):
    with serving(tmp_path, idle_timeout=0.5) as (running, _), RawSender(running.port, timeout=8) as sender:
        assert sender.read_pdu()[0] == 7


def test_an_object_that_takes_longer_than_the_idle_time_is_not_idle(tmp_path):
    instance = fresh_uid()
    wire = store_stream(encoded_dx(instance, 200_000), instance, DX, 16_384)
    with serving(tmp_path, idle_timeout=0.5) as (running, _), RawSender(running.port, timeout=8) as sender:
        for start in range(0, len(wire), 16_384):
            sender.socket.sendall(wire[start : start + 16_384])
            time.sleep(0.1)
        assert sender.status() == 0
        sender.release()


@pytest.mark.parametrize("path", PATHS)
def test_the_path_is_the_configured_one_and_stock_offers_smaller_pdus(tmp_path, path):
    with serving(tmp_path, fast_path=path) as (running, _), RawSender(running.port) as sender:
        assert sender.max_pdu == (1 << 20 if path == "auto" else 131_072)
        kinds = {type(t) for t in threading.enumerate() if isinstance(t, DULServiceProvider)}
        assert (kinds == {DULServiceProvider}) == (path == "off")
        sender.release()


@pytest.mark.parametrize("name", ["_is_transport_event", "_read_pdu_data", "kill_dul"])
def test_another_pynetdicom_means_the_stock_path_and_a_warning(tmp_path, monkeypatch, capsys, name):
    """What the check sees when a release renames a private method; the class itself must go on working."""
    monkeypatch.setattr(
        transport_check,
        "CONTRACT",
        [(owner, one + "_" * (one == name), s) for owner, one, s in transport_check.CONTRACT],
    )
    instance = fresh_uid()
    with serving(tmp_path) as (running, _), RawSender(running.port) as sender:
        assert sender.max_pdu == 131_072
        assert sender.store(encoded_dx(instance), instance) == 0
        sender.release()
    assert "reception.fast_path_refused" in "".join(capsys.readouterr())  # logs go to stderr once a command has run


def test_the_contract_holds_for_the_installed_version_and_nothing_else_passes(tmp_path, monkeypatch):
    assert transport_check.differences() == []
    assert transport_check.failure(Spool(tmp_path)) == []
    assert files(tmp_path) == []
    monkeypatch.setattr(transport_check, "version", lambda _: "3.1.0")
    assert transport_check.differences() == ["this version of pynetdicom is not tested"]
    monkeypatch.undo()
    monkeypatch.delattr(DULServiceProvider, "_read_pdu_data")
    assert transport_check.differences() == ["DULServiceProvider._read_pdu_data"]
    monkeypatch.undo()
    monkeypatch.setattr(DULServiceProvider, "kill_dul", lambda _self, _now: None)
    assert transport_check.differences() == ["DULServiceProvider.kill_dul"]
    monkeypatch.undo()
    # AF_INET: a name in the code of the class, but of no attribute.
    changed = ((AssociationSocket, "socket gone AF_INET"), (P_DATA, "gone_too"))
    monkeypatch.setattr(transport_check, "ATTRIBUTES", changed)
    assert transport_check.differences() == ["AssociationSocket.gone", "AssociationSocket.AF_INET", "P_DATA.gone_too"]


def test_a_self_test_that_stores_other_bytes_refuses_the_fast_path(tmp_path, monkeypatch):
    write = Part.write
    monkeypatch.setattr(Part, "write", lambda self, data: write(self, bytes(data)[:-1]))
    assert transport_check.failure(Spool(tmp_path)) == ["self-test: the stored bytes differ from those sent"]


def test_a_self_test_in_a_spool_that_cannot_be_written_says_so(tmp_path):
    """Every receive path would fail alike: it is no matter of pynetdicom's."""
    spool = Spool(tmp_path / "spool")
    shutil.rmtree(tmp_path / "spool")
    (reason,) = transport_check.failure(spool)
    assert reason == "the spool cannot be written (No such file or directory), and every C-STORE is answered 0xA700"


def server_thread_count() -> int:
    return sum(any(mark in t.name for mark in SERVER_THREADS) for t in threading.enumerate())


def cpu_of_a_second(process):
    before = process.cpu_times()
    time.sleep(1.0)
    after = process.cpu_times()
    return after.user + after.system - before.user - before.system


def test_200_idle_associations_disturb_nobody_and_leave_nothing(tmp_path):
    process, threads = psutil.Process(), server_thread_count()
    limits = {"maximum_associations": 300, "maximum_associations_per_peer": 300}
    with serving(tmp_path, **limits) as (running, _):
        descriptors = process.num_fds()
        with contextlib.ExitStack() as idle:
            senders = [idle.enter_context(RawSender(running.port, calling=f"IDLE{n}")) for n in range(200)]
            for _ in range(5):
                instance = fresh_uid()
                with RawSender(running.port) as sender:
                    assert sender.store(encoded_dx(instance, 50_000), instance) == 0
                    sender.release()
            # What idle associations cost they cost always; what earlier tests left running in this process does not.
            assert min(cpu_of_a_second(process) for _ in range(5)) < 0.5, "half a core for doing nothing"
            for sender in senders:
                sender.release()
        await_true(lambda: server_thread_count() <= threads + 1)
        await_true(lambda: process.num_fds() <= descriptors + 2)


def test_more_than_1024_descriptors(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("may not open so many files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    opened = []
    try:
        with serving(tmp_path) as (running, _):
            opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
            instance = fresh_uid()
            with RawSender(running.port) as sender:
                assert sender.socket.fileno() > 1024
                assert sender.store(encoded_dx(instance, 100_000), instance) == 0
                sender.release()
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


RSS_PROGRAM = """
import sys, threading, time
from pathlib import Path
import psutil
from config.settings import Reception
from dicom_io.spool import Spool
from dicom_io.storage_scp import StorageScp
scp = StorageScp(Reception(port=0), Spool(Path(sys.argv[1])), lambda stored: None)
scp.start()
print("PORT", scp.port, flush=True)
peak = 0
while not sys.stdin.readline().startswith("stop"):
    print("RSS", psutil.Process().memory_info().rss, flush=True)
scp.stop()
"""


def test_a_100_mb_object_costs_less_than_30_mb(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", RSS_PROGRAM, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        port = next(int(line.split()[1]) for line in server.stdout if line.startswith("PORT"))
        instance = fresh_uid()
        peak = Path(f"/proc/{server.pid}/status")
        with RawSender(port) as sender:
            assert sender.store(encoded_dx(instance, 10_000), instance) == 0  # warm
            before = high_water(peak)
            instance = fresh_uid()
            assert sender.store(encoded_dx(instance, 100_000_000), instance) == 0
            grown = high_water(peak) - before
            sender.release()
        server.communicate("stop\n")
    assert server.returncode == 0
    assert grown < 30_000, f"{grown} kB"


def high_water(status: Path) -> int:
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
