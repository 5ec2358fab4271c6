"""DICOM over TLS as DCMTK and OpenSSL see it, and the files behind it."""

import datetime as dt
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support import certificates
from support.certificates import Pair
from support.dicom_objects import encode, radiograph_dataset
from support.reception import await_true, serving
from support.tools import require_tool

from config.settings import Peer, ReceptionTls, SettingsError
from dicom_io.admission import Drop
from dicom_io.certificate import CertificateUnreadable, expires_at
from dicom_io.received import StoredInstance
from dicom_io.tls import days_left, make_context


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
    missing = tmp_path / "none.pem"
    for settings, key, fact in (
        (ReceptionTls(enabled=True), "certificate", "is missing"),
        (ReceptionTls(enabled=True, certificate=node.certificate), "key", "is missing"),
        (ReceptionTls(enabled=True, certificate=missing, key=node.key), "certificate", "cannot be read"),
        (ReceptionTls(enabled=True, certificate=node.certificate, key=modality.key), "key", "does not belong"),
        (ReceptionTls(enabled=True, certificate=node.key, key=node.key), "certificate", "holds no PEM certificate"),
        (ReceptionTls(enabled=True, certificate=node.certificate, key=encrypted), "key", "without a passphrase"),
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


def test_days_until_a_certificate_expires(tmp_path: Path, folder: Path, site: Pair, node: Pair) -> None:
    said = subprocess.run(
        ["openssl", "x509", "-enddate", "-noout", "-in", str(node.certificate)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    end = dt.datetime.strptime(said.strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=dt.UTC)
    assert expires_at(node.certificate.read_text()) == end
    assert days_left(files(node), end - dt.timedelta(days=30, seconds=1)) == 30
    assert days_left(files(node), end + dt.timedelta(seconds=1)) == -1
    long = certificates.signed(folder, site, "long", days=20_000)  # beyond 2049: GeneralizedTime
    assert expires_at(long.certificate.read_text()).year > 2075
    for text in ("", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"):
        with pytest.raises(CertificateUnreadable):
            expires_at(text)
