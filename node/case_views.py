"""What `osteon cases`, `osteon case` and `osteon retry` show and do: at a terminal, and as JSON for programs."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any

from rich.console import Console
from rich.table import Table

from config.settings import Settings
from node import process
from node.case import Delivered, Failed, Reported
from node.delivery import resume_delivery
from node.store import case_json, cases, duplicates, outbox
from node.store.engine import Connection
from node.store.errors import NoSuchCase
from node.tasks import ADVANCE, INFER_LANE


def show_cases(settings: Settings, *, state: str, limit: int, as_json: bool) -> None:
    """Print the latest cases and how many there are in each state.

    Raises:
        NoSuchCase: `state` names no state.

    """
    wanted = _state_name(state) if state else None
    ledger = process.open_settings_ledger(settings)
    with ledger.read() as c:
        found = cases.find(c, state=wanted, limit=limit)
        counts = cases.count_by_state(c)
    ledger.close()
    if as_json:
        _print_json(
            {"counts": {_words(s): n for s, n in counts.items()}, "cases": [_row(summary) for summary in found]}
        )
        return
    table = Table("case", "state", "reason", "received (UTC)", "from", "SOP Instance UID", box=None, pad_edge=False)
    for summary in found:
        received = f"{summary.received_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(
            str(summary.case_id),
            _words(summary.state),
            summary.reason,
            received,
            summary.calling_ae,
            summary.sop_instance_uid,
        )
    console = Console()
    console.print(table)
    console.print("  ".join(f"{_words(s)} {n}" for s, n in counts.items() if n) or "no case yet")


def show_case(settings: Settings, case_id: int, *, as_json: bool) -> None:
    """Print one case with its history, its result and its deliveries.

    Raises:
        NoSuchCase: it is unknown.

    """
    ledger = process.open_settings_ledger(settings)
    with ledger.read() as c:
        facts = _facts(c, case_id)
    ledger.close()
    if as_json:
        _print_json(facts)
        return
    console = Console(highlight=False)
    console.print(f"case {case_id}: {facts['state']}  {facts['reason']}".rstrip(), style="bold")
    for event in facts["history"]:
        console.print(f"  {event['at']}  {event['state']:<15} {event['why']}", soft_wrap=True)
    for delivery in facts["deliveries"]:
        error = f"  {delivery['error']}" if delivery["error"] else ""
        console.print(f"  to {delivery['destination']}: {delivery['state']}, {delivery['tries']} failed tries{error}")
    for duplicate in facts["received_again"]:
        kind = "OTHER BYTES under the same UID, kept for you" if duplicate["differs"] else "same bytes"
        console.print(f"  received again {duplicate['copies']}x: {kind}")
    if facts["result"] is not None:
        console.print_json(json.dumps(facts["result"], default=str))


def retry_case(settings: Settings, case_id: int) -> str:
    """Take up a Failed case from its start, or the refused deliveries of a reported one; says what was done.

    Raises:
        NoSuchCase: it is unknown, or there is nothing to retry.

    """
    ledger = process.open_settings_ledger(settings)
    with ledger.begin() as c:
        case = cases.load(c, case_id)
        if isinstance(case, Failed):
            cases.reopen(c, case_id, kind=ADVANCE, lane=INFER_LANE)
            done = f"case {case_id} is received again and will be screened"
        elif names := resume_delivery(c, case_id):
            done = f"case {case_id} is on its way again to {', '.join(names)}"
        else:
            msg = f"case {case_id} is {_words(case_json.state_of(case))}; there is nothing to retry"
            raise NoSuchCase(msg)
    ledger.close()
    return done


def _facts(c: Connection, case_id: int) -> dict[str, Any]:
    case = cases.load(c, case_id)
    reported = isinstance(case, Reported | Delivered)
    return {
        "case": case_id,
        "state": _words(case_json.state_of(case)),
        "reason": case_json.codes_of(case),
        "source": json.loads(case_json.dump(case))[0]["source"],
        "history": [_event(event) for event in cases.history(c, case_id)],
        "deliveries": [
            {"destination": d.destination, "state": str(d.state), "tries": d.tries, "proof": d.proof, "error": d.error}
            for d in outbox.deliveries(c, case_id=case_id)
        ],
        "received_again": [
            {"copies": d.copies, "differs": d.differs, "file": d.spool_file}
            for d in duplicates.listed(c, case_id=case_id)
        ],
        "result": json.loads(case_json.dump(case))[0]["result"] if reported else None,
    }


def _event(event: cases.CaseEvent) -> dict[str, Any]:
    why = event.reason
    if detail := event.detail.get("detail"):
        why = f"{why} ({detail})" if detail not in why else why
    return {"at": _time(event.at), "state": _words(event.state), "why": why}


def _row(summary: cases.CaseSummary) -> dict[str, Any]:
    return {
        "case": summary.case_id,
        "state": _words(summary.state),
        "reason": summary.reason,
        "sop_instance_uid": summary.sop_instance_uid,
        "study_uid": summary.study_uid,
        "calling_ae": summary.calling_ae,
        "received_at": _time(summary.received_at),
        "updated_at": _time(summary.updated_at),
    }


def _words(state: str) -> str:
    """`NotApplicable` -> `not-applicable`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", state).lower()


def _state_name(words: str) -> str:
    for name in case_json.STATES:
        if _words(name) == words.lower():
            return name
    msg = f"no state is called {words!r}; there are {', '.join(map(_words, case_json.STATES))}"
    raise NoSuchCase(msg)


def _time(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds")


def _print_json(facts: dict[str, Any]) -> None:
    print(json.dumps(facts, indent=1))  # noqa: T201 - this is the command's output
