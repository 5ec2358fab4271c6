"""DICOM over TLS as DCMTK and OpenSSL see it, and the files behind it."""

import datetime as dt
import errno
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support import certificates
from support.certificates import Pair
from support.dicom_objects import encode, radiograph_dataset
from support.reception import await_true, serving
from support.tools import require_tool

from config.settings import Peer, Reception, ReceptionTls, SettingsError
from dicom_io.admission import Drop
from dicom_io.certificate import CertificateUnreadable, validity
from dicom_io.received import StoredInstance
from dicom_io.spool import Spool
from dicom_io.storage_scp import StorageScp
from dicom_io.tls import TlsFiles, make_context, validity_in_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def site(folder: Path) -> Pair:
    return certificates.authority(folder, "site-ca")


@pytest.fixture(scope="module")
def node(folder: Path, site: Pair) -> Pair:
    return certificates.signed(folder, site, "node")


@pytest.fixture(scope="module")
def modality(folder: Path, site: Pair) -> Pair:
    return certificates.signed(folder, site, "modality")


def files(node: Pair, **more: object) -> ReceptionTls:
    return ReceptionTls(enabled=True, port=0, certificate=node.certificate, key=node.key, **more)


def dcmtk(tool: str, port: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a DCMTK sender against the TLS port."""
    command = [require_tool(tool), "-aec", "OSTEON", *map(str, arguments[:-1]), "127.0.0.1", str(port)]
    if arguments[-1:] != ("",):
        command.append(str(arguments[-1]))
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def s_client(port: int, *arguments: str) -> tuple[bool, str]:
    """Whether `openssl s_client` got a session, and what it said. Security level 0: it may offer what it likes."""
    command = [require_tool("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-brief", *arguments]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=60)
    said = done.stdout + done.stderr
    return "CONNECTION ESTABLISHED" in said, said


def test_dcmtk_echoes_and_stores_with_and_without_its_own_certificate(
    tmp_path: Path, site: Pair, node: Pair, modality: Pair
) -> None:
    image = tmp_path / "in.dcm"
    image.write_bytes(encode(radiograph_dataset()))
    seen: list[StoredInstance] = []
    trust = ["+cf", site.certificate]
    own = ["+tls", modality.key, modality.certificate]
    with serving(tmp_path / "one", seen.append, tls=files(node)) as (scp, memory):
        assert dcmtk("echoscu", scp.tls_port, "+tla", *trust, "").returncode == 0
        assert dcmtk("storescu", scp.tls_port, "+tla", *trust, image).returncode == 0
        assert dcmtk("echoscu", scp.port, "").returncode == 0
    assert memory.words == ["accepted"] * 3
    mutual = files(node, client_ca=site.certificate)
    with serving(tmp_path / "two", seen.append, tls=mutual, plain=False) as (scp, memory):
        assert dcmtk("storescu", scp.tls_port, *own, *trust, image).returncode == 0
        assert dcmtk("echoscu", scp.tls_port, "+tla", *trust, "").returncode != 0
        assert memory.await_word(Drop.TLS.value).address == "127.0.0.1"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", scp.port))
    assert len(seen) == 2


def test_old_protocols_weak_suites_and_strangers_are_refused(tmp_path: Path, folder: Path, node: Pair) -> None:
    with serving(tmp_path, tls=files(node)) as (scp, memory):
        port = scp.tls_port
        assert port is not None
        for good in (
            ["-tls1_3"],
            ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
            ["-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"],
        ):
            established, said = s_client(port, *good)
            assert established, said
        for bad in (
            ["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
            ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
            ["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"],
            ["-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0"],
            ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256:@SECLEVEL=0"],
            ["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0"],
        ):
            established, said = s_client(port, *bad)
            assert not established, said
        await_true(lambda: memory.words.count(Drop.TLS.value) == 6)
        for request, answer in ((b"R\n", "RENEGOTIATING"), (b"", "Compression: NONE")):
            command = [require_tool("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2"]
            done = subprocess.run(command, input=request, capture_output=True, check=False, timeout=60)
            said = (done.stdout + done.stderr).decode()
            assert answer in said
            assert (b"no renegotiation" in done.stderr) == bool(request)


def test_a_client_certificate_of_another_authority_is_refused(
    tmp_path: Path, folder: Path, site: Pair, node: Pair, modality: Pair
) -> None:
    elsewhere = certificates.authority(folder, "elsewhere-ca")
    stranger = certificates.signed(folder, elsewhere, "stranger")
    with serving(tmp_path, tls=files(node, client_ca=site.certificate)) as (scp, memory):
        assert dcmtk("echoscu", scp.tls_port, "+tls", stranger.key, stranger.certificate, "-ic", "").returncode != 0
        memory.await_word(Drop.TLS.value)
        assert dcmtk("echoscu", scp.tls_port, "+tls", modality.key, modality.certificate, "-ic", "").returncode == 0


def test_a_refusal_says_what_is_wrong_with_the_certificate(
    tmp_path: Path, folder: Path, site: Pair, node: Pair
) -> None:
    expired = certificates.signed(folder, site, "late", days=-1)
    stranger = certificates.signed(folder, certificates.authority(folder, "another-ca"), "nobody")
    with serving(tmp_path, tls=files(node, client_ca=site.certificate)) as (scp, memory), capture_logs() as logs:
        for pair in (expired, stranger):
            context = certificates.trusting(site)
            context.load_cert_chain(pair.certificate, pair.key)
            told = len(memory.entries)
            with socket.create_connection(("127.0.0.1", scp.tls_port), timeout=10) as plain:
                with suppress(OSError), context.wrap_socket(plain) as secured:
                    secured.recv(1)  # TLS 1.3 refuses a client's certificate after the client's handshake
                await_true(lambda told=told: len(memory.entries) > told)
    assert [one["reason"] for one in logs if one["event"] == "tls.refused"] == [
        "CERTIFICATE_VERIFY_FAILED: certificate has expired",
        "CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate",
    ]


def test_whatever_breaks_a_handshake_closes_its_connection(tmp_path: Path, node: Pair) -> None:
    with serving(tmp_path, tls=files(node)) as (scp, memory):
        scp._tls.handshake_timeout = 1e30  # an OverflowError: none of TLS
        with socket.create_connection(("127.0.0.1", scp.tls_port), timeout=10) as client:
            assert client.recv(10) == b""
        memory.await_word(Drop.TLS.value)
        await_true(lambda: not scp._tls._shaking)


def test_a_handshake_without_a_thread_to_be_had_holds_no_place(
    tmp_path: Path, site: Pair, node: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def none_left(thread: threading.Thread) -> None:
        if thread.name == "dicom-tls-handshake":
            raise RuntimeError
        start(thread)

    with serving(tmp_path, tls=files(node)) as (scp, memory):
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", none_left)
            with socket.create_connection(("127.0.0.1", scp.tls_port), timeout=10) as client:
                assert client.recv(10) == b""
        memory.await_word(Drop.FAILED.value)
        assert not scp._tls._shaking
        assert common_name(scp.tls_port, site) == "node"


def common_name(port: int, site: Pair) -> str:
    context = certificates.trusting(site)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain, context.wrap_socket(plain) as secured:
        subject = secured.getpeercert()["subject"]
    return dict(pair[0] for pair in subject)["commonName"]


def test_a_renewed_certificate_is_taken_over_and_a_broken_one_is_not(tmp_path: Path, folder: Path, site: Pair) -> None:
    renewed = certificates.signed(folder, site, "renewed")
    first = certificates.signed(tmp_path, site, "first")
    with serving(tmp_path / "spool", tls=files(first)) as (scp, _):
        assert common_name(scp.tls_port, site) == "first"
        with capture_logs() as logs:
            replace(renewed.certificate, first.certificate)
            assert common_name(scp.tls_port, site) == "first"  # the key is still the old one
            replace(renewed.key, first.key)
            assert common_name(scp.tls_port, site) == "renewed"
    tls = [one for one in logs if one["event"].startswith("tls.")]
    assert [one["event"] for one in tls] == ["tls.reload_failed", "tls.reloaded"]
    assert "reception.tls.key" in tls[0]["error"]
    assert tls[1]["days_left"] in (89, 90)


def test_a_certificate_that_is_not_valid_now_replaces_no_good_one(tmp_path: Path, site: Pair) -> None:
    first = certificates.signed(tmp_path, site, "first", days=20)
    good, now = first.certificate.read_bytes(), dt.datetime.now(dt.UTC)
    served, day = TlsFiles(files(first)), dt.timedelta(days=1)
    expired = certificates.redated(first, begins=now - 9 * day, ends=now - day).certificate.read_bytes()
    early = certificates.redated(first, begins=now + day, ends=now + 90 * day).certificate.read_bytes()
    for content, fact in ((expired, "has expired"), (early, "is not valid before")):
        before = served.context()
        first.certificate.write_bytes(content)
        assert served.context() is before
        assert (served.in_use().validity.days_left(now), served.in_use().validity.holds(now)) == (19, True)
        assert f"reception.tls.certificate: {first.certificate} {fact}" in served.in_use().refused
        first.certificate.write_bytes(good)
        assert served.in_use().refused == ""
    first.certificate.write_bytes(expired)
    late = TlsFiles(files(first))  # a start takes what there is: some senders look at no date
    assert late.in_use().validity.days_left(now) == -2
    first.certificate.write_bytes(early)
    assert late.in_use().validity.begins == (now + day).replace(microsecond=0)


def test_a_renewal_whose_time_comes_is_taken_over_without_a_change_of_its_file(tmp_path: Path, site: Pair) -> None:
    first = certificates.signed(tmp_path, site, "first")
    served, now = TlsFiles(files(first)), dt.datetime.now(dt.UTC)
    begins = now + dt.timedelta(seconds=3)
    soon = certificates.redated(first, begins=begins, ends=now + dt.timedelta(days=9))
    replace(soon.certificate, first.certificate)
    assert served.in_use().refused
    await_true(lambda: not served.in_use().refused)
    assert served.in_use().validity.days_left(now) == 8


def replace(source: Path, target: Path) -> None:
    """As a certificate tool renews: a new file under the old name."""
    fresh = target.with_suffix(".new")
    fresh.write_bytes(source.read_bytes())
    fresh.replace(target)


def test_a_hung_handshake_keeps_nobody_out_and_ends(tmp_path: Path, site: Pair, node: Pair) -> None:
    with ExitStack() as held, serving(tmp_path, tls=files(node), acse_timeout=2.0) as (scp, memory):
        address = ("127.0.0.1", scp.tls_port)
        silent = [held.enter_context(socket.create_connection(address, timeout=20)) for _ in range(5)]
        drip = held.enter_context(socket.create_connection(address, timeout=20))
        assert common_name(scp.tls_port, site) == "node"
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(80):
            try:
                drip.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.1)
        else:
            pytest.fail("a handshake of one byte every 0.1 s went on for 9 s, the deadline is 2 s")
        await_true(lambda: memory.words.count(Drop.TLS.value) == 6)
        assert [connection.recv(10) for connection in silent] == [b""] * 5


def test_hung_handshakes_of_a_stranger_keep_no_listed_sender_out(tmp_path: Path, site: Pair, node: Pair) -> None:
    peers = (Peer(ae_title="MODALITY", networks=("127.0.0.1/32",)),)
    with ExitStack() as held, serving(tmp_path, tls=files(node), peers=peers) as (scp, memory):
        address = ("127.0.0.1", scp.tls_port)
        for _ in range(110):
            held.enter_context(socket.create_connection(address, timeout=20, source_address=("127.0.0.9", 0)))
        await_true(lambda: memory.words.count(Drop.TOO_MANY.value) == 106)
        assert common_name(scp.tls_port, site) == "node"


def test_stopping_does_not_wait_for_a_handshake(tmp_path: Path, node: Pair) -> None:
    with serving(tmp_path, tls=files(node), acse_timeout=60.0) as (scp, _):
        silent = socket.create_connection(("127.0.0.1", scp.tls_port), timeout=20)
        await_true(lambda: bool(scp._tls._shaking))
    assert silent.recv(10) == b""
    silent.close()


def test_files_that_cannot_be_used_are_named(tmp_path: Path, node: Pair, modality: Pair) -> None:
    encrypted = tmp_path / "encrypted.key"
    command = ["openssl", "rsa", "-in", str(node.key), "-aes128", "-passout", "pass:secret", "-out", str(encrypted)]
    subprocess.run(command, check=True, capture_output=True)
    missing, cut, chain = (tmp_path / f"{name}.pem" for name in ("none", "cut", "chain"))
    whole = node.certificate.read_text()
    cut.write_text(whole[:-400])
    chain.write_text(whole + whole[:-400])
    for settings, key, fact in (
        (ReceptionTls(enabled=True), "certificate", "is missing"),
        (ReceptionTls(enabled=True, certificate=node.certificate), "key", "is missing"),
        (ReceptionTls(enabled=True, certificate=missing, key=node.key), "certificate", "cannot be read"),
        (ReceptionTls(enabled=True, certificate=node.certificate, key=modality.key), "key", "does not belong"),
        (ReceptionTls(enabled=True, certificate=node.key, key=node.key), "certificate", "holds no PEM certificate"),
        (ReceptionTls(enabled=True, certificate=node.certificate, key=encrypted), "key", "without a passphrase"),
        (ReceptionTls(enabled=True, certificate=cut, key=node.key), "certificate", "holds no PEM certificate"),
        (ReceptionTls(enabled=True, certificate=chain, key=node.key), "certificate", "holds no PEM certificate"),
        (files(node, client_ca=missing), "client_ca", "cannot be read"),
        (files(node, client_ca=node.key), "client_ca", "holds no PEM certificate"),
    ):
        with pytest.raises(SettingsError, match=f"^reception.tls.{key}: .*{fact}"):
            make_context(settings)


def test_a_tls_port_in_use_and_no_port_at_all_are_said(tmp_path: Path, node: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        tls = files(node).model_copy(update={"port": taken.getsockname()[1]})
        with (
            pytest.raises(SettingsError, match=r"^reception.tls.port: \d+ cannot be listened on"),
            serving(tmp_path, tls=tls),
        ):
            pass
    with pytest.raises(SettingsError, match=r"^reception.plain: "), serving(tmp_path, plain=False):
        pass


@pytest.mark.parametrize("same", [False, True])
def test_a_plain_port_in_use_ends_the_start_and_frees_the_tls_port(tmp_path: Path, node: Pair, *, same: bool) -> None:
    """The TLS server is there already and has accepted nobody: to close it must wait for nothing."""
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as other:
        free, busy = other.getsockname()[1], taken.getsockname()[1]
        other.close()
        tls = files(node).model_copy(update={"port": free})
        scp = StorageScp(Reception(port=free if same else busy, tls=tls), Spool(tmp_path), lambda _: None)
        failed: list[OSError] = []

        def start() -> None:
            try:
                scp.start()
            except OSError as error:
                failed.append(error)

        starting = threading.Thread(target=start, daemon=True)
        starting.start()
        starting.join(10)
        assert [error.errno for error in failed] == [errno.EADDRINUSE]
        socket.create_server(("127.0.0.1", free)).close()


def test_days_until_a_certificate_expires(tmp_path: Path, folder: Path, site: Pair, node: Pair) -> None:
    said = subprocess.run(
        ["openssl", "x509", "-enddate", "-noout", "-in", str(node.certificate)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    end = dt.datetime.strptime(said.strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=dt.UTC)
    assert validity(node.certificate.read_text()).ends == end
    assert validity_in_file(files(node)).begins < dt.datetime.now(dt.UTC) < end
    assert validity_in_file(files(node)).days_left(end - dt.timedelta(days=30, seconds=1)) == 30
    assert validity_in_file(files(node)).days_left(end + dt.timedelta(seconds=1)) == -1
    long = certificates.signed(folder, site, "long", days=20_000)  # beyond 2049: GeneralizedTime
    assert validity(long.certificate.read_text()).ends.year > 2075
    assert validity(node.certificate.read_text().replace("CERTIFICATE", "TRUSTED CERTIFICATE")).ends == end
    cut = "\n".join([*node.certificate.read_text().splitlines()[:9], "-----END CERTIFICATE-----"])
    for text in ("", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", cut):
        with pytest.raises(CertificateUnreadable):
            validity(text)
