"""How far the ledger has worked off an inbox, which frames wait for a person, and a savepoint for each frame."""

from __future__ import annotations

import datetime as dt
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import sqlalchemy as sa

from node.store import alerts
from node.store.alerts import AlertKind
from node.store.engine import Connection
from node.store.progress_schema import cursor, quarantined
from node.store.upsert import insert

T = TypeVar("T")

_SQLITE_ERROR: Final = 1
"""SQLite's code for a statement that is wrong or too long: it would be wrong again."""
_PROGRAM_LIMIT: Final = "54"
"""PostgreSQL's class of errors for a statement beyond its limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A frame that waits for a person."""

    seq: int
    reason: str
    at: dt.datetime


class Spoiled(Exception):
    """What the work of one frame met; nothing of that frame is written, and the transaction goes on."""

    def __init__(self, error: Exception) -> None:
        place = traceback.extract_tb(error.__traceback__)[-1]
        super().__init__(f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}")
        self.kind = type(error).__name__
        """Class of the error. Its message may quote the frame and is not kept."""


def position(c: Connection, inbox: str) -> int:
    """Number of the last frame that was worked off; 0 at the beginning."""
    return c.execute(sa.select(cursor.c.seq).where(cursor.c.inbox == inbox)).scalar_one_or_none() or 0


def highest(c: Connection) -> int:
    """The highest number that any inbox of this ledger came to; 0 at the beginning."""
    return c.execute(sa.select(sa.func.max(cursor.c.seq))).scalar_one_or_none() or 0


def advance(c: Connection, inbox: str, *, old: int, new: int) -> bool:
    """Move the position in the transaction that wrote the facts. False: somebody else did; roll back."""
    if old == 0:
        start = insert(c, cursor).values(inbox=inbox, seq=0).on_conflict_do_nothing()
        c.execute(start)
    moved = sa.update(cursor).where(cursor.c.inbox == inbox, cursor.c.seq == old).values(seq=new)
    return c.execute(moved.returning(cursor.c.seq)).first() is not None


def apart(c: Connection, work: Callable[[], T]) -> T:
    """Run `work` in a savepoint of the open transaction.

    Raises:
        Spoiled: `work` raised; what it wrote is undone. Not for what ends the whole transaction (database down, locked,
            disk full): that passes through.

    """
    try:
        with c.begin_nested():
            return work()
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
        if _is_of_the_statement(error):
            raise Spoiled(error) from error
        raise
    except Exception as error:
        if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
            raise
        raise Spoiled(error) from error


def quarantine(c: Connection, inbox: str, seq: int, reason: str, at: dt.datetime) -> None:
    """Keep a frame for a person, who is told."""
    statement = insert(c, quarantined).values(inbox=inbox, seq=seq, reason=reason, at=at)
    key = ["inbox", "seq"]
    c.execute(statement.on_conflict_do_update(index_elements=key, set_={"reason": statement.excluded.reason}))
    alerts.raise_alert(c, AlertKind.QUARANTINED, _subject(seq), reason)


def release(c: Connection, inbox: str, seq: int) -> bool:
    """A person has seen to it, or a replay took it. Whether it was held."""
    released = sa.delete(quarantined).where(quarantined.c.inbox == inbox, quarantined.c.seq == seq)
    if c.execute(released.returning(quarantined.c.seq)).first() is None:
        return False
    alerts.settle(c, AlertKind.QUARANTINED, _subject(seq))
    return True


def held(c: Connection, inbox: str) -> tuple[Held, ...]:
    """The frames that wait for a person, in the order of receipt."""
    columns = (quarantined.c.seq, quarantined.c.reason, quarantined.c.at)
    found = c.execute(sa.select(*columns).where(quarantined.c.inbox == inbox).order_by(quarantined.c.seq))
    return tuple(Held(**row) for row in found.mappings().all())


def _subject(seq: int) -> str:
    return f"frame {seq}"


def _is_of_the_statement(error: sa.exc.SQLAlchemyError) -> bool:
    """Whether the database refused this one statement, as it would refuse it again, and is well otherwise."""
    cause = getattr(error, "orig", None)
    code, state = getattr(cause, "sqlite_errorcode", None), getattr(cause, "sqlstate", None)
    return (code is not None and code & 0xFF == _SQLITE_ERROR) or str(state or "").startswith(_PROGRAM_LIMIT)
