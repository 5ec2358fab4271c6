"""A look into a node's ledger, also while the node runs or after it was killed. Plain SQL, nothing of the node's.

The SQLite library is the one the node uses: Python's own may be one that must not meet a second connection in WAL mode.
Not opened read-only: after a kill the first connection has to recover the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

try:
    from pysqlite3 import dbapi2 as sqlite3
except ImportError:
    import sqlite3

Row = dict[str, Any]


class Unreachable(Exception):
    """The database does not answer now."""


@contextmanager
def looking_into(node: Path) -> Iterator[Any]:
    """A connection that refuses to write, to the ledger below `storage.data_dir` = `node`."""
    with closing(sqlite3.connect(f"file:{node / 'ledger.db'}?mode=rw", uri=True, timeout=30)) as ledger:
        ledger.execute("PRAGMA query_only = ON")
        yield ledger


def rows(place: Path | str, query: str) -> list[Row]:
    """What a query answers; `place`: `storage.data_dir` of a node with SQLite, or the URL of its PostgreSQL database.

    Raises:
        Unreachable: nothing answers, or it went away.

    """
    try:
        return _of_file(place, query) if isinstance(place, Path) else _of_server(place, query)
    except (sqlite3.OperationalError, psycopg.OperationalError) as error:
        raise Unreachable from error


def _of_file(node: Path, query: str) -> list[Row]:
    with looking_into(node) as ledger:
        ledger.row_factory = sqlite3.Row
        return [dict(row) for row in ledger.execute(query).fetchall()]


def _of_server(url: str, query: str) -> list[Row]:
    plain = url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, connect_timeout=5, row_factory=dict_row) as session:
        session.read_only = True
        return session.execute(query.encode()).fetchall()
