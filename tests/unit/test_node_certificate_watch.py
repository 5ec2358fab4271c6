"""The alert about TLS certificates: it tells of the one that clients are shown, whatever lies in the file."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support import certificates
from support.certificates import Pair

from config.settings import ReceptionTls, parse
from dicom_io.tls import TlsFiles
from node.certificate_watch import CertificateWatch
from node.listener import Listener
from node.store import alerts
from node.store.engine import Ledger, open_ledger

DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return certificates.authority(tmp_path_factory.mktemp("authority"), "site-ca")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(tmp_path / "ledger.db")
    yield opened
    opened.close()


def watch(pair: Pair, ledger: Ledger) -> CertificateWatch:
    files = TlsFiles(ReceptionTls(enabled=True, port=0, certificate=pair.certificate, key=pair.key))
    return CertificateWatch("reception.tls", files, ledger)


def told(ledger: Ledger) -> str:
    """What the open alert says; empty where there is none."""
    with ledger.read() as c:
        found = alerts.find(c)
    assert {(one.kind, one.subject) for one in found} <= {("CERTIFICATE", "reception.tls")}
    return found[0].detail if found else ""


def reminded(one: CertificateWatch) -> list[str]:
    with capture_logs() as logs:
        one.remind()
    return [line["event"] for line in logs]


def test_half_a_renewal_hides_no_expiry(tmp_path: Path, site: Pair, ledger: Ledger) -> None:
    """The new certificate was written and its key forgotten: the one in use has as many days as before."""
    pair = certificates.signed(tmp_path, site, "node", days=3)
    fresh = certificates.signed(tmp_path, site, "fresh", days=3326)
    one = watch(pair, ledger)
    pair.certificate.write_bytes(fresh.certificate.read_bytes())
    for _ in range(2):
        one.look()
        assert told(ledger).startswith("in use: 2 days left; its renewal is refused: reception.tls.key: ")
        assert reminded(one) == ["certificate.renewal_refused", "certificate.expires"]
        assert one.remind() == 2
    pair.key.write_bytes(fresh.key.read_bytes())
    one.look()
    assert told(ledger) == ""
    assert reminded(one) == []
    assert one.remind() == 3325


@pytest.mark.parametrize(
    ("begins", "ends", "words", "events"),
    [
        (-9, 9, "", ["certificate.expires"]),
        (-9, 7.5, "in use: 7 days left", ["certificate.expires"]),
        (-9, -1, "in use: expired on ", ["certificate.expired"]),
        (1, 90, "in use: not valid before ", ["certificate.not_yet_valid"]),
        (-9, 90, "", []),
    ],
)
def test_a_person_is_told_of_a_certificate_that_must_be_renewed(
    tmp_path: Path, site: Pair, ledger: Ledger, begins: float, ends: float, words: str, events: list[str]
) -> None:
    now, pair = dt.datetime.now(dt.UTC), certificates.signed(tmp_path, site, "node")
    one = watch(certificates.redated(pair, begins=now + begins * DAY, ends=now + ends * DAY), ledger)
    one.look()
    assert told(ledger).startswith(words)
    assert bool(told(ledger)) == bool(words)
    assert reminded(one) == events


def test_a_listener_watches_and_settles_what_is_over(tmp_path: Path, site: Pair, ledger: Ledger) -> None:
    pair = certificates.signed(tmp_path, site, "node", days=3)
    tls = {"enabled": True, "port": 0, "certificate": pair.certificate, "key": pair.key}
    tables = {"storage": {"data_dir": tmp_path}, "clinical": {"mllp": {"enabled": False}}}
    for table, words in ((tls, "in use: 2 days left"), ({}, "")):
        listener = Listener(parse({**tables, "reception": {"port": 0, "tls": table}}, origin="test"))
        for one in listener._certificates:
            one.look()
        assert told(ledger) == words
        listener._lock.close()
        listener._inbox.close()
        listener._ledger.close()
