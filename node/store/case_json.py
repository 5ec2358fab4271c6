"""`node.case` values <-> JSON. The name of the class is the name of the state; no other mapping exists.

Numbers come back bit for bit, times come back aware, and an infinite measurement survives (JSON itself has none).
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, get_args

from pydantic import ConfigDict, TypeAdapter

from node.case import Case, Failed, Final, NotApplicable, Withdrawn

STATES: dict[str, type[Case]] = {state.__name__: state for state in get_args(Case)}
"""State name -> its type."""

FINAL_STATES: tuple[str, ...] = tuple(state.__name__ for state in get_args(Final))
"""Names of the states in which a case ends."""


def state_of(case: Case) -> str:
    """Name of the case's state."""
    return type(case).__name__


def words_of(case: Case) -> str:
    """Name of the case's state as people read it."""
    return words(state_of(case))


def words(state: str) -> str:
    """`NotApplicable` -> `not-applicable`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", state).lower()


def codes_of(case: Case) -> str:
    """Coded reasons of an ended case, comma-separated; empty otherwise."""
    match case:
        case NotApplicable():
            return ",".join(case.reasons)
        case Failed():
            return str(case.code)
        case Withdrawn():
            return case.rejection
        case _:
            return ""


def dump(case: Case) -> str:
    """JSON of `case`, without its state."""
    return _adapter(state_of(case)).dump_json((case,)).decode()


def parse(state: str, document: str) -> Case:
    """Build the case value of `state` from `dump`'s JSON."""
    case: Case = _adapter(state).validate_json(document)[0]
    return case


@cache
def _adapter(state: str) -> TypeAdapter[Any]:
    # A tuple of one, because pydantic takes a configuration for it but none for a bare dataclass. Built on first use.
    return TypeAdapter(tuple[STATES[state]], config=ConfigDict(ser_json_inf_nan="strings"))  # type: ignore[valid-type]
