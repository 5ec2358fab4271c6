"""How a session on PostgreSQL is opened, and what is asked of its server; what `sqlite` is for a file.

- Nobody waits for ever: neither this host for a server that has vanished, nor a server for a host that has. A vanished
  host's locks are free after half a minute.
- A commit is on the server's disk before it is answered, whatever the server's default is.
- A server that may not write (a standby, a switch-over) is one that is away: its sessions are given up, so that the
  next attempt dials again and finds whoever writes now.

The limits are set in the session and not asked for in the connection's `options`, which a pooler refuses. What the URL,
the database or the role says of one stands; what holds for the whole server was not said with senders in mind that wait
for an answer.

Not allowed here: any statement about a case or a task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry

from node.store.errors import LedgerError

LINK: Final[dict[str, int | str]] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "client_encoding": "utf8",
}
"""This side of a connection, in libpq's words: s, s, s, times, ms. A server that is gone is given up within 25 s."""

_LIMITS: Final = {
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "10s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20s",
}
"""The server's side: the wait for another's lock, the silence of a transaction, and of a host."""

_OURS: Final = ", ".join(f"('{name}', '{value}')" for name, value in {**_LIMITS, "synchronous_commit": "on"}.items())
_PREPARE: Final = f"""
SELECT set_config(name, wanted, false) FROM pg_settings JOIN (VALUES {_OURS}) AS ours (name, wanted) USING (name)
WHERE CASE name WHEN 'synchronous_commit' THEN setting = 'off'
  ELSE source NOT IN ('client', 'database', 'user', 'database user', 'session') END
"""  # noqa: S608 - of constants
"""`synchronous_commit`: only `off` acknowledges what is on no disk. `local`, `remote_...` are the site's."""

_NO_LIMITS: Final = sa.text(
    "SELECT set_config('lock_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true)"
)
_STATED: Final = sa.text(
    "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'server_encoding')"
)

_SESSION_ENDED: Final = ("25006", "25P03", "25P04", "0A000")
"""read_only_sql_transaction; the time-outs of an idle and of a long transaction; feature_not_supported, which says
that a standby begins no transaction that writes, or that a prepared statement's table was migrated meanwhile."""
_COLLIDED: Final = ("40001", "40P01")
"""serialization_failure, deadlock_detected: rolled back for certain, for another's sake."""
_LOCKED: Final = "55P03"
"""lock_not_available: `lock_timeout` is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why the server is not fit for what must never be lost."""

    what: str
    remedy: str


def link(url: sa.URL) -> dict[str, int | str]:
    """What to connect with beside the URL, which has the last word."""
    return {name: value for name, value in LINK.items() if name not in url.query}


def prepare(connection: Any, _entry: ConnectionPoolEntry) -> None:
    """For a new connection."""
    connection.autocommit = True  # else a rollback would take the settings along
    connection.execute(_PREPARE)
    connection.autocommit = False


def forget_reading(connection: Any, _entry: ConnectionPoolEntry) -> None:
    """For a connection that is given back: SQLAlchemy leaves a reader's at READ WRITE, where no server may refuse."""
    if connection is not None and not connection.closed:
        connection.read_only = None


def give_up(context: sa.ExceptionContext) -> None:
    """Let no session be used again that cannot do what it is for."""
    if state_of(context.original_exception) in _SESSION_ENDED:
        context.is_disconnect = True


def without_limits(c: sa.Connection) -> None:
    """Let this transaction wait and be silent for as long as it takes; nothing on SQLite."""
    if c.dialect.name == "postgresql":
        c.execute(_NO_LIMITS)


def require_utf8(c: sa.Connection) -> None:
    """Refuse a database in which not every name can be stored. LedgerError: it is one; nothing on SQLite."""
    for fault in _of_encoding(_stated(c)):
        msg = f"{fault.what}; {fault.remedy}"
        raise LedgerError(msg)


def faults(c: sa.Connection) -> tuple[Fault, ...]:
    """What an administrator must change at the server before it may hold a ledger; none on SQLite."""
    stated = _stated(c)
    off = [name for name in ("fsync", "full_page_writes") if stated.get(name) == "off"]
    lost = "a power failure of the server may lose what was acknowledged"
    unsafe = (Fault(what=f"PostgreSQL runs with {name} = off: {lost}", remedy=f"set {name} = on") for name in off)
    return (*_of_encoding(stated), *unsafe)


def state_of(error: BaseException | None) -> str:
    """SQLSTATE of an error of the driver; empty where there is none."""
    return str(getattr(error, "sqlstate", None) or "")


def collided(error: BaseException | None) -> bool:
    """Whether the server rolled the transaction back for another one's sake."""
    return state_of(error) in _COLLIDED


def locked(error: BaseException | None) -> bool:
    """Whether the transaction waited in vain for a lock of another one."""
    return state_of(error) == _LOCKED


def _stated(c: sa.Connection) -> dict[str, str]:
    if c.dialect.name != "postgresql":
        return {}
    return {row.name: row.setting for row in c.execute(_STATED).all()}


def _of_encoding(stated: dict[str, str]) -> tuple[Fault, ...]:
    encoding = stated.get("server_encoding", "UTF8")
    if encoding == "UTF8":
        return ()
    what = f"the database is in {encoding}, which cannot hold every name"
    return (Fault(what=what, remedy="make one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"),)
