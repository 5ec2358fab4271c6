"""A look into a node's ledger file, also while the node runs or after it was killed. Plain SQL, nothing of the node's.

The library is the one the node uses: Python's own may be one that must not meet a second connection in WAL mode. Not
opened read-only: after a kill the first connection has to recover the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

try:
    from pysqlite3 import dbapi2 as sqlite3
except ImportError:
    import sqlite3

Row = sqlite3.Row


@contextmanager
def looking_into(node: Path) -> Iterator[Any]:
    """A connection that refuses to write, to the ledger below `storage.data_dir` = `node`."""
    with closing(sqlite3.connect(f"file:{node / 'ledger.db'}?mode=rw", uri=True, timeout=30)) as ledger:
        ledger.execute("PRAGMA query_only = ON")
        yield ledger
