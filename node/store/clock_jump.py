"""A clock that was set back: what was written in a time that is still to come would wait for that time.

A task says itself whether that happened, for it was then last changed in the future. It gets back the pause it had,
from now; whoever comes second, another process or host, finds nothing more to do. A clock that was set ahead needs
nothing: work is due early, leases end early, and the fence drops what completes twice.
"""

from __future__ import annotations

import time
from typing import Final

import sqlalchemy as sa

from node.store.engine import Connection
from node.store.schema import task as t

SLACK_SECONDS: Final = 30.0
"""So far apart may the clocks of hosts be before one takes the other's for the future."""


def heal(c: Connection) -> int:
    """Give every live task that was last changed in the future its pause from now; how many."""
    now = time.time()
    ahead = t.c.updated_at - now
    back = {"due_at": t.c.due_at - ahead, "lease_until": t.c.lease_until - ahead, "updated_at": now}
    return c.execute(sa.update(t).where(_from_the_future(now)).values(back)).rowcount


def any_ahead(c: Connection) -> bool:
    """Whether `heal` would find something; for a reader, so that looking takes no write lock."""
    return c.execute(sa.select(t.c.id).where(_from_the_future(time.time())).limit(1)).first() is not None


def _from_the_future(now: float) -> sa.ColumnElement[bool]:
    # Literals, so that both databases can prove the partial index covers the query.
    live = t.c.state.in_([sa.literal_column("'todo'"), sa.literal_column("'doing'")])
    return sa.and_(live, t.c.updated_at > now + SLACK_SECONDS)


class ClockWatch:
    """Notices that this host's wall clock was set back, by the clock that only goes on."""

    def __init__(self) -> None:
        self._apart = time.time() - time.monotonic()

    def went_back(self) -> bool:
        """Whether it was since the last call, by more than `SLACK_SECONDS`."""
        apart = time.time() - time.monotonic()
        before, self._apart = self._apart, apart
        return apart < before - SLACK_SECONDS
