"""Which proof a destination gives: what the settings ask for, or the first that it offers.

Storage commitment is an archive's own promise; finding an object by query shows that it is there now; the answer to a
C-STORE is its word and no proof. `auto` never waits for what is not offered, and where nothing is, the word has to do
and is shown as such.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, Literal

from config.settings import Destination
from dicom_io.commitment import PUSH_MODEL
from dicom_io.negotiation import STUDY_ROOT_FIND, Accepted
from node.store.delivery_list import UNPROVED
from node.store.destinations import DestinationState

Kind = Literal["commitment", "find", "qido", "c-store"]
_CHAIN: Final[tuple[Kind, ...]] = ("commitment", "find", "qido", "c-store")
"""In this order one stands in for the one before it."""
REMEMBERED: Final = dt.timedelta(days=1)
"""How long `auto` begins with the kind that worked last, before it tries again what the destination offers first."""


def first_kind(to: Destination, state: DestinationState, took: Accepted, now: dt.datetime) -> str:
    """The kind of proof to ask for after a send; `took`: what the association for it was granted."""
    if to.proof == "none":
        return UNPROVED
    if to.proof != "auto":
        return to.proof
    offered = {"commitment": took.offers(PUSH_MODEL), "find": took.offers(STUDY_ROOT_FIND), "qido": bool(to.qido_url)}
    known = state.proof if state.proof_at is not None and now - state.proof_at < REMEMBERED else ""
    start = _CHAIN.index(known) if known in _CHAIN else 0
    return next((kind for kind in _CHAIN[start:] if offered.get(kind)), UNPROVED)


def next_kind(to: Destination, kind: str) -> str | None:
    """What stands in for a kind that does not work there; None where the settings allow nothing further.

    A read-back stands in for a commitment that is never reported (reception-and-delivery.md 4.2); the word of the
    C-STORE answers stands in for a proof only where the settings leave it to the node.
    """
    allowed: dict[str, tuple[Kind, ...]] = {"auto": _CHAIN, "commitment": _CHAIN[:3]}
    for after in allowed.get(to.proof, ())[_index(kind) + 1 :]:
        if after != "qido" or to.qido_url:
            return after
    return None


def _index(kind: str) -> int:
    return _CHAIN.index(kind) if kind in _CHAIN else len(_CHAIN)
