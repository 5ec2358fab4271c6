"""`osteon peers` and `osteon doctor`: from a typo at the sender to the line that mends it."""

import datetime as dt
import json
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support import certificates
from support.reception import RawAssociation

from config.settings import Reception, load, parse
from dicom_io.admission import Drop, Rejection, StoreFailure, judge
from node import doctor
from node.listener import Listener
from node.peer_advice import advise
from node.peer_views import show_peers
from node.store.peers import Contact

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def contact(outcome: str, *, calling: str = "PACS2", called: str = "OSTEON", address: str = "10.1.2.9") -> Contact:
    return Contact(
        calling_ae=calling, called_ae=called, address=address, outcome=outcome, count=3, first_at=NOON, last_at=NOON
    )


def reception(**table: object) -> Reception:
    return parse({"reception": table}, origin="test").reception


CT1 = {"ae_title": "CT1", "networks": ["10.0.0.0/24"]}


@pytest.mark.parametrize(
    ("settings", "trouble", "problem"),
    [
        ({"peers": [CT1]}, {}, 'calling AE "PACS2" from 10.1.2.9 is not in reception.peers'),
        ({"peers": [CT1]}, {"calling": "CT1"}, 'calling AE "CT1" came from 10.1.2.9, which is in none of 10.0.0.0/24'),
        ({}, {}, "10.1.2.9 is not this machine, and reception.peers is empty: only loopback is admitted"),
        ({}, {"address": "fd00::9"}, "fd00::9 is not this machine, and reception.peers is empty: only loopback is adm"),
    ],
)
def test_what_is_to_be_written_mends_it(settings, trouble, problem) -> None:
    before = reception(**settings)
    one = contact("", **trouble)
    asked = {"called": one.called_ae, "calling": one.calling_ae, "address": one.address}
    rejection = judge(before, **asked)
    assert rejection is not None
    advice = advise(contact(rejection.value.word, **trouble), before)
    assert advice.problem.startswith(problem)
    written = tomllib.loads(advice.toml)["reception"]
    peers = [*settings.get("peers", []), *written.pop("peers", [])]
    after = reception(**settings | written | {"peers": peers})
    assert judge(after, **asked) is None
    assert "mended" in advise(contact(rejection.value.word, **trouble), after).remedy


def test_one_probe_with_a_mistyped_title_prints_nothing_that_would_shut_out_the_others() -> None:
    advice = advise(contact("called_ae_not_recognised", called="WRONG"), reception(peers=[CT1]))
    assert advice.problem == 'called AE "WRONG" is not this node; the node is "OSTEON"'
    assert advice.remedy.startswith("set the called AE to OSTEON at the sender")
    assert "would shut out every sender" in advice.remedy
    assert not advice.toml


def test_what_no_configuration_mends_is_for_the_sender() -> None:
    padded = advise(contact("called_ae_not_recognised", called="OSTEON\\x00"), Reception())
    assert padded.problem == 'called AE "OSTEON\\x00" is not this node; the node is "OSTEON"'
    assert not padded.toml
    folded = advise(contact("called_ae_not_recognised", called="Osteon"), Reception())
    assert "upper and lower case" in folded.remedy
    typo = advise(contact("calling_ae_not_recognised", calling="CT-1"), reception(peers=[CT1]))
    assert 'it resembles "CT1"' in typo.remedy
    tab = advise(contact("calling_ae_not_recognised", calling="CT\\t1"), reception(peers=[CT1]))
    assert "correct it at the sender" in tab.remedy
    assert not tab.toml
    assert advise(contact("address_not_allowed", address="many"), Reception()).remedy.startswith("look for a port scan")


def test_tls_on_the_plain_port_is_pointed_to_the_other_one() -> None:
    one = contact(Drop.TLS_ON_PLAIN.value, calling="", called="")
    assert advise(one, Reception()).problem == "it spoke TLS to the plain port"
    assert "switch TLS off at the sender" in advise(one, Reception()).remedy
    with_tls = reception(tls={"enabled": True, "port": 2763, "certificate": "node.pem", "key": "node.key"})
    assert advise(one, with_tls).remedy == "point the sender to reception.tls.port (2763)"


def test_every_outcome_has_words_and_stands_in_the_operations_guide() -> None:
    guide = (Path(__file__).parents[2] / "deploy/docs/operate.md").read_text()
    words = [one.value.word for one in Rejection] + [one.value for one in (*Drop, *StoreFailure)]
    for word in words:
        assert advise(contact(word), reception(peers=[CT1])).problem != word
        assert f"`{word}`" in guide, word


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "node.toml"
    file.write_text(f"""
        [storage]
        data_dir = "{tmp_path / "node"}"
        [reception]
        port = 0
        [clinical.mllp]
        port = 0
        """)
    return file


