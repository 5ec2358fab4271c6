"""What `osteon inbox --remarks` shows: what the HL7 feed met and did not use, and what it means."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Final

from rich.console import Console
from rich.table import Table

from config.settings import Settings
from node import process
from node.store import feed_remarks

MEANINGS: Final = {
    "UNUSED_TYPE": "messages of a type the node does not read; answered AA and set aside",
    "LINK": "links between patients (A24, A37); noted, nothing done",
    "NO_VISIT": "cancelled visits without a visit number (PV1-19); nothing could be taken back",
    "REPEAT_WITHOUT_SUB_ID": "repeats of a code without OBX-4; told apart by their order",
    "VALUE_TYPE": "values of a type that is no result (OBX-2)",
    "DRUG_UNUSED": "drugs that are not in the code table; not stored",
    "CODE_UNKNOWN": "values whose code is not in the code table (`osteon codes`)",
    "CODE_UNCONFIRMED": "values whose code nobody has confirmed (`osteon codes`)",
    "CODE_CONFLICT": "values whose two codes mean different things",
    "CODE_UNUSED": "values of a code that is known as another test than it seems",
    "DRUG": "drugs that follow the diagnosis, sent as results; never a value",
    "DXA_DOCUMENT": "DXA reports and panels without a number",
    "NO_RESULT": "results that were announced and not obtained",
    "VOID_NOT_FOUND": "values taken back or corrected (OBX-11 D, W, C) that were never received under that key",
    "NO_TIME": "values without a time",
    "NO_VALUE": "results without a value",
    "SCORE": "risk scores that others computed; context only",
    "ESCAPE_NOT_READ": "escape sequences that have no meaning here; a stand-in was put in their place",
    "REPETITIONS_NOT_READ": "fields with more repetitions than are read",
    "TIME_WEAK": "values dated by their report or message, because nothing says when they were observed",
}


def show_remarks(settings: Settings, *, as_json: bool) -> None:
    """Print the counts, the most frequent first."""
    ledger = process.open_settings_ledger(settings)
    with ledger.read() as c:
        found = feed_remarks.find(c)
    ledger.close()
    if as_json:
        rows = [asdict(r) | {"first_at": r.first_at.isoformat(), "last_at": r.last_at.isoformat()} for r in found]
        print(json.dumps(rows, indent=1))  # noqa: T201 - this is the command's output
        return
    table = Table("remark", "times", "last (UTC)", "meaning", box=None, pad_edge=False)
    for r in found:
        table.add_row(r.code, str(r.count), f"{r.last_at:%Y-%m-%d %H:%M}", MEANINGS.get(r.code, ""))
    Console(highlight=False).print(table if found else "nothing to remark")
