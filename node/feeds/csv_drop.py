"""The drop folder: `inbox/` -> `processing/` -> `done/` or `rejected/`, or `held/<import>/` until a person decides.

A rename is the only step there is, and the rename to `processing/` is the claim: whoever wins it has the file, and a
file that is found there after a crash is simply taken up again. Writers drop atomically: `name.csv.json` first, where
there is a manifest, then `name.csv.part`, fsync, rename to `name.csv`. Names stay in these folders and go nowhere else,
as they may name a patient. Nothing is read here but sizes and times. What bears no name of a CSV file is claimed too,
to be rejected: it would lie in `inbox/` for ever, and nobody would learn that its values reach no report.
"""

from __future__ import annotations

import csv
import datetime as dt
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import structlog

from config.csv_feed import CsvDrop
from node.feeds.csv_rules import FileRule, Problem

_log = structlog.get_logger()
_ENDS = ("done", "rejected")
_FOLDERS = ("inbox", "processing", "held", *_ENDS)
_LIST = ".errors.csv"
_UNFINISHED = frozenset({".part", ".partial", ".filepart", ".tmp", ".temp"})
"""Under such a name, or one that begins with a dot or a tilde, programs write and copy: the file is yet to come."""
_WORKBOOKS = frozenset({".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"})


class DropFolder:
    """The folder of one feed. One process claims; what it claimed is taken by one thread.

    Args:
        settings: with the folder set.
        wait: sleeps so many seconds; true when the node stops meanwhile.

    """

    def __init__(self, settings: CsvDrop, wait: Callable[[float], object]) -> None:
        assert settings.folder is not None  # noqa: S101 - no folder, no feed
        self._folder = settings.folder
        self._settings = settings
        self._wait = wait

    def claim(self) -> tuple[Path, ...]:
        """Claim every file that has settled. They come as they were written, those from `processing/` among them.

        Their names would tell no order, and a file that is taken after a later one of its source is held.
        """
        for name in _FOLDERS:
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        before = {path: _state(path) for path in self._candidates()}
        if before and self._settings.settle and self._wait(self._settings.settle):
            return ()
        for path, state in before.items():
            if state is not None and _state(path) == state:
                self._claim(path)
        waiting = {p: _stat(p) for p in (self._folder / "processing").iterdir() if _is_csv(p) or _is_stray(p)}
        written = {p: stat[2] for p, stat in waiting.items() if stat is not None}  # else it was finished meanwhile
        return tuple(sorted(written, key=lambda p: (written[p], p)))

    def held(self) -> tuple[int, ...]:
        """Numbers of the imports whose files wait for a person."""
        return tuple(int(p.name) for p in (self._folder / "held").glob("*") if p.name.isdigit())

    def hold(self, path: Path, import_id: int, problems: Iterable[Problem]) -> None:
        """Put a claimed file aside until a person decides; a former copy of the same file gives way."""
        folder = self._folder / "held" / str(import_id)
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        self._list(folder / f"{path.stem}{_LIST}", problems)
        _move(path, folder / path.name)

    def release(self, import_id: int, where: str) -> None:
        """Move what is held under this number to `where`: `processing` (it is taken again), `done` or `rejected`."""
        folder = self._folder / "held" / str(import_id)
        for path in folder.iterdir():
            if not _is_dropped(path):
                continue
            if where == "processing":
                if (self._folder / where / path.name).exists():
                    return  # another file of this name is being imported; at the next look it is gone
                folder.joinpath(f"{path.stem}{_LIST}").unlink(missing_ok=True)
                _move(path, self._folder / where / path.name)
            else:
                stem = self._free(where, path)
                errors = folder / f"{path.stem}{_LIST}"
                if errors.exists():
                    errors.rename(self._folder / where / f"{stem}{_LIST}")
                _move(path, self._folder / where / f"{stem}{_ending(path)}")
        folder.rmdir()

    def finish(self, path: Path, where: str, problems: Iterable[Problem]) -> None:
        """Put a claimed file where it ends, with the list of its errors beside it; never over another file."""
        stem = self._free(where, path)
        self._list(self._folder / where / f"{stem}{_LIST}", problems)
        _move(path, self._folder / where / f"{stem}{_ending(path)}")

    def _candidates(self) -> Iterator[Path]:
        for path in sorted((self._folder / "inbox").iterdir()):
            complete = not self._settings.require_manifest or manifest_of(path).exists()
            taken = complete and not _is_unfinished(path) if _is_csv(path) else _is_stray(path)
            if taken and not (self._folder / "processing" / path.name).exists():
                yield path

    def _claim(self, path: Path) -> None:
        try:
            _move(path, self._folder / "processing" / path.name)
        except FileNotFoundError:
            return  # somebody else took it, or took it back
        except OSError as error:  # this one cannot be moved; the others can. Its text would name the file
            _log.warning("csv_not_claimed", error=type(error).__name__, errno=error.errno)

    def _free(self, where: str, path: Path) -> str:
        """A stem like that of `path` under which nothing lies in that folder."""
        folder, count, free = self._folder / where, 1, path.stem
        while any((folder / f"{free}{suffix}").exists() for suffix in (_ending(path), ".csv", _LIST, ".csv.json")):
            count += 1
            free = f"{path.stem}-{count}"
        return free

    def _list(self, path: Path, problems: Iterable[Problem]) -> None:
        problems = list(problems)
        if not problems:
            return
        values = self._settings.errors.include_values
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            head = ["line", "row", "column", "code", "rule"]
            writer.writerow([*head, "source_row_id", "value"] if values else head)
            for p in problems:
                line = [p.line, p.row, p.column, p.code, p.rule]
                writer.writerow([*line, p.row_id, p.value] if values else line)


