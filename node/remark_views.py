"""What `osteon inbox --remarks` shows: what the feeds met and did not use, and what it means.

What was never stored is counted where it is met (`store.feed_remarks`); values that are kept are counted as they stand,
so that those of a mended sender are gone from the list.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Final

from rich.console import Console
from rich.table import Table

from config.settings import Settings
from node import places
from node.facts import Unusable
from node.store import feed_remarks, unusable_values

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
    "OUTDATED": "values that came again after their own correction or deletion, and were sent before it; not taken",
    "CHARSET_SPELLING": "messages whose MSH-18 is not spelled as in HL7 table 0211; read as what it means",
    "NO_TIME": "values without a time",
    "NO_VALUE": "results without a value",
    "SCORE": "risk scores that others computed; context only",
    "ESCAPE_NOT_READ": "escape sequences that have no meaning here; a stand-in was put in their place",
    "REPETITIONS_NOT_READ": "fields with more repetitions than are read",
    "TIME_WEAK": "values dated by their report or message, because nothing says when they were observed",
    Unusable.STATUS: "kept, not used: preliminary, unverified or only ordered",
    Unusable.COMPARATOR: "kept, not used: a bound like `<5`, not a number",
    Unusable.NUMBER: "kept, not used: no number, or not written as the settings say",
    Unusable.NO_UNIT: "kept, not used: no unit (a file under `clinical.codes.file` can state it for the code)",
    Unusable.UNIT: "kept, not used: no unit of what the code measures (`osteon codes` lists those that are read)",
    Unusable.RANGE: "kept, not used: outside what the code table allows in that unit",
    Unusable.NO_RANGE: "kept, not used: the code table states no range",
    Unusable.REFERENCE: "kept, not used: the sender's reference range belongs to another unit",
    Unusable.ANSWER: "kept, not used: a coded answer that the code table does not map",
    Unusable.UNKNOWN: 'kept, not used: the answer is "unknown"',
    Unusable.TIME: "kept, not used: known to a month or a year only",
    Unusable.REGION: "kept, not used: a DXA region that nobody mapped",
    Unusable.WEIGHT_JUMP: "kept, not used: too far from what the patient weighed within 30 days",
    Unusable.HEIGHT_JUMP: "kept, not used: too far from the patient's other heights",
    Unusable.BMI: "kept, not used: weight and height make no body",
}


def show_remarks(settings: Settings, *, as_json: bool) -> None:
    """Print the counts, the most frequent first."""
    ledger = places.open_settings_ledger(settings)
    with ledger.read() as c:
        found = sorted((*feed_remarks.find(c), *unusable_values.by_reason(c)), key=lambda r: (-r.count, r.code))
    ledger.close()
    if as_json:
        rows = [asdict(r) | {"first_at": r.first_at.isoformat(), "last_at": r.last_at.isoformat()} for r in found]
        print(json.dumps(rows, indent=1))  # noqa: T201 - this is the command's output
        return
    table = Table("remark", "times", "last (UTC)", "meaning", box=None, pad_edge=False)
    for r in found:
        table.add_row(r.code, str(r.count), f"{r.last_at:%Y-%m-%d %H:%M}", MEANINGS.get(r.code, ""))
    Console(highlight=False).print(table if found else "nothing to remark")
