"""What `osteon screen FOLDER` shows while it works, and its last line."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from config.settings import Settings
from node.archive_jobs import jobs_of
from node.archive_rows import SCREENED, Row, beside
from node.archive_run import by_reason, run
from node.cores import cores


def screen_archive(settings: Settings, source: Path, out: Path, *, workers: int | None) -> str:
    """Screen all files of a folder or manifest; the summary line.

    Raises:
        SettingsError, NeverReady: as `jobs_of` and `archive_run.run`.

    """
    jobs = jobs_of(source, ours=(out, *beside(out), settings.storage.data_dir))
    began, heard, not_screened = time.monotonic(), 0, Counter[str]()
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[rate]:.1f}/s {task.fields[reasons]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("screening", total=len(jobs), rate=0.0, reasons="")

        def told(row: Row, known: int) -> None:
            nonlocal heard
            heard += 1
            not_screened.update(by_reason([row]))
            rate = heard / (time.monotonic() - began)
            progress.update(bar, completed=known + heard, rate=rate, reasons=_listed(not_screened))

        rows = run(settings, jobs, out, workers=workers or cores(), told=told)
    seconds = time.monotonic() - began
    screened = sum(row.status == SCREENED for row in rows)
    return (
        f"RESULT screen-archive files={len(rows)} new={heard} screened={screened} {_listed(by_reason(rows))} "
        f"per_second={heard / max(seconds, 1e-9):.2f} out={out}"
    )


def _listed(reasons: Counter[str]) -> str:
    return " ".join(f"{code}={count}" for code, count in reasons.most_common())
