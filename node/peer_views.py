"""What `osteon peers` shows: who came, how it ended, and what mends it."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Iterable
from typing import Any

from rich.console import Console

from config.settings import Reception, Settings
from node import places
from node.contacts import ACCEPTED
from node.peer_advice import advise
from node.store import peers
from node.store.peers import Contact


def show_peers(settings: Settings, *, trouble: bool, as_json: bool) -> None:
    """Print every (calling AE, called AE, address), the one seen last first; with `trouble` those refused only."""
    ledger = places.open_settings_ledger(settings)
    with ledger.read() as c:
        contacts = peers.listed(c)
    ledger.close()
    shown = [facts for facts in _callers(contacts, settings.reception) if facts["trouble"] or not trouble]
    if as_json:
        print(json.dumps(shown, indent=1))  # noqa: T201 - this is the command's output
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for facts in shown:
        _print_caller(console, facts)
    if not shown:
        console.print("nobody was refused yet" if trouble else "nobody has come yet")


def _callers(contacts: Iterable[Contact], reception: Reception) -> list[dict[str, Any]]:
    def who(contact: Contact) -> tuple[str, str, str]:
        return contact.calling_ae, contact.called_ae, contact.address

    groups = itertools.groupby(sorted(contacts, key=who), key=who)
    callers = [_caller(list(group), reception) for _, group in groups]
    return sorted(callers, key=lambda facts: str(facts["last_at"]), reverse=True)


def _caller(contacts: list[Contact], reception: Reception) -> dict[str, Any]:
    one = contacts[0]
    return {
        "calling_ae": one.calling_ae,
        "called_ae": one.called_ae,
        "address": one.address,
        "accepted": sum(contact.count for contact in contacts if contact.outcome == ACCEPTED),
        "trouble": [_trouble(contact, reception) for contact in contacts if contact.outcome != ACCEPTED],
        "first_at": _time(min(contact.first_at for contact in contacts)),
        "last_at": _time(max(contact.last_at for contact in contacts)),
    }


def _trouble(contact: Contact, reception: Reception) -> dict[str, Any]:
    advice = advise(contact, reception)
    return {
        "outcome": contact.outcome,
        "count": contact.count,
        "last_at": _time(contact.last_at),
        "problem": advice.problem,
        "remedy": advice.remedy,
        "toml": advice.toml,
    }


def _print_caller(console: Console, facts: dict[str, Any]) -> None:
    calling, called = facts["calling_ae"] or "(no title)", facts["called_ae"] or "(no title)"
    console.print(f"{calling} -> {called} from {facts['address']}: accepted {facts['accepted']}x", style="bold")
    console.print(f"  first seen {facts['first_at']}, last seen {facts['last_at']} (UTC)")
    for trouble in facts["trouble"]:
        console.print(f"  {trouble['outcome']} {trouble['count']}x, last {trouble['last_at']}", style="yellow")
        console.print(f"    {trouble['problem']}")
        console.print(f"    -> {trouble['remedy']}")
        for line in trouble["toml"].splitlines():
            console.print(f"       {line}")


def _time(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
