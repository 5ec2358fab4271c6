"""What `osteon csv` prints and does: dropped files, why some are held, and a person's decision on those."""

from __future__ import annotations

import dataclasses
import json

from rich.console import Console
from rich.table import Table

from config.settings import Settings
from node import process
from node.feeds.csv_rules import FileRule
from node.store import csv_files
from node.store.csv_files import CsvState, Overtaken

_SHOWN = ("id", "state", "reason", "source", "rows", "bad_rows", "written", "deleted")
_HELD = {
    FileRule.SOURCE: "its manifest names a source that the settings do not have: mend them, then release it",
    FileRule.HEADER: "a column is missing, unknown or there twice: mend the settings, then release it",
    FileRule.TOO_MANY_BAD_ROWS: "look at the list of errors; released, its good rows are imported",
    FileRule.TOO_MANY_DELETIONS: "is the snapshot whole? Released, it deletes what it lacks",
    FileRule.OUTDATED: "a file of its source that was made later is imported; released, it adds what is not known yet",
    FileRule.FAILED: "the import broke; the log has the kind of error",
}
"""Why a file waits for a person, and what follows."""
_LEFT = {Overtaken.IN_PART: "; a later file of its source is imported, so only what is not known yet will be taken"}


def show_files(settings: Settings, *, state: str, limit: int, as_json: bool) -> None:
    """Print the files, newest first."""
    ledger = process.open_settings_ledger(settings)
    with ledger.read() as c:
        found = csv_files.find(c, state=state, limit=limit)
    ledger.close()
    if as_json:
        print(json.dumps([dataclasses.asdict(file) for file in found], default=str, indent=2))  # noqa: T201
        return
    table = Table(*_SHOWN, "taken (UTC)", box=None, pad_edge=False)
    for file in found:
        table.add_row(*(str(getattr(file, name)) for name in _SHOWN), f"{file.recorded_at:%Y-%m-%d %H:%M}")
    console = Console()
    console.print(table if found else "no file yet")
    for rule, why in _HELD.items():
        if any(file.state == CsvState.HELD and file.reason == rule for file in found):
            console.print(f"held, {rule}: {why}", soft_wrap=True)


def decide(settings: Settings, number: int, state: CsvState) -> str:
    """Record a person's decision on a held file; says what follows.

    Raises:
        NoSuchFile: it is unknown, not held, or a later file of its source leaves it nothing to say.

    """
    ledger = process.open_settings_ledger(settings)
    try:
        with ledger.begin() as c:
            left = csv_files.decide(c, number, state)
    finally:
        ledger.close()
    so = _LEFT.get(left, "") if state is CsvState.RELEASED else ""
    return f"file {number} is {state}; the node carries it out at its next look at the folder{so}"
