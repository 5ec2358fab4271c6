"""`osteon screen FOLDER` or `osteon screen MANIFEST.csv`: thousands of files over all cores, into one table.

Each file goes by the rules of the running node: header, decoding, pixel quality, gate, network, thresholds. There is no
ledger, so clinical data come from the manifest only (columns `age_years`, `sex`, `weight_kg`), stated by whoever wrote
it to belong to that file. The same files, manifest, settings and model give the same table, whatever it held before.
Not allowed here: patients' names or numbers.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from config.settings import Settings, SettingsError
from node.archive_jobs import Job
from node.archive_rows import FAILED, SCREENED, Row, Table
from node.crew import Crew, Died
from node.errors import FailureCode


def run(
    settings: Settings, jobs: tuple[Job, ...], out: Path, *, workers: int, told: Callable[[Row, int], None]
) -> tuple[Row, ...]:
    """Screen what the table at `out` does not hold yet, and write it; `told` hears every row and how many were known.

    A row whose file, or whose line in the manifest, has changed since is screened again and replaced.

    Raises:
        SettingsError: the table was made with another model or setting, is none, cannot be written, or knows files most
            of which are gone; or as `active_bundle`.
        NeverReady: no process could begin; the message says why the model cannot be used.

    """
    from node.active_model import active_bundle  # noqa: PLC0415 - with the ledger, which few commands need

    bundle = active_bundle(settings)
    crew: Crew[tuple[str, ...], Job, Row] = Crew(functools.partial(_begin, settings, bundle), min(workers, len(jobs)))
    try:
        inputs = {job.file: job.digest() for job in jobs}  # before the files are read: one that changes now shows later
        table = Table(out, crew.hello())
        held = table.known()
        _refuse_vanished(out, held.keys(), inputs)
        rows = {file: row for file, row in held.items() if row.input and row.input == inputs.get(file)}
        known = len(rows)
        for job, answer in crew.work([job for job in jobs if job.file not in rows]):
            found = answer if isinstance(answer, Row) else _died(job, answer)
            row = dataclasses.replace(found, input=inputs[job.file])
            table.append(row)
            rows[row.file] = row
            told(row, known)
    finally:
        crew.dismiss()
    table.finish(rows.values())
    return tuple(rows.values())


def _refuse_vanished(out: Path, known: Collection[str], inputs: Mapping[str, str]) -> None:
    """Raise SettingsError where most of the files of a table are gone: more likely a disk is than they are.

    A manifest goes on naming them while its archive is away; their digest is then empty.
    """
    gone = [file for file in known if not inputs.get(file)]
    if 2 * len(gone) > len(known):
        msg = (
            f"{out}: {len(gone)} of the {len(known)} files it knows are not there, {min(gone)!r} for one; is the "
            "archive mounted? Else give another --out"
        )
        raise SettingsError(msg)


def _begin(settings: Settings, bundle: Path | None) -> tuple[tuple[str, ...], Callable[[Job], Row]]:
    """In each process, and there alone: the model and the decoders are nothing that this one needs."""
    from node.archive_screening import begin  # noqa: PLC0415

    return begin(settings, bundle)


def _died(job: Job, died: Died) -> Row:
    return Row(file=job.file, status=FAILED, codes=f"{FailureCode.WORKER_DIED} {died.cause}")


def by_reason(rows: Iterable[Row]) -> Counter[str]:
    """How many files were not screened, by code."""
    return Counter(row.codes.partition(" ")[0] for row in rows if row.status != SCREENED)
