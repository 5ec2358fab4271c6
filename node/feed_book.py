"""Counts what happens with the senders of the HL7 feed and writes the counts to the inbox every second.

No answer waits for it. Memory is bounded: beyond `MAX_KEYS` senders within a second the rest are counted together. What
the inbox does not take now is kept and written later.
"""

from __future__ import annotations

import datetime as dt
import threading
from typing import Final

import structlog

from node.feeds.inbox import FrameMeta
from node.scribe import Scribe
from node.store import inbox
from node.store.engine import Ledger
from node.store.errors import LedgerUnavailable
from node.store.inbox import Contact

MAX_KEYS: Final = 256
MANY: Final = "many"
"""Stands for the senders beyond all bounds."""

log = structlog.get_logger()

_Key = tuple[str, str, str, str]


class FeedBook:
    """Start it before, stop it after the listener."""

    def __init__(self, inbox_of: Ledger, *, interval: float = 1.0) -> None:
        """`interval`: seconds between two writes."""
        self._inbox = inbox_of
        self._lock = threading.Lock()
        self._counts: dict[_Key, Contact] = {}
        self._scribe = Scribe("feed-book", self.flush, interval=interval)

    def count(self, peer: str, outcome: str, meta: FrameMeta | None = None) -> None:
        """Count one event of a connection, or of a message when its header is given."""
        app, facility = (meta.sending_app, meta.sending_facility) if meta else ("", "")
        now = dt.datetime.now(dt.UTC)
        with self._lock:
            self._add(_contact((peer, app, facility, outcome), 1, now, now))

    def start(self) -> None:
        """Begin to write."""
        self._scribe.start()

    def stop(self) -> None:
        """Write what is left and end."""
        self._scribe.stop()

    def flush(self) -> None:
        """Write what was counted since the last time."""
        with self._lock:
            counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            with self._inbox.begin() as c:
                inbox.count_contacts(c, counts.values())
        except LedgerUnavailable as error:
            log.warning("feed_book.not_written", error=str(error))
            with self._lock:
                for contact in counts.values():
                    self._add(contact)

    def _add(self, more: Contact) -> None:
        key = (more.peer, more.sending_app, more.sending_facility, more.outcome)
        if key not in self._counts and len(self._counts) >= MAX_KEYS:
            key = (MANY, "", "", more.outcome)
        known = self._counts.get(key)
        count = more.count + (known.count if known else 0)
        first = min(more.first_at, known.first_at) if known else more.first_at
        last = max(more.last_at, known.last_at) if known else more.last_at
        self._counts[key] = _contact(key, count, first, last)


def _contact(key: _Key, count: int, first_at: dt.datetime, last_at: dt.datetime) -> Contact:
    peer, app, facility, outcome = key
    return Contact(
        peer=peer,
        sending_app=app,
        sending_facility=facility,
        outcome=outcome,
        count=count,
        first_at=first_at,
        last_at=last_at,
    )
