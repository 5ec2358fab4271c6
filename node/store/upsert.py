"""INSERT .. ON CONFLICT for both databases: the same clause, which SQLAlchemy spells in two dialects.

Ask with RETURNING whether a row was added, never with `rowcount`: psycopg answers -1, and late images were ignored.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from node.store.engine import Connection


def insert(c: Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """Give an INSERT into `table` that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return postgresql.insert(table) if c.dialect.name == "postgresql" else sqlite.insert(table)
