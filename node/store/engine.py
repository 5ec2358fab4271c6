"""Opens the ledger: SQLite on one machine, PostgreSQL for many, one code for both.

Decisions (reception-and-delivery.md 1.1, P10):
- SQLite writers use BEGIN IMMEDIATE behind one lock per process, so two threads never spend their time in SQLite's busy
  sleep. `synchronous` is FULL always: an acknowledged image survives a power loss. The journal is WAL only where
  SQLite is free of the WAL-reset bug (3.7.0 to 3.51.2 may corrupt with two connections), else TRUNCATE.
- Readers have connections of their own, refuse to write and hold no lock between statements. So each statement sees its
  own snapshot on both databases: ask for what belongs together in one statement, and fetch all of it at once.
- The schema is created and migrated on open, under a lock; a database newer than the code is refused.

Not allowed here: any statement about a case or a task. Not allowed elsewhere: another engine.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry

from node.store.errors import LedgerError, LedgerUnavailable
from node.store.group_commit import GroupCommit
from node.store.migrate import migrate

Connection: TypeAlias = sa.Connection
"""An open transaction (`Ledger.begin`) or a reader (`Ledger.read`); all functions of the store take one first."""

T = TypeVar("T")

BUSY_TIMEOUT_SECONDS = 30.0
"""How long a SQLite connection waits for another process's short transaction."""

FIRST_SAFE_WAL = (3, 51, 3)
"""First SQLite release without the WAL-reset bug."""


class Ledger:
    """The node's memory. Make one per process with `open_ledger`, share it between threads, close it at the end.

    Not to be carried over a fork: open it in the child.
    """

    def __init__(self, writer: sa.Engine, reader: sa.Engine) -> None:
        self._writer = writer
        self._reader = reader
        self._lock = threading.Lock() if writer.dialect.name == "sqlite" else None
        self._writing_thread: int | None = None
        self._group = GroupCommit(self.begin)

    @property
    def url(self) -> str:
        """Where the ledger lives, with the password masked."""
        return self._writer.url.render_as_string(hide_password=True)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a write transaction: commits at the end of the block, rolls back when it raises.

        Keep it short: no file, no network, no model inside. It must not be nested in one thread.

        Raises:
            LedgerUnavailable: database down, locked for 30 s, or disk full; nothing is known to be stored.

        """
        with self._alone(), _translated(), self._writer.begin() as connection:
            yield connection

    def together(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a write transaction that it may share with other threads' work; returns when it is committed.

        For many small, independent pieces of work at once, as reception has them. `work` may be run twice and must be
        statements only. Raises as `begin`, and what `work` raises.
        """
        return self._group.run(work)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a reader. It cannot write and never blocks a writer between statements.

        Raises:
            LedgerUnavailable: the database does not answer.

        """
        with _translated(), self._reader.connect() as connection:
            yield connection

    def close(self) -> None:
        """Give all connections back. The ledger cannot be used afterwards."""
        self._reader.dispose()
        self._writer.dispose()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the one writer lock of this process (SQLite only)."""
        if self._lock is None:
            yield
            return
        if self._writing_thread == threading.get_ident():
            msg = "Ledger.begin() inside Ledger.begin() of the same thread would wait for itself"
            raise RuntimeError(msg)
        with self._lock:
            self._writing_thread = threading.get_ident()
            try:
                yield
            finally:
                self._writing_thread = None


def open_ledger(where: str | Path) -> Ledger:
    """Open the ledger at a SQLite file (created with its folder when missing) or an SQLAlchemy URL; migrate its schema.

    Two processes may do this at once: one migrates, the other waits and finds it done.

    Raises:
        LedgerError: not a ledger, an unknown kind of database, or written by a newer Osteon.
        LedgerUnavailable: the database does not answer; try again.

    """
    url = _url(where)
    with _translated():
        ledger = _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url)
        try:
            migrate(ledger.begin, ledger.read, name=ledger.url)
        except BaseException:
            ledger.close()
            raise
    return ledger


def journal_mode(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> str:
    """Journal that is safe with several connections on this SQLite `version`: `wal` or `truncate`."""
    return "wal" if version >= FIRST_SAFE_WAL else "truncate"


def _url(where: str | Path) -> sa.URL:
    if isinstance(where, Path) or "://" not in where:
        return sa.URL.create("sqlite+pysqlite", database=os.fspath(where))
    try:
        url = sa.make_url(where)
    except sa.exc.ArgumentError as error:
        msg = "storage.database_url is no database URL; leave it empty or write postgresql+psycopg://user@host/name"
        raise LedgerError(msg) from error
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        msg = f"storage.database_url: {url.get_backend_name()!r} is not supported; use SQLite or postgresql+psycopg://"
        raise LedgerError(msg)
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _sqlite(url: sa.URL) -> Ledger:
    if not url.database or url.database == ":memory:":
        msg = "a ledger in memory would lose acknowledged images; give it a file"
        raise LedgerError(msg)
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    connect_args = {"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
    # hide_parameters: an error text with the values of a statement would carry patient data into logs.
    writer = sa.create_engine(url, connect_args=connect_args, hide_parameters=True, pool_size=1, max_overflow=0)
    reader = sa.create_engine(url, connect_args=connect_args, hide_parameters=True)
    sa.event.listen(writer, "connect", _prepare_writer)
    sa.event.listen(writer, "begin", _begin_immediate)
    sa.event.listen(reader, "connect", _prepare_reader)
    return Ledger(writer, reader)


def _postgresql(url: sa.URL) -> Ledger:
    # pool_pre_ping: connections that died in a restart of the database are replaced, not handed out.
    writer = sa.create_engine(url, hide_parameters=True, pool_pre_ping=True)
    return Ledger(writer, writer.execution_options(postgresql_readonly=True))


def _prepare_writer(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, so that DDL is transactional too
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    wanted = journal_mode()
    if _set_journal(connection, wanted) != wanted:
        msg = f"the SQLite journal cannot be set to {wanted}; stop every other program that has the ledger open"
        raise LedgerError(msg)


def _set_journal(connection: sqlite3.Connection, wanted: str) -> str:
    """Set the journal; a change from or to WAL answers "locked" at once, without the busy timeout, so wait here."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            return str(connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0])
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _prepare_reader(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    # Not opened with mode=ro: after a crash the first connection, even a reader's, must roll the journal back. And no
    # BEGIN: with a rollback journal a reader's transaction would keep the next writer from committing.
    connection.isolation_level = None
    connection.execute("PRAGMA query_only = ON")


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _translated() -> Iterator[None]:
    """Say `LedgerUnavailable` for what passes by itself or by an administrator: down, locked, disk full."""
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError, sqlite3.OperationalError) as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        msg = f"ledger: {type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else ''}"
        raise LedgerUnavailable(msg) from error
    except sa.exc.DatabaseError as error:
        if isinstance(error.orig, sqlite3.DatabaseError) and "not a database" in str(error.orig):
            msg = "the ledger file is no SQLite database; move it away or correct storage.data_dir"
            raise LedgerError(msg) from error
        raise
