"""Many rows of one table by one prepared statement.

SQLAlchemy's own path for many rows spends most of its time on binding: 25 columns of a value cost more than all the
rest of processing it. Here the statement is compiled once per table and database, and a value that occurs again, as
times do in the rows of a message, is converted once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa


def insert_rows(
    c: sa.Connection, table: sa.Table, columns: tuple[str, ...], rows: Sequence[Sequence[Hashable]]
) -> None:
    """Insert `rows`, whose values stand in the order of `columns`."""
    if not rows:
        return
    prepared = _prepared(table, columns, c.dialect)
    by_column = [_converted([row[at] for row in rows], processor) for at, processor in prepared.columns]
    values = zip(*by_column, strict=True)
    if prepared.names:
        c.exec_driver_sql(prepared.statement, [dict(zip(prepared.names, row, strict=True)) for row in values])
    else:
        c.exec_driver_sql(prepared.statement, list(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    statement: str
    columns: tuple[tuple[int, Callable[[Any], Any] | None], ...]
    """In the order of the statement: where the value stands in a row, and its conversion (None: as it is)."""
    names: tuple[str, ...]
    """Names of the parameters; empty where they go by position."""


def _converted(values: list[Hashable], processor: Callable[[Any], Any] | None) -> list[Any]:
    if processor is None:
        return values
    seen = {value: processor(value) for value in set(values)}
    return [seen[value] for value in values]


@lru_cache(maxsize=64)
def _prepared(table: sa.Table, columns: tuple[str, ...], dialect: sa.Dialect) -> _Prepared:
    compiled = sa.insert(table).compile(dialect=dialect, column_keys=columns)
    names = tuple(compiled.positiontup or ()) if compiled.positional else columns
    types = (table.c[name].type.dialect_impl(dialect) for name in names)
    return _Prepared(
        statement=str(compiled),
        columns=tuple((columns.index(n), t.bind_processor(dialect)) for n, t in zip(names, types, strict=True)),
        names=() if compiled.positional else names,
    )
