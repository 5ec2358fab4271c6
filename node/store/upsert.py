"""INSERT .. ON CONFLICT for both databases: the same clause, which SQLAlchemy spells in two dialects.

Ask with RETURNING whether a row was added, never with `rowcount`: psycopg answers -1, and late images were ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from node.store.engine import Connection

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


def insert(c: Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """Give an INSERT into `table` that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return insert_into(c.dialect.name, table)


def insert_into(dialect: str, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """`insert` for the database of that name: for a statement that is built once per database and kept."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - a node on SQLite does not load it

        return postgresql.insert(table)
    return sqlite.insert(table)


def add_new(c: Connection, table: sa.Table, key: tuple[str, ...], row: Mapping[str, Any]) -> int | None:
    """Insert `row` into a table with an `id`, and return it; None where a row with the same `key` columns exists.

    For the hot path: the statement is built once, which costs four times as much as to run it.
    """
    added: int | None = c.execute(_add_new(c.dialect.name, table, key), row).scalar_one_or_none()
    return added


def add_missing(c: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert those of `rows`, which name the same columns, that are not there; what is there stays as it is.

    Built once, as in `add_new`.
    """
    if rows:
        c.execute(_add_missing(c.dialect.name, table), rows)


@cache
def _add_new(dialect: str, table: sa.Table, key: tuple[str, ...]) -> Any:
    return insert_into(dialect, table).on_conflict_do_nothing(index_elements=key).returning(table.c.id)


@cache
def _add_missing(dialect: str, table: sa.Table) -> sa.Insert:
    return insert_into(dialect, table).on_conflict_do_nothing()
