"""What `osteon deliveries` shows: every destination, what waits there and since when, and what needs a person."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config.settings import Settings
from node import places
from node.store import delivery_list, destinations, outbox
from node.store.delivery_list import Counts
from node.store.destinations import DestinationState
from node.store.outbox import Delivery, DeliveryState

_LISTED = (DeliveryState.REFUSED, DeliveryState.WAITING, DeliveryState.SENT)


def show_deliveries(settings: Settings, *, name: str, limit: int, as_json: bool) -> None:
    """Print the state of every destination, then what is not delivered; `name`: of one destination only."""
    ledger = places.open_settings_ledger(settings)
    with ledger.read() as c:
        counted = {one.destination: one for one in delivery_list.counts(c)}
        states = {one.name: one for one in destinations.all_of(c)}
        listed = [d for state in _LISTED for d in outbox.deliveries(c, destination=name or None, state=state)]
    ledger.close()
    configured = {d.name for d in settings.delivery.destinations}
    names = sorted(n for n in {*counted, *configured} if name in ("", n))
    rows = [_row(n, counted.get(n), states.get(n), configured=n in configured) for n in names]
    if as_json:
        facts = {"destinations": rows, "open": [_delivery(one) for one in listed[:limit]], "open_count": len(listed)}
        print(json.dumps(facts, indent=1))  # noqa: T201 - this is the command's output
        return
    _print(rows, listed, limit)


def _row(name: str, counted: Counts | None, state: DestinationState | None, *, configured: bool) -> dict[str, Any]:
    counted, state = counted or Counts(destination=name), state or DestinationState(name=name)
    numbers = {key: value for key, value in dataclasses.asdict(counted).items() if key not in ("destination", "oldest")}
    return {
        "destination": name,
        "configured": configured,
        "breaker": str(state.breaker),
        "breaker_since": _time(state.since),
        "failures": state.failures,
        "paused_at": _time(state.paused_at),
        "paused_why": state.paused_why,
        **numbers,
        "oldest": _time(counted.oldest),
    }


def _delivery(one: Delivery) -> dict[str, Any]:
    return {
        "case": one.case_id,
        "version": one.version,
        "destination": one.destination,
        "state": str(one.state),
        "since": _time(one.since),
        "tries": one.tries,
        "proof": one.proof,
        "error": one.error,
    }


def _print(rows: list[dict[str, Any]], listed: list[Delivery], limit: int) -> None:
    console = Console(highlight=False)
    columns = ("destination", "waiting", "sent", "refused", "proved", "unproved", "oldest", "state")
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        numbers = (str(row[key]) for key in ("waiting", "sent", "refused", "proved", "unproved"))
        table.add_row(row["destination"], *numbers, _short(row["oldest"]), escape(_words(row)))
    console.print(table if rows else "no destination is configured, and none ever was")
    if not listed:
        return
    console.print()
    table = Table("case", "version", "to", "state", "since", "tries", "why", box=None, pad_edge=False)
    for one in listed[:limit]:
        since = _short(_time(one.since))
        facts = (str(one.case_id), str(one.version), one.destination, str(one.state), since, str(one.tries))
        table.add_row(*facts, escape(one.error or ""))
    console.print(table)
    if len(listed) > limit:
        console.print(f"... and {len(listed) - limit} more; --limit shows them")


def _words(row: dict[str, Any]) -> str:
    if not row["configured"]:
        return "removed from the settings"
    if row["paused_at"]:
        return f"paused: {row['paused_why']}"
    if row["breaker"] == "closed" and row["failures"]:
        return f"not answering, {row['failures']} {'try' if row['failures'] == 1 else 'tries'} failed"
    meanings = {
        "closed": "reachable",
        "open": "not reachable, asked by C-ECHO",
        "recovering": "back, taking the backlog",
    }
    return meanings[row["breaker"]]


def _short(moment: str | None) -> str:
    """Month to minute, UTC; `--json` has it all."""
    return "" if moment is None else moment[5:16].replace("T", " ")


def _time(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(dt.UTC).isoformat(timespec="seconds")
