"""How long to wait before a peer is tried again: one rule for reports, commitments and HL7 messages."""

from __future__ import annotations

import random
from typing import Protocol


class Pauses(Protocol):
    """Settings of one kind of peer."""

    @property
    def backoff_first(self) -> float:
        """Seconds before the second try."""

    @property
    def backoff_cap(self) -> float:
        """Longest pause, seconds."""


def pause(tries: int, settings: Pauses) -> float:
    """Back-off in seconds after `tries` vain tries: doubles from the first pause up to the cap, with 20 % jitter."""
    doubled = settings.backoff_first * 2.0 ** min(tries - 1, 30)
    return min(doubled, settings.backoff_cap) * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, no secret
