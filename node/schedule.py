"""What happens by the clock. The state of the work is in the ledger or on disk; the scheduler keeps none.

APScheduler's default grace of one second silently drops a run on a busy machine (measured), hence none; a run that is
due while the last one still goes on is joined with it. It goes by the wall clock: set back, it would wait until the old
time has come again, so all jobs are then due at once.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Sequence

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from config.csv_feed import CsvDrop
from node.store.clock_jump import ClockWatch

WATCH_SECONDS = 15

log = structlog.get_logger()


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

        self._ended = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="clock-watch", daemon=True)

    def start(self) -> None:
        """Begin; the first look at the drop folder and of each watch is at once."""
        self._scheduler.start()
        self._watching.start()

    def stop(self) -> None:
        """Start nothing more and wait for what runs."""
        self._ended.set()
        self._watching.join()
        self._scheduler.shutdown(wait=True)

    def _watch(self) -> None:
        """Body of the thread that has every job run when the wall clock was set back."""
        wall = ClockWatch()
        while not self._ended.wait(WATCH_SECONDS):
            if wall.went_back():
                for job in self._scheduler.get_jobs():
                    job.modify(next_run_time=dt.datetime.now(dt.UTC))
                log.warning("schedule.clock_went_back")
