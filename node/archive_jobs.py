"""What an archive run screens: the files of a folder, or those a manifest names, with what it states of them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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


def jobs_of(source: Path) -> tuple[Job, ...]:
    """All files below a folder, or those a manifest names (relative to it), sorted.

    Raises:
        SettingsError: the manifest lacks the column `file`, has others than known, a bad number, or names a file twice.

    """
    if source.is_dir():
        found = sorted(path for path in source.rglob("*") if path.is_file() and path.name != "DICOMDIR")
        return tuple(Job(file=path.relative_to(source).as_posix(), path=path) for path in found)
    with source.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        columns = reader.fieldnames or ()
        if "file" not in columns or set(columns) - set(_MANIFEST_COLUMNS):
            msg = f"{source}: a manifest has the column `file` and may have {', '.join(_MANIFEST_COLUMNS[1:])}"
            raise SettingsError(msg)
        jobs = [_stated(source, number, row) for number, row in enumerate(reader, start=2)]
    if len({job.file for job in jobs}) != len(jobs):
        msg = f"{source}: a file is named twice"
        raise SettingsError(msg)
    return tuple(sorted(jobs, key=lambda job: job.file))


def _stated(source: Path, number: int, row: dict[str, str]) -> Job:
    try:
        numbers = {name: float(row[name]) if row.get(name) else None for name in ("age_years", "weight_kg")}
        sex = Sex(row.get("sex") or Sex.UNKNOWN)
    except ValueError as error:
        msg = f"{source}:{number}: age_years and weight_kg are numbers, sex is F or M"
        raise SettingsError(msg) from error
    return Job(file=row["file"], path=source.parent / row["file"], sex=sex, **numbers)
