"""Opens the ledger: SQLite on one machine, PostgreSQL for many, one code for both.

Decisions (reception-and-delivery.md 1.1, P10):
- SQLite writers use BEGIN IMMEDIATE behind one lock per process, so two threads never spend their time in SQLite's busy
  sleep. Library, journal and file mode: `node.store.sqlite`.
- Readers have connections of their own, refuse to write and hold no lock between statements. So each statement sees its
  own snapshot on both databases: ask for what belongs together in one statement, and fetch all of it at once.
- Sessions on PostgreSQL wait for nothing without an end, and their commits are on disk: `node.store.postgresql`.
- The schema is created and migrated on open, under a lock; a database newer than the code is refused,
  also one that becomes it while it is open.

Not allowed here: any statement about a case or a task. Not allowed elsewhere: another engine.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

import sqlalchemy as sa

from node.store import bells, postgresql
from node.store.errors import Collision, LedgerError, LedgerUnavailable, NotStorable, StillLocked
from node.store.group_commit import GroupCommit
from node.store.migrate import LEDGER, Chain, VersionWatch, migrate
from node.store.sqlite import BUSY_TIMEOUT_SECONDS, DRIVER, journal_mode, make_private, prepare_reader, prepare_writer

Connection: TypeAlias = sa.Connection
"""An open transaction (`Ledger.begin`) or a reader (`Ledger.read`); all functions of the store take one first."""

T = TypeVar("T")

READERS = 4
"""Connections for readers of a SQLite file; more come and go in the moment that needs them."""


ANNOUNCED = "osteon.announced"
"""Key of a write transaction's `Announced` in the `info` of its connection."""


