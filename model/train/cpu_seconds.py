"""How much CPU a run has cost, step by step, over all its beginnings.

Not allowed here: what a step does.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_FILE: Final = "cpu-seconds.json"


@contextmanager
def spent(run: Path, step: str) -> Iterator[None]:
    """Add the CPU seconds of this step, here and in processes that ended within it, to those in the run folder."""
    before = _cpu()
    try:
        yield
    finally:
        taken = seconds_by_step(run)
        taken[step] = round(taken.get(step, 0.0) + _cpu() - before, 1)
        (run / _FILE).write_text(json.dumps(taken, indent=1) + "\n", encoding="utf-8")


def seconds_by_step(run: Path) -> dict[str, float]:
    """What all runs in this folder have spent so far."""
    file = run / _FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _cpu() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
