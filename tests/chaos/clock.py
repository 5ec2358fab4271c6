"""A wall clock that can be set, for the processes of a campaign and for nobody else: time-machine.

The whole machine's clock is not ours to move. Each process follows a file that says how wrong its clock is; its
monotonic clock stays true, as it does when an administrator or NTP sets a real clock.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import time_machine

_LOOK_SECONDS = 0.02


def set_wrong(folder: Path, seconds: float) -> None:
    """From now on the clock is so many seconds wrong, against the true time."""
    new = _file(folder).with_suffix(".new")
    new.write_text(f"{seconds:.0f}")
    new.replace(_file(folder))


def follow(folder: Path) -> None:
    """Have this process live by the clock of the folder; by the true one where there is none."""
    if _file(folder).exists():
        coordinates = time_machine.travel(time.time(), tick=True).start()
        wrong_by = _set(folder, coordinates, 0.0)  # before anything of the process reads it
        threading.Thread(target=_follow, args=(folder, coordinates, wrong_by), daemon=True).start()


def _follow(folder: Path, coordinates: time_machine.Coordinates, wrong_by: float) -> None:
    while _file(folder).exists():  # the campaign's folder goes before its process
        wrong_by = _set(folder, coordinates, wrong_by)
        time.sleep(_LOOK_SECONDS)


def _set(folder: Path, coordinates: time_machine.Coordinates, wrong_by: float) -> float:
    try:
        wanted = float(_file(folder).read_text())
    except FileNotFoundError:
        return wrong_by
    if wanted != wrong_by:
        coordinates.shift(wanted - wrong_by)
    return wanted


def _file(folder: Path) -> Path:
    return folder / "clock"
