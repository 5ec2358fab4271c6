"""What an archive run screens: the files of a folder, or those a manifest names, with what it states of them."""

from __future__ import annotations

import csv
import hashlib
import math
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from config.settings import SettingsError
from model.domain import Sex

_MANIFEST_COLUMNS: Final = ("file", "age_years", "sex", "weight_kg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One file and what the manifest states of its patient."""

    file: str
    """As it stands in the table: relative to the folder, or as the manifest has it."""
    path: Path
    age_years: float | None = None
    sex: Sex = Sex.UNKNOWN
    weight_kg: float | None = None

    def digest(self) -> str:
        """Names what its row rests on besides model and settings: the file, and what is stated of it (16 hex digits).

        The file by size and time of change, as `make` and `rsync` have it: its bytes would have to be fetched from the
        archive once more, which takes about as long as screening them. A copy without its time is screened again.
        Empty where there is no such file.
        """
        try:
            found = self.path.stat()
        except OSError:
            return ""
        facts = (found.st_size, found.st_mtime_ns, self.age_years, str(self.sex), self.weight_kg)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def jobs_of(source: Path, *, ours: Collection[Path] = ()) -> tuple[Job, ...]:
    """All files below a folder but `ours` (files and folders), or those a manifest names (relative to it), sorted.

    Raises:
        SettingsError: there is none: an archive that is not mounted is an empty folder; a folder cannot be read; the
            manifest is not UTF-8, lacks the column `file`, has others than known or a bad value, or names a file twice.

    """
    jobs = _below(source, ours) if source.is_dir() else _stated_by(source)
    if not jobs:
        msg = f"{source}: holds no file to screen; is the archive mounted?"
        raise SettingsError(msg)
    return jobs


def _below(folder: Path, ours: Collection[Path]) -> tuple[Job, ...]:
    """Links to folders are followed, each folder once: an archive may lie on several disks.

    A link that leads nowhere is a job too, and its row says so: the disk behind it may be away.
    """
    own = {os.path.realpath(path) for path in ours}
    seen: set[tuple[int, int]] = set()
    found: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        at = Path(place).stat()
        folders.sort()
        if (at.st_dev, at.st_ino) in seen or os.path.realpath(place) in own:
            folders.clear()
            continue
        seen.add((at.st_dev, at.st_ino))
        paths = [Path(place, name) for name in files if name != "DICOMDIR"]
        found += [path for path in paths if path.is_file() or not path.exists()]
    return tuple(
        Job(file=path.relative_to(folder).as_posix(), path=path)
        for path in sorted(found)
        if os.path.realpath(path) not in own
    )


def _refuse(error: OSError) -> NoReturn:
    """A folder that is left out without a word would make the table look whole."""
    msg = f"{error.filename}: cannot be read ({error.strerror}); let this account read it, or take it away"
    raise SettingsError(msg) from error


def _stated_by(source: Path) -> tuple[Job, ...]:
    try:
        jobs = _listed(source)
    except UnicodeDecodeError as error:
        msg = f"{source}: is not UTF-8; save the manifest as CSV in UTF-8"
        raise SettingsError(msg) from error
    if len({job.file for job in jobs}) != len(jobs):
        msg = f"{source}: a file is named twice"
        raise SettingsError(msg)
    return tuple(sorted(jobs, key=lambda job: job.file))


def _listed(source: Path) -> list[Job]:
    with source.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        columns = reader.fieldnames or ()
        if "file" not in columns or set(columns) - set(_MANIFEST_COLUMNS):
            msg = f"{source}: a manifest has the column `file` and may have {', '.join(_MANIFEST_COLUMNS[1:])}"
            raise SettingsError(msg)
        return [_stated(source, reader.line_num, row) for row in reader]


def _stated(source: Path, number: int, row: dict[str, str]) -> Job:
    if not row.get("file"):
        msg = f"{source}:{number}: column file is empty"
        raise SettingsError(msg)
    try:
        numbers = {name: _positive(row[name]) if row.get(name) else None for name in ("age_years", "weight_kg")}
        sex = Sex(row.get("sex") or Sex.UNKNOWN)
    except ValueError as error:
        msg = f"{source}:{number}: age_years and weight_kg are numbers above 0, sex is F or M"
        raise SettingsError(msg) from error
    return Job(file=row["file"], path=source.parent / row["file"], sex=sex, **numbers)


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        msg = "not above 0"
        raise ValueError(msg)
    return value
