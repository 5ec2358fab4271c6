"""What `osteon results` shows: the HL7 messages about reports, by case and receiver. No patient data."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config.settings import Settings
from node import places
from node.feeds.hl7_meaning import Meaning
from node.store import result_messages
from node.store.result_messages import ResultMessage, ResultState

_OPEN = (ResultState.REFUSED, ResultState.WAITING)


def show_results(settings: Settings, *, case_id: int | None, everything: bool, limit: int, as_json: bool) -> None:
    """Print what is not acknowledged, refused first; `everything`: also what is."""
    ledger = places.open_settings_ledger(settings)
    with ledger.read() as c:
        states = tuple(ResultState) if everything else _OPEN
        found = [m for s in states for m in result_messages.listed(c, case_id=case_id, state=s, limit=limit)]
    ledger.close()
    rows = [_row(message) for message in found[:limit]]
    if as_json:
        print(json.dumps(rows, indent=1))  # noqa: T201 - this is the command's output
        return
    console = Console(highlight=False)
    if not rows:
        console.print("every message is acknowledged" if settings.results.receivers else "no receiver is configured")
        return
    table = Table("case", "version", "to", "says", "state", "at", "tries", "why", box=None, pad_edge=False)
    for row in rows:
        shown = (row["case"], row["version"], row["receiver"], row["says"], row["state"], row["at"], row["tries"])
        table.add_row(*map(str, shown), escape(row["error"] or ""))
    console.print(table)


def _row(message: ResultMessage) -> dict[str, Any]:
    return {
        "case": message.key.case_id,
        "version": message.key.version,
        "receiver": message.key.receiver,
        "says": Meaning(message.key.meaning).words,
        "state": str(message.state),
        "at": message.at.isoformat(timespec="seconds"),
        "tries": message.tries,
        "control_id": message.control_id,
        "answer": message.answer,
        "error": message.error,
    }
