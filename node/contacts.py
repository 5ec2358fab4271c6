"""Counts every contact of the Storage SCP in memory and writes the counts down every second.

An association never waits for the ledger or the audit trail on this way. Memory is bounded: once `MAX_KEYS` callers
were seen within a second, further ones are counted by address, then together, so a port scanner fills nothing. What the
ledger does not take now is kept and written later.
"""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass

import structlog

from dicom_io.admission import Caller, Drop, Rejection, StoreFailure
from node.audit import AuditTrail
from node.scribe import Scribe
from node.store import peers
from node.store.engine import Ledger
from node.store.errors import LedgerUnavailable
from node.store.peers import Contact

ACCEPTED = "accepted"
"""The one outcome that is no trouble."""
MAX_KEYS = 256
"""Callers with their outcomes told apart within one interval."""
MANY = Caller(address="many")
"""Stands for the callers beyond all bounds."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Tally:
    count: int
    first_at: dt.datetime
    last_at: dt.datetime


class ContactBook:
    """The `Observer` of the Storage SCP. Start it before, stop it after the SCP."""

    def __init__(self, ledger: Ledger, audit: AuditTrail, *, interval: float = 1.0) -> None:
        """`interval`: seconds between two writes."""
        self._ledger = ledger
        self._audit = audit
        self._lock = threading.Lock()
        self._tallies: dict[tuple[Caller, str], _Tally] = {}
        self._unwritten: dict[tuple[Caller, str], _Tally] = {}
        self._failing = False
        self._scribe = Scribe("contacts", self.flush, interval=interval)

    def accepted(self, who: Caller) -> None:
        """Count an association."""
        self._count(who, ACCEPTED)

    def rejected(self, who: Caller, why: Rejection) -> None:
        """Count a refused association."""
        self._count(who, why.value.word)

    def dropped(self, who: Caller, why: Drop) -> None:
        """Count a connection that was no association."""
        self._count(who, why.value)

    def not_stored(self, who: Caller, why: StoreFailure) -> None:
        """Count a C-STORE that was refused."""
        self._count(who, why.value)

    def start(self) -> None:
        """Begin to write."""
        self._scribe.start()

    def stop(self) -> None:
        """Write what is left and end."""
        self._scribe.stop()

    def flush(self) -> None:
        """Write what was counted since the last time."""
        with self._lock:
            tallies, self._tallies = self._tallies, {}
        for (who, outcome), tally in tallies.items():
            self._audit.record(
                "contact",
                outcome=outcome,
                calling=who.calling,
                called=who.called,
                address=who.address,
                count=tally.count,
                first_at=tally.first_at.isoformat(timespec="milliseconds"),
            )
        self._audit.flush()
        for key, tally in tallies.items():
            _merge(self._unwritten, _bounded(self._unwritten, key), tally)
        if self._unwritten:
            self._write()

    def _write(self) -> None:
        try:
            with self._ledger.begin() as c:
                peers.add(c, (_contact(key, tally) for key, tally in self._unwritten.items()))
        except LedgerUnavailable as error:
            if not self._failing:
                log.warning("contacts.not_written", error=str(error))
            self._failing = True
        else:
            self._unwritten = {}
            self._failing = False

    def _count(self, who: Caller, outcome: str) -> None:
        now = dt.datetime.now(dt.UTC)
        with self._lock:
            key = _bounded(self._tallies, (who, outcome))
            _merge(self._tallies, key, _Tally(count=1, first_at=now, last_at=now))


def _bounded(tallies: dict[tuple[Caller, str], _Tally], key: tuple[Caller, str]) -> tuple[Caller, str]:
    """Give `key` itself, or what it is counted under when too many are told apart already."""
    who, outcome = key
    if key in tallies or len(tallies) < MAX_KEYS:
        return key
    by_address = (Caller(address=who.address), outcome)
    return by_address if by_address in tallies or len(tallies) < 2 * MAX_KEYS else (MANY, outcome)


def _merge(tallies: dict[tuple[Caller, str], _Tally], key: tuple[Caller, str], more: _Tally) -> None:
    known = tallies.setdefault(key, _Tally(count=0, first_at=more.first_at, last_at=more.last_at))
    known.count += more.count
    known.first_at = min(known.first_at, more.first_at)
    known.last_at = max(known.last_at, more.last_at)


def _contact(key: tuple[Caller, str], tally: _Tally) -> Contact:
    who, outcome = key
    return Contact(
        calling_ae=who.calling,
        called_ae=who.called,
        address=who.address,
        outcome=outcome,
        count=tally.count,
        first_at=tally.first_at,
        last_at=tally.last_at,
    )
