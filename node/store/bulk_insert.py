"""Many rows of one table by one prepared statement.

SQLAlchemy's own path for many rows spends most of its time on binding: 25 columns of a value cost more than all the
rest of processing it. Here the statement is compiled once per table and database, and a value that occurs again, as
times do in the rows of a message, is converted once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from node.store.metadata import UtcDateTime


def insert_rows(
    c: sa.Connection, table: sa.Table, columns: tuple[str, ...], rows: Sequence[Sequence[Hashable]]
) -> None:
    """Insert `rows`, whose values stand in the order of `columns`."""
    if not rows:
        return
    prepared = _prepared(table, columns, c.dialect)
    seen: dict[object, dict[Hashable, Any]] = {}
    by_column = [_converted([row[at] for row in rows], how, seen) for at, how in prepared.columns]
    values = zip(*by_column, strict=True)
    if prepared.names:
        c.exec_driver_sql(prepared.statement, [dict(zip(prepared.names, row, strict=True)) for row in values])
    else:
        c.exec_driver_sql(prepared.statement, list(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    statement: str
    columns: tuple[tuple[int, _Conversion | None], ...]
    """In the order of the statement: where the value stands in a row, and its conversion (None: as it is)."""
    names: tuple[str, ...]
    """Names of the parameters; empty where they go by position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Conversion:
    kind: str
    """Columns of one kind convert alike: what one has converted, the others know."""
    convert: Callable[[Any], Any]


def _converted(values: list[Hashable], how: _Conversion | None, seen: dict[object, dict[Hashable, Any]]) -> list[Any]:
    if how is None:
        return values
    known = seen.setdefault(how.kind, {})
    known.update((value, how.convert(value)) for value in set(values).difference(known))
    return [known[value] for value in values]


def _conversion(column: sa.Column[Any], dialect: sa.Dialect) -> _Conversion | None:
    if isinstance(column.type, UtcDateTime) and dialect.name == "sqlite":
        return _Conversion(kind="instant", convert=_sqlite_instant)
    processor = column.type.dialect_impl(dialect).bind_processor(dialect)
    return None if processor is None else _Conversion(kind=repr(column.type), convert=processor)


def _sqlite_instant(value: dt.datetime | None) -> str | None:
    """What SQLAlchemy stores for a `UtcDateTime`, in a tenth of its time: a file of values is mostly times."""
    if value is None:
        return None
    if value.utcoffset() is None:
        msg = "a naive datetime is no instant; give it a time zone"
        raise ValueError(msg)
    return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


@lru_cache(maxsize=64)
def _prepared(table: sa.Table, columns: tuple[str, ...], dialect: sa.Dialect) -> _Prepared:
    compiled = sa.insert(table).compile(dialect=dialect, column_keys=columns)
    names = tuple(compiled.positiontup or ()) if compiled.positional else columns
    return _Prepared(
        statement=str(compiled),
        columns=tuple((columns.index(name), _conversion(table.c[name], dialect)) for name in names),
        names=() if compiled.positional else names,
    )
