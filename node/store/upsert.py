"""INSERT .. ON CONFLICT for both databases: the same clause, which SQLAlchemy spells in two dialects.

Ask with RETURNING whether a row was added, never with `rowcount`: psycopg answers -1, and late images were ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from node.store.engine import Connection

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


def insert(c: Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """Give an INSERT into `table` that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return _insert(c.dialect.name, table)


def add_new(c: Connection, table: sa.Table, key: tuple[str, ...], row: Mapping[str, Any]) -> int | None:
    """Insert `row` into a table with an `id`, and return it; None where a row with the same `key` columns exists.

    For the hot path: the statement is built once, which costs four times as much as to run it.
    """
    added: int | None = c.execute(_add_new(c.dialect.name, table, key), row).scalar_one_or_none()
    return added


def _insert(dialect: str, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - a node on SQLite does not load it

        return postgresql.insert(table)
    return sqlite.insert(table)


@cache
def _add_new(dialect: str, table: sa.Table, key: tuple[str, ...]) -> Any:
    return _insert(dialect, table).on_conflict_do_nothing(index_elements=key).returning(table.c.id)
