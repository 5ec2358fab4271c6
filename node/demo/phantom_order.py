"""What `osteon phantom` is asked for. Values only: the command line reads them at every start."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class PhantomView(enum.StrEnum):
    """Which films of a virtual patient are written."""

    FRONTAL = "frontal"
    """PA or AP, as drawn for the patient."""
    LATERAL = "lateral"
    """From the side, in a series of its own; a node refuses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomOrder:
    """What to write: `count` patients of `seed`, films of `rows` pixels in height, the views in order."""

    count: int
    seed: int
    rows: int
    views: tuple[PhantomView, ...] = (PhantomView.FRONTAL,)
