"""The latest values of the feeds across all patients, for whoever watches a feed's units."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from node.store.clinical_schema import observation

LOOKED_AT: Final = 50_000
"""Newest rows that are looked at: the look must stay cheap however large the ledger grows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedValue:
    """One usable value in its canonical unit. Not for logs."""

    feed: str
    """`HL7`, or the name of the CSV source."""
    variable: str
    value: float


def latest_values(c: sa.Connection, variables: Collection[str]) -> tuple[FeedValue, ...]:
    """Usable values of these variables among the newest rows, newest first."""
    t = observation.c
    newest = c.execute(sa.select(sa.func.max(t.id))).scalar() or 0
    rows = c.execute(
        sa.select(t.key, t.variable, t.value)
        .where(t.id > newest - LOOKED_AT, t.usable, t.superseded_at.is_(None), t.variable.in_(sorted(variables)))
        .order_by(t.id.desc())
    )
    return tuple(FeedValue(feed=_feed(r.key), variable=r.variable, value=r.value) for r in rows)


def _feed(key: str) -> str:
    """The sender as the key of an observation names it: `HL7|...`, `CSV|source|...`."""
    kind, _, rest = key.partition("|")
    return rest.partition("|")[0] if kind == "CSV" else kind
