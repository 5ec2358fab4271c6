"""What `osteon csv` prints and does: dropped files, why some are held, and a person's decision on those."""

from __future__ import annotations

import dataclasses
import json

from rich.console import Console
from rich.table import Table

from config.settings import Settings
from node import places
from node.feeds.csv_drop import held_file, manifest_of
from node.feeds.csv_header import described
from node.feeds.csv_layout import layout_of, read_manifest
from node.feeds.csv_rules import FileHeld, FileRejected, FileRule
from node.feeds.csv_shape import check_header
from node.store import csv_files
from node.store.csv_files import CsvState, Overtaken
from node.store.errors import NoSuchFile

_SHOWN = ("id", "state", "reason", "source", "rows", "bad_rows", "written", "deleted")
MINIMUM_WIDTH = 160
"""Columns of the longest line there can be: where it is printed to is no reason to cut a code off."""
_HELD = {
    FileRule.SOURCE: "its manifest names a source that the settings do not have: mend them, restart, then release it",
    FileRule.HEADER: "the list of errors in held/<id>/ names the columns; mend the settings, restart, then release it",
    FileRule.TOO_MANY_BAD_ROWS: "look at the list of errors; released, its good rows are imported",
    FileRule.TOO_MANY_DELETIONS: "is the snapshot whole? Released, it deletes what it lacks",
    FileRule.OUTDATED: "a file of its source that was made later is imported; released, it adds what is not known yet",
    FileRule.FAILED: "the import broke; the log has the kind of error",
}
"""Why a file waits for a person, and what follows."""
_REJECTED = {
    FileRule.WORKBOOK: "a workbook is not read; save it as CSV in the program that made it, and drop that",
    FileRule.NOT_CSV: "only *.csv is read; drop it again under such a name, or as *.part while it is being written",
}
_UNSEEN = "; it is not to be seen from here: if its source or header still does not fit the settings, it is held again"
_LEFT = {Overtaken.IN_PART: "; a later file of its source is imported, so only what is not known yet will be taken"}


def show_files(settings: Settings, *, state: str, limit: int, as_json: bool) -> None:
    """Print the files, newest first."""
    ledger = places.open_settings_ledger(settings)
    with ledger.read() as c:
        found = csv_files.find(c, state=state, limit=limit)
    ledger.close()
    if as_json:
        print(json.dumps([dataclasses.asdict(file) for file in found], default=str, indent=2))  # noqa: T201
        return
    table = Table(*_SHOWN, "taken (UTC)", box=None, pad_edge=False)
    for file in found:
        table.add_row(*(str(getattr(file, name)) for name in _SHOWN), f"{file.recorded_at:%Y-%m-%d %H:%M}")
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.width = max(console.width, MINIMUM_WIDTH)
    console.print(table if found else "no file yet")
    for state_shown, reasons in ((CsvState.HELD, _HELD), (CsvState.REJECTED, _REJECTED)):
        for rule, why in reasons.items():
            if any(file.state == state_shown and file.reason == rule for file in found):
                console.print(f"{state_shown}, {rule}: {why}")


def decide(settings: Settings, number: int, state: CsvState) -> str:
    """Record a person's decision on a held file; says what follows.

    Raises:
        NoSuchFile: it is unknown, not held, or to be released although a later file of its source leaves it nothing to
            say, or although its source or header still does not fit the settings.

    """
    so = "" if state is not CsvState.RELEASED or _fits(settings, number) else _UNSEEN
    ledger = places.open_settings_ledger(settings)
    try:
        with ledger.begin() as c:
            left = csv_files.decide(c, number, state)
    finally:
        ledger.close()
    so += _LEFT.get(left, "") if state is CsvState.RELEASED else ""
    return f"file {number} is {state}; the node carries it out at its next look at the folder{so}"


def _fits(settings: Settings, number: int) -> bool:
    """Whether a held file was looked at; a decision does not mend its form, so it would only be held again.

    Raises:
        NoSuchFile: its source or header does not fit the settings.

    """
    feed = settings.clinical.csv
    try:
        path = None if feed.folder is None else held_file(feed.folder, number)
        if path is None:
            return False
        check_header(path, layout_of(path.name, read_manifest(manifest_of(path)), feed, settings.site.zone))
    except FileHeld as error:
        why = ": ".join(filter(None, (error.rule, described(error.problems))))
        msg = (
            f"file {number} cannot be released: it does not fit the settings ({why}); mend clinical.csv, restart the "
            f"node and release it then, or `osteon csv reject {number}`"
        )
        raise NoSuchFile(msg) from error
    except FileRejected:
        return True  # the node will say so
    except OSError:
        return False
    return True
