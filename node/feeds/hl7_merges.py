"""Messages that say two identifiers are one person, or that one was replaced (PID-3 survivor, MRG-1 prior).

A30, A39, A42, A43, A45 and A46 are not read as merges: they move visits, accounts or single identifiers between
patients, or are superseded forms whose meaning differs from sender to sender. A person looks at them.
"""

from __future__ import annotations

from typing import Final

from model.domain import Identifier
from node.facts import MergeFact, MergeKind
from node.names import same_issuer

MERGES: Final = frozenset({"A40", "A34", "A35", "A36", "A18"})
CHANGES: Final = frozenset({"A47"})
FOR_REVIEW: Final = frozenset({"A30", "A39", "A42", "A43", "A45", "A46"})

ACCOUNT_ONLY: Final = "A35"
"""Merges two accounts of one patient: MRG-1 repeats PID-3, and that is no self-merge."""


def merges(survivor: tuple[Identifier, ...], prior: tuple[Identifier, ...], kind: MergeKind) -> tuple[MergeFact, ...]:
    """One alias per prior identifier that is not the survivor's own; both sides may list the same national number."""
    return tuple(
        MergeFact(
            survivor=next((i for i in survivor if same_issuer(i.authority, p.authority)), survivor[0]),
            prior=p,
            kind=kind,
        )
        for p in prior
        if not any(_same(p, own) for own in survivor)
    )


def _same(one: Identifier, other: Identifier) -> bool:
    return one.value == other.value and same_issuer(one.authority, other.authority)
