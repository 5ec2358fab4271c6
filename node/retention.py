"""Lets go of what has served its time: images, report bytes, files of feeds and audit. Nothing that is open is touched.

A purge takes long and nobody waits for it: what was due when it was listed is asked once more in the transaction that
lets it go, and stays where a person or news took the case up again meanwhile.

An image's files are deleted before the ledger's note of it is committed: a crash in between leaves a row that is simply
worked on again, never a file nobody knows of. The note comes first, for its row lock: whoever retries the case waits
for it, and where several hosts share the spool, one that receives the same bytes again. What "open" means is
`node.store.retention`'s; the periods are the site's.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from config.settings import Settings
from dicom_io.spool import Spool
from dicom_io.spool_shelf import Shelved
from node.audit import FILES, AuditTrail, day_of
from node.feeds.csv_drop import ended
from node.store import retention
from node.store.engine import Ledger
from node.store.retention import KeptImage

_BATCH: Final = 200
_QUARANTINED: Final = "quarantined objects"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What of one kind was let go, or would be."""

    kind: str
    count: int
    size: int
    """Bytes; 0 where they are only rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """Knows the periods and carries them out."""

    ledger: Ledger
    spool: Spool
    settings: Settings
    now: Callable[[], dt.datetime]
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set it to end a purge early; the next one goes on."""

    def due(self) -> tuple[Released, ...]:
        """What a purge would let go now. Changes nothing."""
        return (
            _sum("images", (self._size(image) for image in self._images())),
            Released(kind="reports", count=sum(len(batch) for batch, _ in self._reports()), size=0),
            _sum(_QUARANTINED, (one.size for one in self._quarantined())),
            *(_sum(kind, map(_size_of, files)) for kind, files in self._files()),
        )

    def purge(self) -> tuple[Released, ...]:
        """Let go what is due."""
        deleted = (self._delete(image) for image in self._images())
        return (
            _sum("images", (size for size in deleted if size is not None)),
            Released(kind="reports", count=sum(self._empty(*batch) for batch in self._reports()), size=0),
            _sum(_QUARANTINED, map(self._drop, self._quarantined())),
            *self.purge_files(),
        )

    def purge_files(self) -> tuple[Released, ...]:
        """Let go what is due of the files that each host has for itself: those of the feed and of the audit trail.

        And its copies of images of a shared spool: another host deletes an image where all see it, but here.
        """
        self.spool.forget_copies(self.now() - dt.timedelta(days=self.settings.retention.images))
        return tuple(_sum(kind, map(_unlink, files)) for kind, files in self._files())

    def _images(self) -> Iterator[KeptImage]:
        ended, failed = self._images_before()
        after = 0
        while not self.stopping.is_set():
            with self.ledger.read() as c:
                batch = retention.images_due(c, ended_before=ended, failed_before=failed, after=after, limit=_BATCH)
            if not batch:
                return
            yield from batch
            after = batch[-1].case_id

    def _images_before(self) -> tuple[dt.datetime, dt.datetime]:
        """Images go of cases that ended before the first of these, or failed before the second."""
        clinical, periods, now = self.settings.clinical, self.settings.retention, self.now()
        ended = max(dt.timedelta(days=periods.images), dt.timedelta(seconds=clinical.reprocess_window))
        return now - ended, now - dt.timedelta(days=periods.failed_images)

    def _reports(self) -> Iterator[tuple[tuple[int, ...], dt.datetime]]:
        """Cases whose pages are due, in batches, each with the time before which they ended."""
        period = self.settings.retention.reports
        after = 0
        while period is not None and not self.stopping.is_set():
            before = self.now() - dt.timedelta(days=period)
            with self.ledger.read() as c:
                batch = retention.reports_due(c, ended_before=before, after=after, limit=_BATCH)
            if not batch:
                return
            yield batch, before
            after = batch[-1]

    def _empty(self, case_ids: tuple[int, ...], before: dt.datetime) -> int:
        with self.ledger.begin() as c:
            return retention.empty_reports(c, case_ids, ended_before=before)

    def _files(self) -> tuple[tuple[str, list[Path]], ...]:
        periods, now = self.settings.retention, self.now()
        drop = self.settings.clinical.csv.folder
        csv = [] if drop is None else ended(drop, now - dt.timedelta(days=periods.csv_files))
        audit = self.settings.storage.data_dir / "audit"
        oldest_day = (now - dt.timedelta(days=periods.audit)).date()
        return (
            ("csv files", csv),
            ("audit files", [path for path in sorted(audit.glob(FILES)) if day_of(path) < oldest_day]),
        )

    def _quarantined(self) -> list[Shelved]:
        before = self.now() - dt.timedelta(days=self.settings.retention.failed_images)
        return [one for one in self.spool.quarantined() if one.at < before]

    def _drop(self, one: Shelved) -> int:
        self.spool.remove(one.file)
        return one.size

    def _delete(self, image: KeptImage) -> int | None:
        """Bytes of the files; None where they stay."""
        size = self._size(image)
        ended, failed = self._images_before()
        with self.spool.retiring(*image.files), self.ledger.begin() as c:
            if not retention.note_image_gone(c, image, self.now(), ended_before=ended, failed_before=failed):
                return None
            for file in image.files:
                self.spool.remove(file)
        return size

    def _size(self, image: KeptImage) -> int:
        return sum(self.spool.size(file) for file in image.files)


def purge_and_tell(keeper: Keeper, audit: AuditTrail) -> None:
    """Purge, and say in log and audit trail what went."""
    tell(keeper.purge(), audit)


def tell(released: Iterable[Released], audit: AuditTrail) -> None:
    """Say in log and audit trail what went."""
    for one in released:
        log.info("retention.released", kind=one.kind, count=one.count, bytes=one.size)
        if one.count:
            audit.record("retention.released", kind=one.kind, count=one.count, bytes=one.size)


def _sum(kind: str, sizes: Iterable[int]) -> Released:
    each = list(sizes)
    return Released(kind=kind, count=len(each), size=sum(each))


def _size_of(path: Path) -> int:
    return path.lstat().st_size if path.is_symlink() or path.is_file() else 0


def _unlink(path: Path) -> int:
    size = _size_of(path)
    path.unlink(missing_ok=True)
    return size
