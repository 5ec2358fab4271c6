"""What `osteon doctor` says of the folders the node needs: whether it may write there, and how full the disk is.

A folder that is not there yet is not made: the nearest one above that exists is asked. What is written is gone again.
Below the data directory only faults are told: after a restore a part of it may belong to another account.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from config.csv_feed import CsvDrop
from config.settings import Reception
from dicom_io.spool_shelf import disk_used_percent
from dicom_io.watermark import Level, level_of
from node.finding import Finding, Mark

_KEY: Final = "storage.data_dir"
_FOLDERS: Final = ("spool", "audit", "bundles", "site-verdicts", "drift")
_FILES: Final = ("listener.lock", "ledger.db*", "inbox.db*", "spool/??", "spool/quarantine", "audit/audit-*.jsonl")
"""What is written in place. Names with a star stand for a database and what SQLite keeps beside it."""


def examine_data_directory(folder: Path, reception: Reception) -> Iterator[Finding]:
    """Whether the data directory and what is in it can be written, and what its disk lets reception do."""
    yield _writable(_KEY, folder)
    parts = (_writable(_KEY, folder / part) for part in _FOLDERS if (folder / part).is_dir())
    yield from (one for one in parts if one.mark is not Mark.OK)
    yield from _of_others(folder)
    yield _disk(folder, reception)


def _of_others(folder: Path) -> Iterator[Finding]:
    """What this account may not use, or what another one than the folder's own has: once for each kind."""
    remedy = f"chown -R osteon: {folder}, or whichever account runs the node"
    for pattern in _FILES:
        for path in sorted(folder.glob(pattern)):
            refused = not os.access(path, os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0))
            if not path.exists():  # what SQLite keeps beside a database comes and goes
                continue
            if refused:
                yield Finding(mark=Mark.FAIL, what=f"{_KEY} {path}: this account may not use it", remedy=remedy)
                break
            if path.stat().st_uid != folder.stat().st_uid:
                what = f"{_KEY} {path}: belongs to another account than {folder}"
                yield Finding(mark=Mark.WARN, what=what, remedy=remedy)
                break


def examine_drop_folder(csv: CsvDrop) -> Iterator[Finding]:
    """Whether files can be moved between all the folders of the CSV feed."""
    if csv.folder is None:
        yield Finding(mark=Mark.OK, what="clinical.csv.folder is empty: no CSV")
        return
    whole = _writable("clinical.csv.folder", csv.folder)
    yield whole
    if whole.mark is Mark.OK and csv.folder.is_dir():
        parts = (_writable("clinical.csv.folder", part) for part in sorted(csv.folder.iterdir()) if part.is_dir())
        yield from (one for one in parts if one.mark is not Mark.OK)


def _writable(key: str, folder: Path) -> Finding:
    place = _existing(folder)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-") as probe:
            probe.write(b"osteon")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        remedy = f"let the account that runs the node write to {place}, or correct {key}"
        return Finding(mark=Mark.FAIL, what=f"{key} {folder}: {error.strerror}", remedy=remedy)
    return Finding(mark=Mark.OK, what=f"{key} {folder} can be written")


def _disk(folder: Path, reception: Reception) -> Finding:
    place = _existing(folder)
    used, free = disk_used_percent(place), shutil.disk_usage(place).free
    what = f"its file system is {used:.1f} % full, {free / 1e9:.1f} GB free"
    match level_of(used, low_at=reception.reject_at_percent, full_at=reception.full_at_percent):
        case Level.FULL:
            return Finding(mark=Mark.FAIL, what=f"{what}: every C-STORE is answered 0xA700", remedy="free space")
        case Level.LOW:
            return Finding(mark=Mark.FAIL, what=f"{what}: associations are rejected transiently", remedy="free space")
        case Level.OK:
            return Finding(mark=Mark.OK, what=what)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above that exists."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())
