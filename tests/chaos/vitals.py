"""What a process holds: resident memory, threads, descriptors; before, during and after it was ill-treated."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

CLOCK_THREADS = 3
"""That may come with time, as many as the listener has watches: its clock begins one when two first fall together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """One look at a process."""

    rss_mib: float
    threads: int
    descriptors: int


def look(pid: int) -> Vitals:
    """What the process holds now."""
    process = psutil.Process(pid)
    with process.oneshot():
        return Vitals(
            rss_mib=process.memory_info().rss / (1 << 20),
            threads=process.num_threads(),
            descriptors=process.num_fds(),
        )


def settled(pid: int, base: Vitals, limit: float) -> Vitals:
    """The first look at which threads and descriptors are back at `base`, or the last one within `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        now = look(pid)
        if not leaked(base, now) or time.monotonic() > deadline:
            return now
        time.sleep(0.2)


def leaked(base: Vitals, after: Vitals) -> bool:
    """Whether more threads or descriptors are held than the clock accounts for."""
    return after.threads > base.threads + CLOCK_THREADS or after.descriptors > base.descriptors


def growth_percent(samples: list[float]) -> float:
    """From the median of the first tenth of the samples to the median of the last tenth, in percent."""
    tenth = max(1, len(samples) // 10)
    first, last = sorted(samples[:tenth])[tenth // 2], sorted(samples[-tenth:])[tenth // 2]
    return 100.0 * (last - first) / first
