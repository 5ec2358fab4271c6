"""What `osteon retention` shows: how long what is kept, what is due, and when it was last seen to."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json

from rich.console import Console
from rich.table import Table

from config.settings import Settings
from node import places
from node.housekeeping import RETENTION, ask_now
from node.retention import Keeper, Released
from node.shared_spool import open_spool

_MEGABYTE = 1e6


def show_due(settings: Settings, *, as_json: bool) -> None:
    """Print what the node would let go now. Changes nothing."""
    ledger = places.open_settings_ledger(settings)
    try:
        spool = open_spool(settings)
        due = Keeper(ledger=ledger, spool=spool, settings=settings, now=lambda: dt.datetime.now(dt.UTC)).due()
    finally:
        ledger.close()
    if as_json:
        print(json.dumps([dataclasses.asdict(one) for one in due]))  # noqa: T201 - for programs
    else:
        Console().print(_table(settings, due))


def ask(settings: Settings) -> str:
    """Have the running node do it now; a sentence for the person who asked."""
    ledger = places.open_settings_ledger(settings)
    try:
        with ledger.begin() as c:
            ask_now(c, RETENTION)
    finally:
        ledger.close()
    return "The running node lets go what is due now; its log says what (retention.released)."


def _table(settings: Settings, due: tuple[Released, ...]) -> Table:
    periods = settings.retention
    kept = {
        "images": f"{periods.images:g} days after the case ended (failed: {periods.failed_images:g})",
        "reports": "kept" if periods.reports is None else f"{periods.reports:g} days after the case ended",
        "quarantined objects": f"{periods.failed_images:g} days",
        "csv files": f"{periods.csv_files:g} days",
        "audit files": f"{periods.audit:g} days",
    }
    table = Table("what", "kept for", "due now", "MB", title="Retention (the node does it once a day)")
    for one in due:
        table.add_row(one.kind, kept[one.kind], str(one.count), f"{one.size / _MEGABYTE:.1f}")
    return table