@dataclass(slots=True)
class Announced:
    """Which lanes a transaction gives work that is due."""

    by_notice: bool
    """Say it by NOTIFY too."""
    lanes: set[str] = field(default_factory=set)


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
        self._watch: VersionWatch | None = None
        self._by_notice = True
        self._then: Callable[[Collection[str]], None] = lambda _lanes: None

    @property
    def url(self) -> str:
        """Where the ledger lives, with the password masked."""
        return self._writer.url.render_as_string(hide_password=True)

    @property
    def file(self) -> Path | None:
        """Where it is a file; None on a server."""
        url = self._writer.url
        return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a write transaction: commits at the end of the block, rolls back when it raises.

        Keep it short: no file, no network, no model inside. It must not be nested in one thread.

        Raises:
            LedgerUnavailable: database down, in the way of another transaction or locked for 30 s, disk full, or
                migrated by a newer Osteon since it was opened; nothing is known to be stored.
            NotStorable: a value that the database cannot hold; nothing is stored.

        """
        announced = Announced(self._by_notice)
        with self._alone(), _translated(), self._writer.begin() as connection:
            connection.info[ANNOUNCED] = announced
            if self._watch is not None:
                self._watch.look(connection)
            yield connection
        if announced.lanes:
            self._then(announced.lanes)

    def announce(self, *, by_notice: bool, then: Callable[[Collection[str]], None] = lambda _lanes: None) -> None:
        """How it is told that lanes have work: by PostgreSQL's NOTIFY or not, and to `then`, after the commit.

        `then` runs in the thread that committed and must neither wait nor raise.
        """
        self._by_notice, self._then = by_notice, then

    def tell(self, lanes: Collection[str]) -> None:
        """Tell at once, by what `announce` was given as `then`, of what no commit has to bring."""
        self._then(lanes)

    def together(self, work: Callable[[Connection], T], *, about: str = "") -> T:
        """Run `work` in a write transaction that it may share with other threads' work; returns when it is committed.

        For many small, independent pieces of work at once, as reception has them. `work` may be run twice and must be
        statements only. `about` names what it writes, so that all hosts write the same things in the same order.
        Raises as `begin`, and what `work` raises.
        """
        return self._group.run(work, about)

    def watch(self, chain: Chain) -> None:
        """Refuse to write from the minute on in which a newer version migrates the tables of `chain`."""
        self._watch = VersionWatch(chain)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a reader. It cannot write and never blocks a writer between statements.

        Raises:
            LedgerUnavailable: the database does not answer.

        """
        with _translated(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """Open a connection without transactions, of its own, for what lasts: to listen for notices.

        Raises:
            LedgerUnavailable: the database does not answer.

        """
        with _translated(), self._reader.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            try:
                yield connection
            finally:
                connection.invalidate()  # what it was asked to do outlasts a transaction: nobody else may get it

    def engine(self) -> str:
        """Which database, version and journal this is, for an administrator. Raises as `read`."""
        with self.read() as c:
            version = ".".join(str(part) for part in c.dialect.server_version_info or ())
            if c.dialect.name != "sqlite":
                return f"PostgreSQL {version}"
            journal = c.exec_driver_sql("PRAGMA journal_mode").scalar_one()
            return f"SQLite {version}, journal {str(journal).upper()}"

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


def open_ledger(where: str | Path, *, chain: Chain = LEDGER) -> Ledger:
    """Open the ledger at a SQLite file (created with its folder when missing) or an SQLAlchemy URL; migrate its schema.

    Two processes may do this at once: one migrates, the other waits and finds it done. `chain` names the tables: the
    HL7 inbox is a database of the same kind with tables of its own (`node.store.inbox`).

    Raises:
        LedgerError: not a ledger, an unknown kind or encoding of database, or written by a newer Osteon.
        LedgerUnavailable: the database does not answer; try again.

    """
    with _translated():
        ledger = connect(where)
        try:
            with ledger.read() as c:
                postgresql.require_utf8(c)
            migrate(ledger.begin, ledger.read, name=ledger.url, chain=chain)
            ledger.watch(chain)
        except BaseException:
            ledger.close()
            raise
    return ledger


def connect(where: str | Path) -> Ledger:
    """Open a database as `open_ledger` does, whatever tables it has; for who only looks. Raises as `open_ledger`."""
    url = _url(where)
    with _translated():
        return _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url)


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
    make_private(Path(url.database))
    connect_args = {"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
    # hide_parameters: an error text with the values of a statement would carry patient data into logs.
    options = {"module": DRIVER, "connect_args": connect_args, "hide_parameters": True}
    writer = sa.create_engine(url, pool_size=1, max_overflow=0, **options)
    reader = sa.create_engine(url, pool_size=READERS, **options)
    sa.event.listen(writer, "connect", prepare_writer)
    sa.event.listen(writer, "begin", _begin_immediate)
    sa.event.listen(reader, "connect", prepare_reader)
    if journal_mode() != "wal":
        writer.connect().close()  # a file in WAL, of a better SQLite, changes back only before a reader has it open
    # Opened now and kept, so that a process at rest holds what it held: SQLite keeps the descriptor of a reader that is
    # closed for as long as another connection of the process has the file open (os_unix.c, unixClose).
    for connection in [reader.connect() for _ in range(READERS)]:
        connection.close()
    ledger = Ledger(writer, reader)
    ledger.announce(by_notice=False, then=functools.partial(bells.ring, Path(url.database)))
    return ledger


def _postgresql(url: sa.URL) -> Ledger:
    # pool_pre_ping: connections that died in a restart of the database are replaced, not handed out.
    writer = sa.create_engine(url, connect_args=postgresql.link(url), hide_parameters=True, pool_pre_ping=True)
    sa.event.listen(writer, "connect", postgresql.prepare)
    sa.event.listen(writer, "checkin", postgresql.forget_reading)
    sa.event.listen(writer, "handle_error", postgresql.give_up)
    return Ledger(writer, writer.execution_options(postgresql_readonly=True))


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _translated() -> Iterator[None]:
    """Say `LedgerUnavailable` for what passes by itself or by an administrator: down, locked, disk full.

    And `NotStorable` for what never passes: a value the database cannot hold, of which nothing is repeated here.
    """
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError, DRIVER.OperationalError) as error:
        raise _unavailable(error) from error
    except sa.exc.DataError as error:
        msg = f"ledger: {type(error.orig).__name__}: a value cannot be stored"
        raise NotStorable(msg) from error
    except sa.exc.DatabaseError as error:
        if error.connection_invalidated:
            raise _unavailable(error) from error
        if isinstance(error.orig, DRIVER.DatabaseError) and "not a database" in str(error.orig):
            msg = "the ledger file is no SQLite database; move it away or correct storage.data_dir"
            raise LedgerError(msg) from error
        raise


def _unavailable(error: Exception) -> LedgerUnavailable:
    """What an error means for whoever wanted to write."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    msg = f"ledger: {type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else ''}"
    if postgresql.collided(cause):
        return Collision(msg)
    return StillLocked(msg) if postgresql.locked(cause) else LedgerUnavailable(msg)
