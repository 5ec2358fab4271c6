"""Which value a correction or a void means that states another time than the value did.

Laboratories leave OBX-14 out of a deletion, and a wrong time of collection is itself a reason for a correction. Order
number, code and sub-ID name the value then; where they name several, nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from node.facts import DxaFact, ObservationFact, Unusable, key_start
from node.store.clinical_persons import Known
from node.store.clinical_values import Versions

_TAKES_BACK = (Unusable.VOID, Unusable.WRONG_PATIENT)
_REPEAT = re.compile(r"(?:#\d+)?")
"""How a value without a sub-ID goes on in its key: its place among the repeats of its message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """What order number, code and sub-ID of a statement lead to."""

    key: str = ""
    """Of the one value that they name; empty when they name none or several."""
    patient: Known | None = None
    """The identifier that value stands under."""
    unclear: bool = False
    """Whether what is meant may be one of those in use."""


def meant(
    versions: Versions, fact: ObservationFact | DxaFact, kin: Collection[Known], *, spoken_of: Collection[str]
) -> Meant:
    """Find what a statement means that speaks of a value sent before, and whose own key nothing stands under.

    Args:
        versions: of the fact's table.
        fact: the statement, with an order number (`named`).
        kin: every identifier of the person.
        spoken_of: keys that the message states itself: of several values of an order it says which one it means.

    """
    by_row = {known.row: known for known in kin}
    t = versions.table.c
    alike = t.variable == fact.variable if isinstance(fact, ObservationFact) else t.region == fact.region
    standing = versions.open_where(alike & t.identifier_id.in_(by_row))
    starts = {key_start(fact.patient), *(key_start(known.identifier) for known in kin)}
    named = [row for row in standing if row["key"] not in spoken_of and _names(row["key"], starts, fact.named)]
    chosen = [row for row in named if _time(row["key"]) == _time(fact.key)] or named
    if len(chosen) == 1:
        return Meant(key=chosen[0]["key"], patient=by_row[chosen[0]["identifier_id"]])
    in_use = any(row["usable"] for row in standing)
    return Meant(unclear=bool(chosen) or (in_use and fact.reason in _TAKES_BACK))


def _names(key: str, starts: Collection[str], named: str) -> bool:
    value = key.rpartition("|")[0]
    ends = [value.removeprefix(start + named) for start in starts if value.startswith(start + named)]
    return any(not end or (named.endswith("|") and _REPEAT.fullmatch(end)) for end in ends)


def _time(key: str) -> str:
    return key.rpartition("|")[2]
