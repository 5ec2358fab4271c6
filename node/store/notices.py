"""Tells other processes, at the commit, that a lane has work: PostgreSQL's NOTIFY, where there is PostgreSQL.

Where a site's hints go another way, the ledger tells whoever sends them which lanes a commit has given work.
A notice is a hint and nothing else: one that is lost costs the time until the next poll. On SQLite bells are rung
(`bells`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Final

import sqlalchemy as sa
import structlog

from node.store.engine import ANNOUNCED, Announced, Connection, Ledger

_CHANNEL: Final = "osteon_task"
_NOTIFY: Final = sa.select(sa.func.pg_notify(_CHANNEL, sa.bindparam("lane")))
_LISTEN: Final = sa.text(f"LISTEN {_CHANNEL}")
_SOON: Final = "soon:"
_WAIT_SECONDS: Final = 1.0
"""Until a follower looks whether it is to stop."""
_PAUSE_SECONDS: Final = 5.0

log = structlog.get_logger()


def announce(c: Connection, lane: str) -> None:
    """Say, once this transaction is committed, that `lane` has work that is due."""
    announced: Announced | None = c.info.get(ANNOUNCED)  # none in a migration, which has its own transaction
    if announced is not None:
        announced.lanes.add(lane)
    if (announced is None or announced.by_notice) and c.dialect.name == "postgresql":
        c.execute(_NOTIFY, {"lane": lane})


def foretell(ledger: Ledger, destinations: Collection[str]) -> None:
    """Say that a report for each of `destinations` will be there in a moment.

    On SQLite alone: on a server every host of a fleet would dial, for one report.
    """
    if destinations and ledger.file is not None:
        ledger.tell([_SOON + name for name in destinations])


def foretold(said: str) -> str:
    """The destination whose report a notice foretells; empty for one about a lane."""
    return said.removeprefix(_SOON) if said.startswith(_SOON) else ""


def follow(ledger: Ledger, heard: Callable[[str], None], stopping: threading.Event) -> None:
    """Call `heard` with the lane of each notice until `stopping` is set; of a ledger on PostgreSQL.

    A connection that dies is made anew, whatever it died of; what was said meanwhile is found by the poll.
    """
    while not stopping.is_set():
        try:
            with ledger.autocommit() as c:
                c.execute(_LISTEN)
                session = c.connection.driver_connection
                assert session is not None  # noqa: S101 - it has just executed
                while not stopping.is_set():
                    for notice in session.notifies(timeout=_WAIT_SECONDS):
                        heard(notice.payload)
        except Exception as error:  # noqa: BLE001 - outermost loop: this thread is not started again
            log.warning("notices.lost", error=type(error).__name__)
            stopping.wait(_PAUSE_SECONDS)
