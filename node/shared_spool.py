"""The spool of this node: in its own data directory, or on storage that several hosts share.

A shared spool carries a marker with the identity of the ledger it belongs to, and the ledger knows that it was set. So
an unmounted folder, an empty bucket or another site's is refused at the start instead of being filled, and what is
missing in it is never taken for a lost image.
"""

from __future__ import annotations

import configparser
import datetime as dt
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import structlog

from config.settings import Settings, SettingsError
from dicom_io.errors import SpoolUnavailable
from dicom_io.spool import Spool
from dicom_io.spool_bucket import Bucket, BucketShelf
from dicom_io.spool_cache import SpoolCache
from dicom_io.spool_folder import SharedFolder
from node import places
from node.data_directory import own_name
from node.errors import Retry
from node.store import alerts, cases, installation
from node.store.alerts import AlertKind
from node.store.engine import Ledger
from node.store.jobs import Task

PAUSE_SECONDS: Final = 10.0
"""Until work that needs the shared spool is tried again while that does not answer."""
_HOUR: Final = 3600.0
_MEGABYTE: Final = 1_000_000

log = structlog.get_logger()

Done = TypeVar("Done")


def open_spool(settings: Settings) -> Spool:
    """The spool the settings name. Nothing is asked of shared storage yet.

    Raises:
        SettingsError: FLEET-EXTRA or FLEET-SPOOL: what it takes is not here.

    """
    fleet, data = settings.fleet, settings.storage.data_dir
    if not fleet.spool:
        return Spool(places.spool_directory(settings))
    local = places.spool_directory(settings)
    cache = SpoolCache(local / "cache", fleet.spool_cache_mb * _MEGABYTE)
    if fleet.folder is not None:
        return Spool(SharedFolder(fleet.folder, own=own_name(data), cache=cache))
    assert fleet.bucket is not None  # noqa: S101 - the settings allow a folder or a bucket
    name, prefix = fleet.bucket
    secret = _credentials(fleet.spool_credentials)
    bucket = Bucket(name=name, prefix=prefix, endpoint=fleet.spool_endpoint, credentials=secret)
    try:
        return Spool(BucketShelf(bucket, local, cache))
    except ImportError as error:
        msg = f"FLEET-EXTRA: fleet.spool names a bucket; install the extra `fleet` for {error.name} (install.md)"
        raise SettingsError(msg) from error


def prove_spool(spool: Spool, ledger: Ledger) -> None:
    """Make sure a shared spool is the one of this ledger; the first process of all makes it so.

    While it does not answer it is refused to everybody, until a later call succeeds; the node starts all the same.

    Raises:
        SettingsError: FLEET-SPOOL: it is another's, or empty although this ledger has used one.

    """
    if not spool.shared:
        return
    try:
        _compare(spool, ledger)
    except SpoolUnavailable as error:
        spool.refuse(str(error))
        log.error("spool.unavailable", error=str(error))  # noqa: TRY400 - the sentence says it all
    else:
        spool.refuse("")


def with_spool(handler: Callable[[Task], Done], spool: Spool) -> Callable[[Task], Done]:
    """`handler`, whose work waits while the shared spool does not answer: no failure, whatever the time it takes."""

    def work(task: Task) -> Done:
        try:
            return handler(task)
        except SpoolUnavailable as error:
            raise Retry(PAUSE_SECONDS, str(error)) from error

    return work if spool.shared else handler


def with_image(handler: Callable[[Task], Done], spool: Spool, ledger: Ledger) -> Callable[[Task], Done]:
    """`handler` of a case's task, with the case's image on this host before it begins.

    Shared storage that hangs must not use up the time that an image may cost a worker.
    """

    def work(task: Task) -> Done:
        if spool.refused:
            prove_spool(spool, ledger)
        with ledger.read() as c:
            file = cases.load(c, int(task.key)).source.spool_file
        spool.path(file)
        return handler(task)

    return with_spool(work, spool) if spool.shared else handler


class CopiesWatch:
    """Lets go, hourly, the copies on this host of images nobody here has asked for as long as images are kept.

    Each worker looks: on its host there may be no listener whose retention would do it.
    """

    def __init__(self, spool: Spool, settings: Settings) -> None:
        self._spool = spool
        self._kept = dt.timedelta(days=settings.retention.images)
        self._due = time.monotonic()

    def look(self) -> None:
        """Do it if the hour is over; what cannot be deleted is tried again an hour later."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _HOUR
        try:
            self._spool.forget_copies(dt.datetime.now(dt.UTC) - self._kept)
        except OSError as error:
            log.warning("spool.copies_not_deleted", error=str(error))


class SpoolWatch:
    """Looks, by the listener's clock, whether the shared spool answers and is ours; one alert while it is not."""

    def __init__(self, spool: Spool, ledger: Ledger) -> None:
        self._spool = spool
        self._ledger = ledger
        self._subject = f"spool at {socket.gethostname()[:60]}"
        self._away: bool | None = None

    def look(self) -> None:
        """Compare, and tell of a change."""
        error = ""
        try:
            _compare(self._spool, self._ledger)
        except SpoolUnavailable as away:
            error = str(away)  # each use of it finds out by itself, also that it is back
        except SettingsError as wrong:
            error = str(wrong)
            self._spool.refuse(error)
        else:
            self._spool.refuse("")
        if bool(error) == self._away:
            return
        with self._ledger.begin() as c:
            alerts.keep(c, AlertKind.SPOOL_UNAVAILABLE, self._subject, error)
        (log.error if error else log.info)("spool.watched", answers=not error, error=error)
        self._away = bool(error)


def _compare(spool: Spool, ledger: Ledger) -> None:
    """Compare the marker with the ledger, or set it. Raises SettingsError, SpoolUnavailable."""
    with ledger.begin() as c:
        namespace, _ = installation.installation_identity(c)
        first = installation.mark_spool(c)  # its row lock makes two first processes take turns
        found = spool.marker()
        if found is None and first:
            spool.write_marker(str(namespace))
        elif found is None:
            msg = (
                "FLEET-SPOOL: fleet.spool is empty, but this ledger has images in a shared spool: mount it, correct "
                "the setting, or copy the old spool's content there with its file osteon-spool"
            )
            raise SettingsError(msg)
        elif found != str(namespace):
            msg = "FLEET-SPOOL: fleet.spool belongs to another node (its file osteon-spool); give this one its own"
            raise SettingsError(msg)


def _credentials(file: Path | None) -> Mapping[str, str] | None:
    if file is None:
        return None
    parser = configparser.ConfigParser()
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
        section = parser["default"]
        return {"key": section["aws_access_key_id"], "secret": section["aws_secret_access_key"]}
    except OSError as error:
        msg = f"FLEET-SPOOL: fleet.spool_credentials: {file} cannot be read ({error.strerror})"
    except (configparser.Error, KeyError, UnicodeDecodeError):
        msg = f"FLEET-SPOOL: fleet.spool_credentials: {file} lacks [default] with aws_access_key_id and its secret"
    raise SettingsError(msg) from None
