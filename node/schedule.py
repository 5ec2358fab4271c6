"""What happens by the clock. The state of the work is in the ledger or on disk; the scheduler keeps none.

APScheduler's default grace of one second silently drops a run on a busy machine (measured), hence none; a run that is
due while the last one still goes on is joined with it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from apscheduler.schedulers.background import BackgroundScheduler

from config.csv_feed import CsvDrop

WATCH_SECONDS = 15


class Clock:
    """The periodic jobs of the listener: the drop folder by its interval, the others as they say."""

    def __init__(
        self,
        csv: CsvDrop,
        poll_csv: Callable[[], None],
        *,
        hourly: Sequence[Callable[[], object]],
        daily: Callable[[], object],
        watches: Sequence[Callable[[], object]] = (),
    ) -> None:
        self._scheduler = BackgroundScheduler(
            timezone=dt.UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        first = dt.datetime.now(dt.UTC)
        if csv.folder is not None:
            self._scheduler.add_job(poll_csv, "interval", seconds=csv.poll, next_run_time=first)
        for job in hourly:
            self._scheduler.add_job(job, "interval", hours=1)
        self._scheduler.add_job(daily, "interval", days=1)
        for job in watches:
            self._scheduler.add_job(job, "interval", seconds=WATCH_SECONDS, next_run_time=first)

    def start(self) -> None:
        """Begin; the first look at the drop folder and of each watch is at once."""
        self._scheduler.start()

    def stop(self) -> None:
        """Start nothing more and wait for what runs."""
        self._scheduler.shutdown(wait=True)
