"""A spool that hosts share: whose it is, what waits while it is away, what two hosts do at once."""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.dicom_objects import encode, radiograph_dataset
from support.postgres import Cluster
from support.reception import files
from support.s3_server import S3Server, credentials_file, s3_server

from config.settings import Delivery, Destination, Reception, Settings, SettingsError, parse
from dicom_io.errors import PeerUnavailable, SpoolUnavailable
from dicom_io.received import StoredInstance
from dicom_io.spool import Spool
from dicom_io.storage_scp import StorageScp
from dicom_io.storage_scu import OutgoingObject, send
from model.domain import Reason
from node.audit import AuditTrail
from node.case import NotApplicable
from node.data_directory import own_name
from node.disk_watch import DiskWatch
from node.errors import Retry
from node.registrar import Registrar
from node.retention import Keeper
from node.shared_spool import CopiesWatch, SpoolWatch, open_spool, prove_spool, with_image, with_spool
from node.store import alerts, cases, jobs
from node.store.alerts import AlertKind
from node.store.engine import Ledger, open_ledger
from node.store.errors import LedgerUnavailable
from node.tasks import INFER_LANE

POSTGRESQL = "postgresql+psycopg://node@db.example/osteon"
AWAY = S3Server(port=1)
"""Nobody listens there."""
NOW = dt.datetime.now(dt.UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running_server:
        running_server.make_bucket("hospital")
        yield running_server


def settings(folder: Path, **fleet: object) -> Settings:
    storage = {"data_dir": folder, "database_url": POSTGRESQL}
    return parse({"storage": storage, "fleet": fleet}, origin="test")


@pytest.fixture
def ledger(tmp_path: Path, migrated_file: Path) -> Iterator[Ledger]:
    """One on SQLite: what is asked of it here is the same on both."""
    path = tmp_path / "ledger.db"
    path.write_bytes(migrated_file.read_bytes())
    opened = open_ledger(path)
    yield opened
    opened.close()


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    folder = tmp_path / "mounted"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"fleet": {"spool": "/mnt/osteon"}}, "FLEET-SQLITE: fleet.spool"),
        ({"fleet": {"hints": "celery", "broker": "amqp://h/"}}, "FLEET-SQLITE: fleet.hints"),
        (
            {"fleet": {"spool": "s3://b"}, "storage": {"database_url": "sqlite:////tmp/ledger.db"}},
            "FLEET-SQLITE: fleet.spool",
        ),
        ({"fleet": {"spool": "osteon"}}, "FLEET-SPOOL: write an absolute path"),
        ({"fleet": {"spool": "s3://key:secret@bucket/x"}}, "FLEET-SPOOL: write an absolute path"),
        ({"fleet": {"hints": "celery"}, "storage": {"database_url": POSTGRESQL}}, "FLEET-BROKER"),
        (
            {"fleet": {"hints": "celery", "broker": "redis://:hush@h/"}, "storage": {"database_url": POSTGRESQL}},
            "FLEET-BROKER",
        ),
        (
            {
                "fleet": {"spool": "s3://b"},
                "storage": {"database_url": POSTGRESQL},
                "reception": {"maximum_object_mb": 6000},
            },
            "FLEET-SPOOL: a bucket takes objects of 5000 MB",
        ),
    ],
)
def test_fleet_settings_that_cannot_work_are_refused_with_a_code(tables: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(tables, origin="site.toml")
    assert says in str(refused.value)
    assert "hush" not in str(refused.value), "a password is not repeated"


@pytest.mark.parametrize(
    ("spool", "folder", "bucket"),
    [
        ("", None, None),
        ("/mnt/osteon", Path("/mnt/osteon"), None),
        ("file:///mnt/os%20teon", Path("/mnt/os teon"), None),
        ("s3://hospital", None, ("hospital", "")),
        ("s3://hospital/osteon/images/", None, ("hospital", "osteon/images")),
    ],
)
def test_where_a_spool_is(tmp_path: Path, spool: str, folder: Path | None, bucket: tuple[str, str] | None) -> None:
    fleet = settings(tmp_path, spool=spool).fleet
    assert (fleet.folder, fleet.bucket) == (folder, bucket)


def test_without_a_shared_spool_nothing_of_it_is_asked(tmp_path: Path, ledger: Ledger) -> None:
    spool = open_spool(Settings(storage={"data_dir": tmp_path}))
    prove_spool(spool, ledger)
    assert not spool.shared
    assert spool.marker() is None

    def handler(_: object) -> None: ...

    assert with_spool(handler, spool) is with_image(handler, spool, ledger) is handler


def test_a_spool_is_of_the_ledger_that_marked_it_and_of_no_other(ledger: Ledger, tmp_path: Path, mounted: Path) -> None:
    configured = settings(tmp_path / "one", spool=str(mounted))
    spool = open_spool(configured)
    prove_spool(spool, ledger)
    prove_spool(open_spool(settings(tmp_path / "two", spool=str(mounted))), ledger)
    marker = mounted / "osteon-spool"
    ours = marker.read_text()
    marker.write_text("somebody else")
    with pytest.raises(SettingsError, match=r"FLEET-SPOOL: fleet\.spool belongs to another node"):
        prove_spool(spool, ledger)
    marker.unlink()
    with pytest.raises(SettingsError, match=r"FLEET-SPOOL: fleet\.spool is empty, but this ledger has images"):
        prove_spool(spool, ledger)
    marker.write_text(ours)
    prove_spool(spool, ledger)


def test_one_alert_while_the_spool_is_away_and_it_is_used_again_by_itself(
    ledger: Ledger, tmp_path: Path, mounted: Path
) -> None:
    spool = open_spool(settings(tmp_path / "one", spool=str(mounted)))
    watch = SpoolWatch(spool, ledger)
    watch.look()
    away = mounted.rename(tmp_path / "away")
    for _ in range(2):
        watch.look()
    with ledger.read() as c:
        (alert,) = alerts.find(c)
    assert (alert.kind, alert.count) == (AlertKind.SPOOL_UNAVAILABLE, 1)
    with pytest.raises(SpoolUnavailable):
        spool.quarantine(b"x")
    away.rename(mounted)
    watch.look()
    with ledger.read() as c:
        assert alerts.find(c) == ()
    spool.quarantine(b"x")


def test_a_case_waits_while_its_image_cannot_be_fetched_and_nothing_counts_as_failure(
    ledger: Ledger, tmp_path: Path, server: S3Server
) -> None:
    spool = open_spool(s3_settings(tmp_path, server))
    prove_spool(spool, ledger)
    stored = received(spool, ledger, tmp_path)
    other = open_spool(s3_settings(tmp_path / "other", AWAY))
    with ledger.begin() as c:
        (task,) = jobs.claim(c, INFER_LANE, 1, owner="test", lease=60)
    done: list[Path] = []
    handler = with_image(lambda _: done.append(other.path(stored.spool_file)), other, ledger)
    with pytest.raises(Retry, match="does not answer"):
        handler(task)
    assert done == []
    here = open_spool(s3_settings(tmp_path / "here", server))
    with_image(lambda _: done.append(here.path(stored.spool_file)), here, ledger)(task)
    assert done[0].is_file()


def test_a_sender_keeps_its_image_while_the_bucket_is_away_and_nothing_is_left_behind(
    tmp_path: Path, server: S3Server
) -> None:
    seen: list[StoredInstance] = []
    with running(open_spool(s3_settings(tmp_path, AWAY)), seen.append) as scp:
        with pytest.raises(PeerUnavailable) as answer:
            send_film(scp)
        assert answer.value.status == 0xA700
    assert seen == []
    assert files(tmp_path / "spool") == []
    spool = open_spool(s3_settings(tmp_path, server, prefix="reception"))
    with running(spool, seen.append) as scp:
        send_film(scp)
    assert spool.holds(seen[0].spool_file)


def test_an_image_that_retention_of_another_host_deletes_as_it_comes_again_is_not_acknowledged(
    postgres_cluster: Cluster, tmp_path: Path, mounted: Path
) -> None:
    ledger = open_ledger(postgres_cluster.blank_ledger(lambda url: open_ledger(url).close()))
    configured = settings(tmp_path / "one", spool=str(mounted))
    one, two = open_spool(configured), open_spool(settings(tmp_path / "two", spool=str(mounted)))
    prove_spool(one, ledger)
    stored = received(one, ledger, tmp_path)
    with ledger.begin() as c:
        case = cases.load(c, 1)
        cases.save(c, NotApplicable(case_id=1, source=case.source, reasons=(Reason.MODALITY,)))
    far = NOW + dt.timedelta(days=4000)
    keeper = Keeper(ledger=ledger, spool=two, settings=configured, now=lambda: far)
    in_the_middle, go_on = threading.Event(), threading.Event()
    two.remove = _stopping(two.remove, in_the_middle, go_on)  # type: ignore[method-assign]
    purge = threading.Thread(target=keeper.purge)
    purge.start()
    assert in_the_middle.wait(30), "noted, deleted, and not committed yet"
    registrar = Registrar(ledger=ledger, spool=one, audit=AuditTrail(tmp_path / "audit"))
    outcome: list[Exception] = []
    again = threading.Thread(target=lambda: outcome.extend(_raised(lambda: registrar.record(stored))))
    again.start()
    again.join(0.5)
    assert again.is_alive(), "it waits for what retention does to the case"
    go_on.set()
    purge.join()
    again.join()
    ledger.close()
    assert [type(error) for error in outcome] == [SpoolUnavailable]


def test_each_host_lets_go_its_own_copies_after_the_period_of_images(
    ledger: Ledger, tmp_path: Path, mounted: Path
) -> None:
    configured = settings(tmp_path / "two", spool=str(mounted))
    one, two = open_spool(settings(tmp_path / "one", spool=str(mounted))), open_spool(configured)
    prove_spool(one, ledger)
    stored = received(one, ledger, tmp_path)
    copy = two.path(stored.spool_file)
    last_used = (NOW - dt.timedelta(days=6)).timestamp()
    os.utime(copy, (last_used, last_used))
    Keeper(ledger=ledger, spool=two, settings=configured, now=lambda: NOW).purge_files()
    assert copy.exists()
    Keeper(ledger=ledger, spool=two, settings=configured, now=lambda: NOW + dt.timedelta(days=2)).purge_files()
    assert not copy.exists()
    assert two.holds(stored.spool_file)


def _stopping(remove: Callable[[str], None], reached: threading.Event, go_on: threading.Event) -> Callable[[str], None]:
    def wrapped(file: str) -> None:
        remove(file)
        reached.set()
        go_on.wait(30)

    return wrapped


def _raised(call: Callable[[], object]) -> list[Exception]:
    try:
        call()
    except SpoolUnavailable as error:
        return [error]
    return []


def test_a_data_directory_keeps_its_name(tmp_path: Path) -> None:
    names = {own_name(tmp_path / "one") for _ in range(3)}
    assert len(names) == 1
    assert own_name(tmp_path / "two") not in names
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["node-name"]


def s3_settings(folder: Path, server: S3Server, *, prefix: str = "osteon") -> Settings:
    folder.mkdir(exist_ok=True)
    return settings(
        folder,
        spool=f"s3://hospital/{prefix}",
        spool_endpoint=server.endpoint,
        spool_credentials=credentials_file(folder),
    )


def received(spool: Spool, ledger: Ledger, folder: Path) -> StoredInstance:
    """An image that a listener acknowledged."""
    registrar = Registrar(ledger=ledger, spool=spool, audit=AuditTrail(folder / "audit"))
    seen: list[StoredInstance] = []

    def on_stored(stored: StoredInstance) -> None:
        registrar.record(stored)
        seen.append(stored)

    with running(spool, on_stored) as scp:
        send_film(scp)
    return seen[0]


@contextmanager
def running(spool: Spool, on_stored: Callable[[StoredInstance], None]) -> Iterator[StorageScp]:
    scp = StorageScp(Reception(port=0), spool, on_stored)
    scp.start()
    try:
        yield scp
    finally:
        scp.stop()


def send_film(scp: StorageScp) -> None:
    """Send one image. Raises PeerUnavailable where it is answered 0xA700."""
    dataset = radiograph_dataset()
    film = OutgoingObject(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        part10=encode(dataset),
    )
    send([film], Destination(name="node", ae_title="OSTEON", host="127.0.0.1", port=scp.port), Delivery())


@pytest.fixture
def filling(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[DiskWatch, list[float]]:
    """A watch over a spool whose file system is as full as the test says."""
    used, spool = [50.0], Spool(tmp_path / "spool")
    monkeypatch.setattr(spool, "used_percent", lambda: used[0])
    return DiskWatch(spool, Reception(), ledger), used


def test_one_alert_while_reception_lacks_disk_and_none_when_it_has_it_again(
    ledger: Ledger, filling: tuple[DiskWatch, list[float]]
) -> None:
    watch, used = filling
    seen = []
    for used[0] in (50.0, 85.0, 86.0, 96.0, 90.0, 84.0):
        watch.look()
        with ledger.read() as c:
            seen.append([(a.kind, a.subject, a.detail) for a in alerts.find(c)])
    low, full = "low, 85 % used", "full, 96 % used"
    kept = [("DISK_LOW", "reception", detail) for detail in (low, low, full, "low, 90 % used")]
    assert seen == [[], *([one] for one in kept), []]


def test_an_alert_that_cannot_be_written_is_written_at_a_later_look(
    ledger: Ledger, filling: tuple[DiskWatch, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, used = filling
    used[0] = 99.0

    def full(*_: object) -> None:
        raise LedgerUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "begin", full)
        watch.look()
    with ledger.read() as c:
        assert alerts.find(c) == ()
    watch.look()
    with ledger.read() as c:
        assert [a.kind for a in alerts.find(c)] == [AlertKind.DISK_LOW]


def test_shared_storage_that_is_away_is_no_full_disk(ledger: Ledger, tmp_path: Path, mounted: Path) -> None:
    spool = open_spool(settings(tmp_path / "one", spool=str(mounted)))
    mounted.rename(tmp_path / "away")
    DiskWatch(spool, Reception(), ledger).look()
    with ledger.read() as c:
        assert alerts.find(c) == ()


def test_a_worker_lets_go_of_its_hosts_copies_by_itself(
    mounted: Path, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = settings(tmp_path / "worker", spool=str(mounted))
    spool = open_spool(site)
    prove_spool(spool, ledger)
    kept = tmp_path / "worker" / "spool" / "cache" / "ab" / "abc.dcm"
    kept.parent.mkdir(parents=True)
    now, watch = time.monotonic(), CopiesWatch(spool, site)

    def copy(days: float) -> None:
        kept.write_bytes(b"x")
        at = time.time() - days * 86_400
        os.utime(kept, (at, at))

    copy(site.retention.images - 0.1)
    watch.look()
    assert kept.exists(), "asked for within the time that images are kept"
    copy(site.retention.images + 0.1)
    watch.look()
    assert kept.exists(), "once an hour is enough"
    monkeypatch.setattr(time, "monotonic", lambda: now + 3601)
    watch.look()
    assert not kept.exists()
