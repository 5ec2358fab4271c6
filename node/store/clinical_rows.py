"""The columns of keyed values, and a fact's place in them.

What makes two versions of a value differ stands apart from what only goes along: a value that is sent again by another
message, or read by another version of the code table, says nothing new.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, TypeAlias

from model import asof
from node.facts import DxaFact, ExposureFact, ObservationFact

Columns: TypeAlias = tuple[Hashable, ...]

OBSERVATION: Final = (
    "identifier_id",
    "variable",
    "raw_value",
    "raw_unit",
    "value",
    "unit",
    "usable",
    "reason",
    "code",
    "start_at",
    "stated_end_at",
)
OBSERVATION_EXTRA: Final = (
    "end_at",
    "available_at",
    "comparator",
    "status",
    "table_version",
    "visit",
    "source",
    "seq",
)
DXA: Final = ("identifier_id", "region", "t_score", "z_score", "bmd", "usable", "reason", "observed_at")
DXA_EXTRA: Final = ("source", "seq")
EXPOSURE: Final = ("identifier_id", "code", "start_at", "end_at", "cancelled")
EXPOSURE_EXTRA: Final = ("available_at", "source", "seq")
TIMES: Final = frozenset({"start_at", "stated_end_at", "end_at", "observed_at"})
"""Of these, what a statement without a time of its own does not say."""


def observation_row(fact: ObservationFact, identifier: int, seq: int | None) -> tuple[Columns, Columns]:
    """Its `OBSERVATION` and `OBSERVATION_EXTRA`."""
    return (
        identifier,
        fact.variable,
        fact.raw_value,
        fact.raw_unit,
        fact.value,
        fact.unit,
        fact.usable,
        fact.reason,
        fact.code,
        fact.observed_start,
        fact.observed_end,
    ), (
        asof.end_in_use(fact.variable, fact.observed_start, fact.observed_end),
        fact.available_at,
        fact.comparator,
        fact.status,
        fact.table_version,
        fact.visit,
        fact.source,
        seq,
    )


def dxa_row(fact: DxaFact, identifier: int, seq: int | None) -> tuple[Columns, Columns]:
    """Its `DXA` and `DXA_EXTRA`."""
    content = (fact.region, fact.t_score, fact.z_score, fact.bmd, fact.usable, fact.reason, fact.observed_at)
    return (identifier, *content), (fact.source, seq)


def exposure_row(fact: ExposureFact, identifier: int, seq: int | None) -> tuple[Columns, Columns]:
    """Its `EXPOSURE` and `EXPOSURE_EXTRA`."""
    content = (identifier, fact.code, fact.observed_start, fact.observed_end, fact.cancelled)
    return content, (fact.available_at, fact.source, seq)
