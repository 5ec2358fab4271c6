"""One line of `osteon doctor`."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Mark(enum.Enum):
    """How a finding is meant."""

    OK = "ok"
    WARN = "warn"
    """Works, but somebody should look."""
    FAIL = "fail"
    """The node cannot do its work so; the exit status says so too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line."""

    mark: Mark
    what: str
    remedy: str = ""
