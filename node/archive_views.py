"""What `osteon screen FOLDER` shows while it works, and its last line."""

from __future__ import annotations

import os
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from config.settings import Settings
from node.archive_rows import SCREENED, Row
from node.archive_run import by_reason, jobs_of, run


def screen_archive(settings: Settings, source: Path, out: Path, *, workers: int | None) -> str:
    """Screen all files of a folder or manifest; the summary line.

    Raises:
        BundleError, SettingsError, NeverReady: as `archive_run.run`.

    """
    jobs = jobs_of(source)
    began, heard = time.monotonic(), []
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[rate]:.1f}/s {task.fields[reasons]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("screening", total=len(jobs), rate=0.0, reasons="")

        def told(row: Row, known: int) -> None:
            heard.append(row)
            reasons = " ".join(f"{code}={count}" for code, count in by_reason(tuple(heard)).items())
            rate = len(heard) / (time.monotonic() - began)
            progress.update(bar, completed=known + len(heard), rate=rate, reasons=reasons)

        rows = run(settings, jobs, out, workers=workers or len(os.sched_getaffinity(0)), told=told)
    seconds = time.monotonic() - began
    screened = sum(row.status == SCREENED for row in rows)
    reasons = " ".join(f"{code}={count}" for code, count in by_reason(rows).items())
    return (
        f"RESULT screen-archive files={len(rows)} new={len(heard)} screened={screened} {reasons} "
        f"per_second={len(heard) / max(seconds, 1e-9):.2f} out={out}"
    )
