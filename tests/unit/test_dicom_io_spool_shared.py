"""The spool that several hosts share, in a mounted folder and in a bucket of a real S3-compatible server.

Two spools over one storage are two hosts: each with a cache and temporary files of its own.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.s3_server import S3Server, s3_server

from dicom_io import spool as spool_module
from dicom_io.content_digest import digest_of
from dicom_io.errors import SpoolUnavailable
from dicom_io.spool import Spool, Spooled
from dicom_io.spool_bucket import Bucket, BucketShelf
from dicom_io.spool_cache import SpoolCache
from dicom_io.spool_folder import SharedFolder

CREDENTIALS = {"key": "test", "secret": "test"}
UIDS = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1", "transfer_syntax_uid": "1.2.840.10008.1.2.1"}


@dataclass(slots=True, kw_only=True)
class Storage:
    """What the hosts share, and how to be one of them."""

    open: Callable[[str], Spool]
    damage: Callable[[str], object]
    unmount: Callable[[], None]
    """What the hosts are given is something else, and empty."""
    hosts: dict[str, Spool] = field(default_factory=dict)

    def host(self, name: str) -> Spool:
        if name not in self.hosts:
            self.hosts[name] = self.open(name)
        return self.hosts[name]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    made = _folder(tmp_path) if request.param == "folder" else _bucket(tmp_path, request.getfixturevalue("server"))
    made.host("one").write_marker("ours")
    return made


def _folder(place: Path) -> Storage:
    mounted = place / "mounted"
    mounted.mkdir()

    def unmount() -> None:
        mounted.rename(place / "elsewhere")
        mounted.mkdir()

    return Storage(
        open=lambda name: Spool(SharedFolder(mounted, own=name, cache=SpoolCache(place / name / "cache", 10**9))),
        damage=lambda file: (mounted / file).write_bytes(b"damaged"),
        unmount=unmount,
    )


def _bucket(place: Path, server: S3Server, name: str = "") -> Storage:
    if not name:
        name = f"spool-{time.monotonic_ns()}"
        server.make_bucket(name)
    where = {"name": name, "prefix": "osteon/images"}

    def open_one(host: str) -> Spool:
        bucket = Bucket(**where, endpoint=server.endpoint, credentials=CREDENTIALS)
        return Spool(BucketShelf(bucket, place / host, SpoolCache(place / host / "cache", 10**9)))

    return Storage(
        open=open_one,
        damage=lambda file: server.replace(f"{name}/osteon/images/{file}", b"damaged"),
        unmount=lambda: where.update(prefix="other"),
    )


def store(spool: Spool, dataset: bytes, instance: str = "1.2.3.4") -> Spooled:
    return spool.store(**UIDS, sop_instance_uid=instance, dataset=dataset)


def test_what_one_host_stored_another_reads_from_its_own_disk_digest_checked(storage: Storage) -> None:
    one, other = storage.host("one"), storage.host("other")
    stored = store(one, b"x" * 300_000)
    copy = other.path(stored.file)
    assert digest_of(copy.read_bytes()) == stored.digest
    assert "other" in copy.parts
    assert (other.holds(stored.file), other.size(stored.file)) == (True, stored.size)
    assert other.intact(stored.file, stored.digest)
    assert store(other, b"x" * 300_000) == stored, "the same bytes over another router are the same file"
    other.remove(stored.file)
    other.remove(stored.file)
    assert not one.holds(stored.file)
    assert not other.path(stored.file).exists()


def test_a_copy_of_what_another_host_deleted_goes_once_it_is_not_asked_for_any_more(storage: Storage) -> None:
    one, other = storage.host("one"), storage.host("other")
    stored = store(one, b"x" * 1000)
    copy = other.path(stored.file)
    one.remove(stored.file)
    now = dt.datetime.now(dt.UTC)
    other.forget_copies(now)
    assert copy.exists(), "somebody may just be reading it"
    day_ago = time.time() - 86_400
    os.utime(copy, (day_ago, day_ago))
    other.forget_copies(now - dt.timedelta(days=2))
    assert copy.exists()
    other.forget_copies(now - dt.timedelta(hours=1))
    assert not copy.exists()


def test_damage_in_the_storage_is_no_image(storage: Storage) -> None:
    stored = store(storage.host("one"), b"x" * 1000)
    storage.damage(stored.file)
    other = storage.host("other")
    assert not other.path(stored.file).exists(), "a copy is taken only if it is what its name promises"
    assert not other.intact(stored.file, stored.digest)
    store(other, b"x" * 1000)
    assert storage.host("one").intact(stored.file, stored.digest), "a re-send mends it"


def test_no_listener_adopts_what_another_is_about_to_record(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = storage.host("one"), storage.host("other")
    with one.storing(**UIDS, sop_instance_uid="1.2.3", dataset=b"x") as stored:
        assert list(other.orphans([])) == []
    monkeypatch.setattr(spool_module, "SETTLED_AFTER", -dt.timedelta(minutes=1))
    assert list(other.orphans([])) == [stored.file], "once nobody can be recording it any more"
    assert list(other.orphans([stored.file])) == []


def test_no_listener_sweeps_what_arrives_at_another(storage: Storage) -> None:
    one, other = storage.host("one"), storage.host("other")
    arriving = one.begin("1.2.3", "1.2.3.4", "1.2.840.10008.1.2.1")
    arriving.write(b"half")
    assert other.sweep() == other.sweep_abandoned() == 0
    arriving.write(b" and half")
    with one.adopting(arriving, "1.2.3.4") as stored:
        pass
    assert other.path(stored.file).read_bytes().endswith(b"half and half")
    left = one.begin("1.2.3", "1.2.3.5", "1.2.840.10008.1.2.1")
    assert one.sweep() == 1, "its own, after a crash"
    assert not left.path.exists()


def test_what_a_host_that_is_gone_left_is_swept_after_a_day(tmp_path: Path) -> None:
    storage = _folder(tmp_path)
    storage.host("one").write_marker("ours")
    left = storage.host("one").begin("1.2.3", "1.2.3.4", "1.2.840.10008.1.2.1")
    yesterday = time.time() - 90_000
    os.utime(left.path, (yesterday, yesterday))
    assert storage.host("other").sweep_abandoned() == 1


def test_a_failed_record_takes_nothing_from_another_listener(storage: Storage) -> None:
    one, other = storage.host("one"), storage.host("other")
    with contextlib.ExitStack() as recording:
        stored = recording.enter_context(one.storing(**UIDS, sop_instance_uid="1.2.3", dataset=b"x"))
        assert store(other, b"x", "1.2.3") == stored, "acknowledged there meanwhile"
        recording.pop_all().__exit__(RuntimeError, RuntimeError(), None)
    assert other.holds(stored.file)


def test_an_empty_mount_point_or_bucket_is_not_taken_for_the_spool(storage: Storage, tmp_path: Path) -> None:
    stored = store(storage.host("one"), b"x")
    storage.unmount()
    host = storage.host("third")
    assert host.marker() is None
    with pytest.raises(SpoolUnavailable):
        host.path(stored.file)
    host.refuse("not proved")  # as the node does without the marker
    with pytest.raises(SpoolUnavailable, match="not proved"):
        store(host, b"y")
    if (tmp_path / "mounted").exists():
        host.refuse("")
        with pytest.raises(SpoolUnavailable):
            store(host, b"y")
        assert list((tmp_path / "mounted").iterdir()) == [], "nothing lands on the disk under a mount that is gone"


def test_quarantine_is_shared_and_listed_with_its_age(storage: Storage) -> None:
    file = storage.host("one").quarantine(b"nonsense")
    (found,) = storage.host("other").quarantined()
    assert (found.file, found.size) == (file, 8)
    assert abs(dt.datetime.now(dt.UTC) - found.at) < dt.timedelta(minutes=1)
    assert list(storage.host("other").orphans([])) == []


def test_a_file_gets_the_name_that_the_ledger_knows(storage: Storage) -> None:
    stored = store(storage.host("one"), b"x")
    storage.host("one").rename(stored.file, "00/1.2.3.4-0000000000000000.dcm")
    assert storage.host("other").holds("00/1.2.3.4-0000000000000000.dcm")
    assert not storage.host("other").holds(stored.file)


def test_bytes_that_the_disk_changed_before_the_put_are_not_published(tmp_path: Path, server: S3Server) -> None:
    storage = _bucket(tmp_path, server)
    spool = storage.host("one")
    part = spool.begin("1.2.3", "1.2.3.4", "1.2.840.10008.1.2.1")
    part.write(b"received")
    part.dataset().close()  # the SCP reads the header, so that all is in the file
    part.path.write_bytes(part.path.read_bytes().replace(b"received", b"rotten!!"))
    with pytest.raises(SpoolUnavailable, match="does not give back"), spool.adopting(part, "1.2.3.4"):
        pytest.fail("nothing may be recorded")
    assert list(spool.orphans([])) == []


def test_a_server_that_is_away_means_unavailable_and_copies_stay_readable(tmp_path: Path, server: S3Server) -> None:
    stored = store(_bucket(tmp_path, server).host("one"), b"x")
    spool = _bucket(tmp_path, S3Server(port=1), name="nobody-listens-there").host("one")
    for ask in (lambda: store(spool, b"y"), lambda: spool.path("00/none.dcm"), lambda: list(spool.orphans([]))):
        with pytest.raises(SpoolUnavailable):
            ask()
    assert spool.path(stored.file).is_file()


def test_the_cache_stays_within_its_bound_and_keeps_what_is_in_use(tmp_path: Path) -> None:
    cache = SpoolCache(tmp_path / "cache", 2500)
    long_ago = time.time() - 3600
    for number in range(5):
        source = tmp_path / "source"
        source.write_bytes(bytes(1000))
        cache.put(source, f"00/{number}.dcm")
        os.utime(cache.path(f"00/{number}.dcm"), (long_ago + number, long_ago + number))
    assert cache.use("00/0.dcm"), "asked for now"
    cache.trim()
    assert sorted(path.name for path in (tmp_path / "cache/00").iterdir()) == ["0.dcm", "4.dcm"]
    assert not cache.use("00/1.dcm")
