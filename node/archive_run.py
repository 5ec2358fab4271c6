"""`osteon screen FOLDER` or `osteon screen MANIFEST.csv`: thousands of files over all cores, into one table.

Each file goes by the rules of the running node: header, decoding, pixel quality, gate, network, thresholds. There is no
ledger, so clinical data come from the manifest only (columns `age_years`, `sex`, `weight_kg`), stated by whoever wrote
it to belong to that file. The same files and model give the same table. Not allowed here: patients' names or numbers.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.settings import Settings, SettingsError
from dicom_io.errors import HeaderInvalid, PixelDecodeError
from dicom_io.header import read_header
from dicom_io.radiograph import read_radiograph, refusals
from model.domain import ClinicalRecord, MatchClass, NotAssessed, Observation, Radiograph, Scored, Sex
from model.screener import Screener, load_screener
from node.active_model import active_bundle
from node.archive_rows import FAILED, NOT_ASSESSED, SCREENED, Row, Table
from node.crew import Crew, Died
from node.engine_choice import half_from, wanted_engines
from node.errors import FailureCode
from node.limits import bounded

_MANIFEST_COLUMNS: Final = ("file", "age_years", "sex", "weight_kg")
_STATED: Final = "manifest"
_FAILURES: Final[dict[type[Exception], str]] = {
    HeaderInvalid: FailureCode.HEADER_INVALID,
    PixelDecodeError: FailureCode.PIXEL_DECODE,
    MemoryError: FailureCode.IMAGE_LIMIT,
    OSError: "UNREADABLE",
}


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


def run(
    settings: Settings, jobs: tuple[Job, ...], out: Path, *, workers: int, told: Callable[[Row, int], None]
) -> tuple[Row, ...]:
    """Screen what the table at `out` does not hold yet, and write it; `told` hears every row and how many were known.

    Raises:
        BundleError, SettingsError: the model cannot be used, or the table is another's.
        NeverReady: no process could begin.

    """
    screener = load_screener(active_bundle(settings), engines=wanted_engines(settings))
    table = Table(out, head_of(screener))
    wanted = {job.file for job in jobs}
    rows = {file: row for file, row in table.known().items() if file in wanted}
    known = len(rows)
    rest = [job for job in jobs if job.file not in rows]
    crew: Crew[Job, Row] = Crew(functools.partial(_begin, settings), max(1, min(workers, len(rest))) if rest else 0)
    try:
        for job, answer in crew.work(rest):
            row = answer if isinstance(answer, Row) else _died(job, answer)
            table.append(row)
            rows[row.file] = row
            told(row, known)
    finally:
        crew.dismiss()
    table.finish(rows.values())
    return tuple(rows.values())


def head_of(screener: Screener) -> tuple[str, ...]:
    """What a reader must know before the first row."""
    facts = screener.facts
    simulated = "TRAINED ON SIMULATED IMAGES - NOT FOR CLINICAL USE" if facts.simulated_training else "trained on films"
    return (
        f"Osteon {importlib.metadata.version('osteon')}, model {facts.bundle_id} ({simulated})",
        f"computed by {screener.bundle.runtime.facts()}; files {screener.digest[:16]}",
        "Opportunistic screening, no diagnosis. BELOW does not exclude osteoporosis; codes say what was not assessed.",
    )


def _begin(settings: Settings) -> Callable[[Job], Row]:
    """In each process: load the model, then set the limits one image has."""
    screener = load_screener(
        active_bundle(settings),
        minimum_age=settings.model.minimum_age,
        prevalence=settings.model.site_prevalence,
        engines=wanted_engines(settings),
    )
    return bounded(functools.partial(_row, settings, screener, half_from(settings, screener.bundle)), settings.model)


def _row(settings: Settings, screener: Screener, half: int | None, job: Job) -> Row:
    try:
        header = read_header(job.path)
        reasons = refusals(header, secondary_capture=settings.reception.accept_secondary_capture)
        if reasons:
            return Row(file=job.file, status=NOT_ASSESSED, codes=" ".join(reasons))
        return _assessed(job, read_radiograph(job.path, zone=settings.site.zone, half_from=half), screener)
    except tuple(_FAILURES) as error:
        codes = [code for kind, code in _FAILURES.items() if isinstance(error, kind)]
        return Row(file=job.file, status=FAILED, codes=codes[0])


def _assessed(job: Job, radiograph: Radiograph, screener: Screener) -> Row:
    age = job.age_years if radiograph.age_years is None else radiograph.age_years
    sex = job.sex if radiograph.sex is Sex.UNKNOWN else radiograph.sex
    result = screener.screen(dataclasses.replace(radiograph, age_years=age, sex=sex), _record(job))
    uids = {
        "sop_instance_uid": radiograph.reference.sop_instance_uid,
        "study_instance_uid": radiograph.reference.study_uid,
    }
    if isinstance(result, NotAssessed):
        return Row(file=job.file, status=NOT_ASSESSED, codes=" ".join(result.reasons), **uids)
    return _scored(job, result, uids)


def _scored(job: Job, result: Scored, uids: dict[str, str]) -> Row:
    return Row(
        file=job.file,
        status=SCREENED,
        codes=" ".join(result.reasons),
        category=result.category,
        mode=result.mode,
        probability=f"{result.probability:.4f}",
        threshold_low=f"{result.t_low:.4f}",
        threshold_high=f"{result.t_high:.4f}",
        p_image=f"{result.p_image:.4f}",
        p_clinical="" if result.p_clinical is None else f"{result.p_clinical:.4f}",
        **uids,
    )


def _record(job: Job) -> ClinicalRecord:
    """The manifest's statement as a record; without one, nobody was asked."""
    if job.weight_kg is None:
        return ClinicalRecord(match=MatchClass.NO_ID)
    weight = Observation(
        variable="weight", value=job.weight_kg, unit="kg", age_days=0.0, observation_id=0, source=_STATED
    )
    return ClinicalRecord(match=MatchClass.MATCH_DEMOG, age_years=job.age_years, sex=job.sex, observations=(weight,))


def _stated(source: Path, number: int, row: dict[str, str]) -> Job:
    try:
        numbers = {name: float(row[name]) if row.get(name) else None for name in ("age_years", "weight_kg")}
        sex = Sex(row.get("sex") or Sex.UNKNOWN)
    except ValueError as error:
        msg = f"{source}:{number}: age_years and weight_kg are numbers, sex is F or M"
        raise SettingsError(msg) from error
    return Job(file=row["file"], path=source.parent / row["file"], sex=sex, **numbers)


def _died(job: Job, died: Died) -> Row:
    return Row(file=job.file, status=FAILED, codes=f"{FailureCode.WORKER_DIED} {died.cause}")


def by_reason(rows: Iterator[Row] | tuple[Row, ...]) -> dict[str, int]:
    """How many files were not screened, by code."""
    counts: dict[str, int] = {}
    for row in rows:
        if row.status != SCREENED:
            counts[row.codes.partition(" ")[0]] = counts.get(row.codes.partition(" ")[0], 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
