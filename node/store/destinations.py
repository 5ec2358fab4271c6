"""How each destination is: reachable, only asked by C-ECHO, taking what piled up, or paused by a person.

One row for all processes and kept over restarts. A destination without a row is as good as any: closed breaker, no
failure, not paused.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.store.delivery_schema import destination_state
from node.store.engine import Connection
from node.store.upsert import insert

_t = destination_state.c


class Breaker(enum.StrEnum):
    """Whether deliveries flow."""

    CLOSED = "closed"
    """They do."""
    OPEN = "open"
    """It is not reachable: nothing is sent, it is asked by C-ECHO."""
    RECOVERING = "recovering"
    """It is back; what has piled up goes out in order and at a bounded rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationState:
    """One destination as the ledger has it."""

    name: str
    breaker: Breaker = Breaker.CLOSED
    failures: int = 0
    """Associations in a row that did not come about."""
    since: dt.datetime | None = None
    """When the breaker entered its state."""
    paused_at: dt.datetime | None = None
    """Since when a person holds its deliveries back; None while nobody does."""
    paused_why: str = ""
    proof: str = ""
    """Kind of proof to begin with, because what it offers first did not work; empty while it does."""
    proof_at: dt.datetime | None = None

    @property
    def flows(self) -> bool:
        """Whether anything may be sent."""
        return self.breaker is not Breaker.OPEN and self.paused_at is None


def get(c: Connection, name: str) -> DestinationState:
    """Return the state of a destination."""
    row = c.execute(_ONE, {"wanted": name}).mappings().first()
    return DestinationState(name=name) if row is None else _state(row)


def all_of(c: Connection) -> tuple[DestinationState, ...]:
    """Every destination that ever had trouble, by name."""
    rows = c.execute(sa.select(destination_state).order_by(_t.name)).mappings().all()
    return tuple(_state(row) for row in rows)


def count_failure(c: Connection, name: str, *, limit: int, at: dt.datetime) -> bool:
    """One more association did not come about. Whether that opened the breaker: there were `limit` in a row."""
    _put(c, name, failures=1, again={"failures": _t.failures + 1})
    full = sa.and_(_t.name == name, _t.failures >= limit, _t.breaker != Breaker.OPEN)
    return c.execute(sa.update(destination_state).where(full).values(breaker=Breaker.OPEN, since=at)).rowcount == 1


def answered(c: Connection, name: str) -> None:
    """An association came about."""
    c.execute(_ANSWERED, {"wanted": name})


def recover(c: Connection, name: str, *, at: dt.datetime) -> None:
    """It is back, or no longer paused: what has piled up goes out at a bounded rate."""
    values = {"breaker": Breaker.RECOVERING, "failures": 0, "since": at}
    _put(c, name, **values, again=values)


def recovered(c: Connection, name: str, *, at: dt.datetime) -> None:
    """What had piled up is out."""
    which = sa.and_(_t.name == name, _t.breaker == Breaker.RECOVERING)
    c.execute(sa.update(destination_state).where(which).values(breaker=Breaker.CLOSED, since=at))


def pause(c: Connection, name: str, *, why: str, at: dt.datetime) -> bool:
    """Hold its deliveries back. False: they are held back already."""
    if get(c, name).paused_at is not None:
        return False
    values = {"paused_at": at, "paused_why": why}
    _put(c, name, **values, again=values)
    return True


def resume(c: Connection, name: str) -> bool:
    """Hold them back no longer. False: they were not."""
    which = sa.and_(_t.name == name, _t.paused_at.is_not(None))
    return c.execute(sa.update(destination_state).where(which).values(paused_at=None, paused_why="")).rowcount == 1


def remember_proof(c: Connection, name: str, kind: str, *, at: dt.datetime) -> None:
    """From now on begin with this kind of proof there; empty: with what it offers first."""
    values = {"proof": kind, "proof_at": at}
    _put(c, name, **values, again=values)


_ONE = sa.select(destination_state).where(_t.name == sa.bindparam("wanted"))
_ANSWERED = sa.update(destination_state).where(_t.name == sa.bindparam("wanted"), _t.failures > 0).values(failures=0)
"""Built once, for every delivery asks and says this: to build a statement costs more than to run it."""


def _put(c: Connection, name: str, *, again: dict[str, Any], **values: Any) -> None:
    new = insert(c, destination_state).values(name=name, **values)
    c.execute(new.on_conflict_do_update(index_elements=["name"], set_=again))


def _state(row: sa.RowMapping) -> DestinationState:
    return DestinationState(**{**row, "breaker": Breaker(row["breaker"])})
