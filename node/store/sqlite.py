"""How a SQLite file of the node is opened: which library, which journal, who may read it, how much log it keeps.

- Library: `pysqlite3`, whose wheels bring a current SQLite; where there is no wheel, the one of Python itself.
- Journal: WAL only where SQLite is free of the WAL-reset bug (3.7.0 to 3.51.2 may corrupt with two connections), else
  TRUNCATE, which costs three fsyncs more per commit. `synchronous` is FULL in both: an acknowledged image survives a
  power loss.
- Reading: the file is made for its owner alone, it holds patients; SQLite gives `-wal`, `-shm` and `-journal` its mode.
  One of an older release, which others may read, is closed to them when its owner opens it.
- Log: SQLite checkpoints every 1000 pages on a writer's commit. A reader that is slow may let `-wal` grow; it is cut
  back to `LOG_LIMIT` at the next checkpoint, and deleted when the last connection closes.

Decision 0004. Not allowed elsewhere in the node: `import sqlite3`, another journal, another `synchronous`.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path
from typing import Any, Final

from sqlalchemy.pool import ConnectionPoolEntry

from node.store.errors import LedgerError, LedgerUnavailable

try:
    from pysqlite3 import dbapi2
except ImportError:  # no wheel for this platform
    import sqlite3 as dbapi2

DRIVER: Final[Any] = dbapi2
"""The DB-API module."""

BUSY_TIMEOUT_SECONDS = 30.0
"""How long a connection waits for another process's short transaction."""

FIRST_SAFE_WAL = (3, 51, 3)
"""First SQLite release without the WAL-reset bug."""

LOG_LIMIT = 32 << 20
"""Bytes a `-wal` file keeps after a checkpoint."""

_OWNER_ONLY = 0o600
_OTHERS = 0o077


def journal_mode(version: tuple[int, ...] = DRIVER.sqlite_version_info) -> str:
    """Journal that is safe with several connections on this SQLite `version`: `wal` or `truncate`."""
    return "wal" if version >= FIRST_SAFE_WAL else "truncate"


def make_private(file: Path) -> None:
    """Make `file` with its folder if there is none; ours is for us alone. LedgerUnavailable: that is not possible."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY))
        for beside in ("", "-wal", "-shm", "-journal"):
            _close_to_others(file.with_name(file.name + beside))
    except OSError as error:
        msg = f"ledger: {file.name} cannot be made: {error.strerror}"
        raise LedgerUnavailable(msg) from error


def _close_to_others(file: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # none there, or its last user has just removed it
        found = file.stat()
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & _OTHERS:
            file.chmod(_OWNER_ONLY)


def prepare_writer(connection: Any, _entry: ConnectionPoolEntry) -> None:
    """For a new connection that writes. LedgerError: the journal cannot be what it must be."""
    connection.isolation_level = None  # we say BEGIN ourselves, so that DDL is transactional too
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {LOG_LIMIT}")
    wanted = journal_mode()
    if _set_journal(connection, wanted) != wanted:
        msg = f"the SQLite journal cannot be set to {wanted}; stop every other program that has the ledger open"
        raise LedgerError(msg)


def prepare_reader(connection: Any, _entry: ConnectionPoolEntry) -> None:
    """For a new connection that reads."""
    # Not opened with mode=ro: after a crash the first connection, even a reader's, must recover the journal. And no
    # BEGIN: with a rollback journal a reader's transaction would keep the next writer from committing, and with WAL
    # the log from being cut.
    connection.isolation_level = None
    connection.execute("PRAGMA query_only = ON")


def _set_journal(connection: Any, wanted: str) -> str:
    """Set the journal; a change from or to WAL answers "locked" at once, without the busy timeout, so wait here."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            return str(connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0])
        except DRIVER.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