def test_a_running_node_shows_who_was_refused(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = load(config)
    listener = Listener(settings)
    listener.start()
    try:
        assert RawAssociation(listener._scp, called=b"OSTEO", calling=b"DX1").rejection == (1, 1, 7)
        RawAssociation(listener._scp, calling=b"DX1").release()
        listener._contacts.flush()
        capsys.readouterr()
        show_peers(settings, trouble=False, as_json=True)
        refused, served = sorted(json.loads(capsys.readouterr().out), key=lambda one: one["accepted"])
    finally:
        listener.stop()
    assert (served["calling_ae"], served["accepted"], served["trouble"]) == ("DX1", 1, [])
    assert refused["trouble"][0]["outcome"] == "called_ae_not_recognised"
    assert refused["trouble"][0]["remedy"].startswith("set the called AE to OSTEON at the sender")
    assert refused["trouble"][0]["toml"] == ""
    show_peers(settings, trouble=True, as_json=False)
    text = capsys.readouterr().out
    assert "DX1 -> OSTEO from 127.0.0.1: accepted 0x" in text
    assert "-> set the called AE to OSTEON at the sender" in text
    assert "ae_title =" not in text
    assert "DX1 -> OSTEON" not in text
    audit = "".join(path.read_text() for path in (tmp_path / "node/audit").iterdir())
    assert [json.loads(line)["outcome"] for line in audit.splitlines()] == ["called_ae_not_recognised", "accepted"]


def findings(**table: object) -> dict[str, str]:
    """What of doctor's findings -> mark and remedy, without the bundle, which takes torch."""
    return {one.what: f"{one.mark.value} {one.remedy}".strip() for one in doctor.examine(parse(table, origin="test"))}


@pytest.fixture(autouse=True)
def no_bundle(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "bundle" not in request.node.name:
        monkeypatch.setattr(doctor, "_bundle", lambda _: doctor.Finding(mark=doctor.Mark.OK, what="bundle"))


def starting(found: dict[str, str], words: str) -> str:
    (answer,) = [f"{mark} {what}" for what, mark in found.items() if what.startswith(words)]
    return answer


def test_doctor_on_a_new_machine_finds_nothing_that_fails(tmp_path: Path) -> None:
    found = findings(storage={"data_dir": tmp_path / "new"}, reception={"port": 0})
    assert not [what for what, mark in found.items() if mark.startswith("fail")]
    assert not (tmp_path / "new").exists()
    assert "warn" in starting(found, "reception.peers is empty")
    assert "ok" in starting(found, "no ledger yet")


def test_doctor_names_a_taken_port_a_full_disk_and_a_deaf_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        peers = [{"ae_title": "CT1", "networks": ["10.0.0.0/8"]}]
        table = {"port": port, "peers": peers, "reject_at_percent": 0.0001}
        found = findings(storage={"data_dir": tmp_path}, reception=table)
    assert starting(found, f"reception.port {port}").startswith("fail stop the other program")
    assert starting(found, "its file system").startswith("fail free space")
    assert starting(found, "reception.peers names senders elsewhere").startswith("fail")


def test_doctor_knows_a_running_node_and_its_rejections(config: Path) -> None:
    table = tomllib.loads(config.read_text())
    listener = Listener(load(config))
    listener.start()
    try:
        assert RawAssociation(listener._scp, called=b"OSTEO", calling=b"DX1").rejection == (1, 1, 7)
        listener._contacts.flush()
        port = listener.dicom_port
        found = findings(**table | {"reception": {"port": port}})
    finally:
        listener.stop()
    assert starting(found, "a node is running").startswith("ok")
    assert starting(found, f"reception.port {port}").startswith("ok")
    told = starting(found, "called_ae_not_recognised 1x")
    assert told.startswith("warn set the called AE to OSTEON at the sender")
    assert "ae_title =" not in told


def test_doctor_reads_the_certificate(tmp_path: Path) -> None:
    ca = certificates.authority(tmp_path)
    for days, mark in ((90, "ok"), (20, "warn"), (3, "warn")):
        pair = certificates.signed(tmp_path, ca, f"node{days}", days=days)
        tls = {"enabled": True, "port": 0, "certificate": pair.certificate, "key": pair.key}
        found = findings(storage={"data_dir": tmp_path}, reception={"port": 0, "tls": tls})
        assert starting(found, "the TLS certificate has").startswith(mark)
        wrong = tls | {"key": ca.key}
        found = findings(storage={"data_dir": tmp_path}, reception={"port": 0, "tls": wrong})
        assert starting(found, "reception.tls.key").startswith("fail give the key the certificate was made for")


def test_doctor_reports_a_ledger_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database at all, but long enough to be read as one" * 20)
    found = findings(storage={"data_dir": tmp_path}, reception={"port": 0})
    assert starting(found, "the ledger file is no SQLite database").startswith("fail")


def test_the_command_ends_with_1_if_something_fails_and_checks_the_bundle(config: Path, tmp_path: Path) -> None:
    empty = tmp_path / "bundle"
    empty.mkdir()
    config.write_text(config.read_text() + f'\n[model]\nbundle = "{empty}"\n')
    command = [sys.executable, "-c", "from node.entry import main; main()", "doctor", "-c", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 1, done.stderr
    assert "fail model bundle: " in done.stdout
    assert done.stdout.count("\nfail ") == 1


def test_doctor_says_that_no_port_is_listened_on(tmp_path: Path) -> None:
    found = findings(storage={"data_dir": tmp_path}, reception={"plain": False})
    assert starting(found, "reception.plain and reception.tls.enabled are both off").startswith("fail")