def ended(folder: Path, before: dt.datetime) -> list[Path]:
    """What was put into `done` or `rejected` before that time: files that were processed, lists of errors, manifests.

    That is the time of their last move, right after the ledger had closed them. The time of change would be the
    sender's: an export of last year, copied with its date, would go as soon as it was imported.
    """
    there = [path for name in _ENDS for path in (folder / name).rglob("*") if path.is_symlink() or path.is_file()]
    return [path for path in there if path.lstat().st_ctime < before.timestamp()]


def manifest_of(path: Path) -> Path:
    """Where the manifest of a file lies."""
    return path.with_name(f"{path.name}.json")


def unread(path: Path) -> FileRule | None:
    """Why a file of this name is never read; None for that of a CSV file."""
    if _is_csv(path):
        return None
    return FileRule.WORKBOOK if path.suffix.lower() in _WORKBOOKS else FileRule.NOT_CSV


def held_file(folder: Path, import_id: int) -> Path | None:
    """The CSV file that is held under this number; None where there is none.

    Raises:
        OSError: the folder cannot be looked into.

    """
    place = folder / "held" / str(import_id)
    return next((p for p in place.iterdir() if _is_csv(p)), None) if place.exists() else None


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv" and not path.name.endswith(_LIST)


def _is_stray(path: Path) -> bool:
    """Whether it is a file that nothing will ever come of. A manifest may wait for its file; folders are let be."""
    manifest = path.name.lower().endswith(".csv.json")
    return not (_is_csv(path) or manifest or _is_unfinished(path) or path.is_dir())


def _is_unfinished(path: Path) -> bool:
    return path.name.startswith((".", "~")) or path.suffix.lower() in _UNFINISHED


def _is_dropped(path: Path) -> bool:
    """Whether it is the file itself, among what the node and the writer laid beside it."""
    return _is_csv(path) or (_is_stray(path) and not path.name.endswith(_LIST))


def _ending(path: Path) -> str:
    return ".csv" if _is_csv(path) else path.suffix


def _move(path: Path, target: Path) -> None:
    """The file with its manifest. A manifest is copied before and removed after, so that a crash parts no file from it.

    One that lies beside the target already was left by such a crash, or is of another file.
    """
    if not _is_csv(path):
        path.rename(target)
        return
    own, copy = manifest_of(path), manifest_of(target)
    copy.unlink(missing_ok=True)
    if own.is_symlink() or own.is_file():
        shutil.copyfile(own, copy, follow_symlinks=False)
    path.rename(target)
    own.unlink(missing_ok=True)


def _state(path: Path) -> tuple[tuple[int, int, int] | None, ...] | None:
    """What moves while somebody writes: the file's and its manifest's node, size and time. None when it is gone."""
    states = tuple(_stat(p) for p in (path, manifest_of(path)))
    return None if states[0] is None else states


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    # The size of a folder says nothing of the files in it, and it is refused anyway.
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return status.st_ino, size, status.st_mtime_ns
