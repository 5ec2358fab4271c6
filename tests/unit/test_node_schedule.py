"""The clock of the listener: its jobs go on when the wall clock is set back."""

import datetime as dt
import threading
import time
from types import SimpleNamespace

import apscheduler.schedulers.base as scheduling
import pytest

from config.csv_feed import CsvDrop
from node import schedule
from node.schedule import Clock


class Wall(dt.datetime):
    """The wall clock, `ahead` of the real one."""

    ahead = dt.timedelta()

    @classmethod
    def now(cls, tz=None):
        """As `datetime.now`."""
        return dt.datetime.now(tz) + cls.ahead


def test_jobs_go_on_when_the_wall_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    real, looks, looked = time.time, [], threading.Event()

    def look() -> None:
        looks.append(time.monotonic())
        looked.set()

    monkeypatch.setattr(schedule, "WATCH_SECONDS", 0.2)
    monkeypatch.setattr(scheduling, "datetime", Wall)
    monkeypatch.setattr(schedule, "dt", SimpleNamespace(datetime=Wall, UTC=dt.UTC))
    clock = Clock(CsvDrop(), lambda: None, hourly=(), daily=lambda: None, watches=(look,))
    clock.start()
    try:
        assert looked.wait(5)
        monkeypatch.setattr(Wall, "ahead", dt.timedelta(hours=-1))
        monkeypatch.setattr(time, "time", lambda: real() - 3600)
        time.sleep(0.5)
        looked.clear()
        assert looked.wait(5), "the watch waits for the old time to come again"
    finally:
        clock.stop()
