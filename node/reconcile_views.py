"""What `osteon reconcile` shows: the coverage of one day, group by group."""

from __future__ import annotations

import datetime as dt
import json

from rich.console import Console
from rich.table import Table

from config.settings import Settings
from dicom_io.errors import PeerFault
from node import places
from node.reconcile import Coverage, Reconciler

_SHOWN = 20


def reconcile_day(settings: Settings, day: dt.date | None, *, as_json: bool) -> int:
    """Compare a day (yesterday without one) now and print what was found; the exit status."""
    now = dt.datetime.now(dt.UTC)
    asked = day or now.astimezone(settings.site.zone).date() - dt.timedelta(days=1)
    ledger = places.open_settings_ledger(settings)
    try:
        coverage = Reconciler(ledger=ledger, settings=settings, now=lambda: now).reconcile(asked)
    except (PeerFault, LookupError) as error:
        Console(stderr=True).print(f"{error}", markup=False)
        return 1
    finally:
        ledger.close()
    if as_json:
        print(json.dumps(coverage.document()))  # noqa: T201 - for programs
    else:
        _show(Console(), coverage)
    return 0


def _show(console: Console, coverage: Coverage) -> None:
    table = Table("radiographs", "count", title=f"{coverage.archive}, studies of {coverage.day.isoformat()}")
    table.add_row("listed by the archive", str(coverage.expected))
    table.add_row("received by the node", str(coverage.received))
    table.add_row("reported", str(coverage.reported))
    for reason, count in sorted(coverage.not_applicable.items()):
        table.add_row(f"not applicable: {reason}", str(count))
    for code, count in sorted(coverage.failed.items()):
        table.add_row(f"failed: {code}", str(count))
    table.add_row("withdrawn", str(coverage.withdrawn))
    table.add_row("under way", str(coverage.under_way))
    table.add_row("never received", str(len(coverage.never_received)))
    table.add_row("report no longer in the archive (sent again)", str(len(coverage.missing_reports)))
    console.print(table)
    for uid in coverage.never_received[:_SHOWN]:
        console.print(f"never received: {uid}", markup=False, highlight=False)
    if len(coverage.never_received) > _SHOWN:
        console.print(f"... and {len(coverage.never_received) - _SHOWN} more; --json lists all")
    share = "no radiographs listed" if coverage.percent is None else f"{coverage.percent:.2f} % answered"
    console.print(f"Coverage: {share} (reported, or a coded reason why there is no report)")
