"""What `osteon csv` prints and does: dropped files, and a person's decision on held ones."""

from __future__ import annotations

import dataclasses
import json

from rich.console import Console
from rich.table import Table

from config.settings import Settings
from node import process
from node.store import csv_files
from node.store.csv_files import CsvState

_SHOWN = ("id", "state", "reason", "source", "rows", "bad_rows", "written", "deleted")


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
    Console().print(table if found else "no file yet")


def decide(settings: Settings, number: int, state: CsvState) -> str:
    """Record a person's decision on a held file; says what follows.

    Raises:
        NoSuchFile: it is unknown or not held.

    """
    ledger = process.open_settings_ledger(settings)
    try:
        with ledger.begin() as c:
            csv_files.decide(c, number, state)
    finally:
        ledger.close()
    return f"file {number} is {state}; the node carries it out at its next look at the folder"
