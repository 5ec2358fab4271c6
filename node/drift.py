"""Whether a feed's values still are where they belong: the alarm for a unit that changed at the sender.

A laboratory that goes over from ng/mL to nmol/L and forgets the label sends values that are possible for every single
patient. Their median over many patients is not. It is compared with what the code table expects, in the canonical unit.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import structlog

from config.codes import CodeTable
from node.store.alerts import AlertKind, raise_alert
from node.store.clinical_medians import FeedValue, latest_values
from node.store.engine import Ledger

WINDOW: Final = 200
"""Values whose median counts: the newest of a feed and variable."""
ENOUGH: Final = 50
"""Fewer say nothing: a ward of small patients is no drift."""

_log = structlog.get_logger()


def watch_medians(ledger: Ledger, table: CodeTable) -> None:
    """Raise `UNIT_DRIFT` for every feed and variable whose median lies outside what the table expects."""
    watched = [v.name for v in table.variables.values() if v.median is not None]
    with ledger.read() as c:
        values = latest_values(c, watched)
    for feed, variable in drifted(values, table):
        _log.warning("feed.unit_drift", feed=feed, variable=variable)
        with ledger.begin() as c:
            detail = f"median of the latest {variable} values is not in {table.variables[variable].median}"
            raise_alert(c, AlertKind.UNIT_DRIFT, f"feed {feed} {variable}", detail)


def drifted(values: Iterable[FeedValue], table: CodeTable) -> tuple[tuple[str, str], ...]:
    """(feed, variable) whose median over the newest values is not where it belongs; `values` come newest first."""
    series: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for value in values:
        recent = series[value.feed, value.variable]
        if len(recent) < WINDOW:
            recent.append(value.value)
    return tuple(
        (feed, variable)
        for (feed, variable), recent in sorted(series.items())
        if len(recent) >= ENOUGH and not _expected(statistics.median(recent), table.variables[variable].median)
    )


def _expected(median: float, limits: tuple[float, float] | None) -> bool:
    return limits is None or limits[0] <= median <= limits[1]
