"""What `osteon person` shows and does: merges and deletions of patients, by number.

Identifiers are printed only when they are asked for: this is an operator's screen, and screens are photographed.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config.settings import Settings
from model.domain import Identifier
from node import places
from node.store import clinical_people, clinical_persons
from node.store.clinical_merges import Merge, merges, undo_merge
from node.store.engine import Connection
from node.store.errors import NoSuchCase
from node.waking import Waking


def show_merges(settings: Settings, *, include_undone: bool, identifiers: bool, limit: int, as_json: bool) -> None:
    """Print merges, latest first."""
    ledger = places.open_settings_ledger(settings)
    with ledger.read() as c:
        found = merges(c, include_undone=include_undone, limit=limit)
        names = _names(c, {p for m in found for p in (m.prior_person_id, m.survivor_person_id)}, shown=identifiers)
    ledger.close()
    if as_json:
        print(json.dumps([_row(m, names) for m in found], indent=1))  # noqa: T201 - this is the command's output
        return
    table = Table("merge", "kind", "prior", "is read as", "message", "since (UTC)", "remark", "taken back", box=None)
    for m in found:
        prior, survivor = (_named(p, names) for p in (m.prior_person_id, m.survivor_person_id))
        undone = "" if m.undone_at is None else f"{m.undone_at:%Y-%m-%d %H:%M}"
        since = f"{m.recorded_at:%Y-%m-%d %H:%M}"
        table.add_row(str(m.id), m.kind, prior, survivor, str(m.seq or ""), since, m.remark, undone)
    Console(highlight=False).print(table if found else "no merges")


def undo(settings: Settings, merge_id: int) -> None:
    """Take a merge back and have the cases of both patients look again.

    Raises:
        NoSuchCase: there is no such merge, or it was taken back.

    """
    ledger = places.open_settings_ledger(settings)
    try:
        with ledger.begin() as c:
            changes = undo_merge(c, merge_id, dt.datetime.now(dt.UTC))
            Waking(settle=settings.clinical.amend_settle).by_changes(c, changes)
    finally:
        ledger.close()
    if not changes:
        msg = f"there is no standing merge {merge_id}; `osteon person merges` lists them"
        raise NoSuchCase(msg)
    prior, survivor = (change.person_key for change in changes)
    print(f"merge {merge_id} taken back: person {prior} and person {survivor} are two again")  # noqa: T201


def show_deleted(settings: Settings, *, identifiers: bool, limit: int, as_json: bool) -> None:
    """Print deleted persons, latest first."""
    ledger = places.open_settings_ledger(settings)
    with ledger.read() as c:
        found = clinical_people.deleted(c, limit)
        names = _names(c, found, shown=identifiers)
    ledger.close()
    if as_json:
        rows = [{"person": p, "identifiers": names.get(p, [])} for p in found]
        print(json.dumps(rows, indent=1))  # noqa: T201 - this is the command's output
        return
    table = Table("person", box=None)
    for person_key in found:
        table.add_row(_named(person_key, names))
    Console(highlight=False).print(table if found else "nobody was deleted")


def restore_person(settings: Settings, person_key: int) -> None:
    """Take a tombstone away and have the person's cases look again.

    Raises:
        NoSuchCase: no such person was deleted.

    """
    ledger = places.open_settings_ledger(settings)
    try:
        with ledger.begin() as c:
            changes = clinical_people.restore(c, person_key)
            Waking(settle=settings.clinical.amend_settle).by_changes(c, changes)
    finally:
        ledger.close()
    if not changes:
        msg = f"no person {person_key} was deleted; `osteon person deleted` lists them"
        raise NoSuchCase(msg)
    print(f"person {person_key} can be joined again")  # noqa: T201 - this is the command's output


def _names(c: Connection, person_keys: Iterable[int], *, shown: bool) -> dict[int, list[str]]:
    """The identifiers of these persons as `value (issuer)`; nothing unless they are to be shown."""
    keys = tuple(person_keys) if shown else ()
    return {key: [_text(i) for i in clinical_persons.identifiers_of(c, (key,))] for key in keys}


def _text(identifier: Identifier) -> str:
    return f"{identifier.value} ({identifier.authority.namespace or identifier.authority.universal_id})"


def _named(person_key: int, names: dict[int, list[str]]) -> str:
    return escape(" ".join([f"person {person_key}", *names.get(person_key, [])]))


def _row(merge: Merge, names: dict[int, list[str]]) -> dict[str, object]:
    times = {"recorded_at": merge.recorded_at.isoformat()}
    times["undone_at"] = merge.undone_at.isoformat() if merge.undone_at else ""
    ends = {"prior_identifiers": merge.prior_person_id, "survivor_identifiers": merge.survivor_person_id}
    known = {name: names[key] for name, key in ends.items() if key in names}
    return {**asdict(merge), **times, **known}
