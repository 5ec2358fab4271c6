"""How long to wait before a peer is tried again: one rule for reports and for commitments."""

from __future__ import annotations

import random

from config.settings import Delivery


def pause(tries: int, settings: Delivery) -> float:
    """Back-off in seconds after `tries` vain tries: doubles from the first pause up to the cap, with 20 % jitter."""
    doubled = settings.backoff_first * 2.0 ** min(tries - 1, 30)
    return min(doubled, settings.backoff_cap) * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, no secret
