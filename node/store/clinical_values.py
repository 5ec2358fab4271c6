"""Versions of keyed values (observations, DXA results, drugs): a correction inserts one and closes the old.

Nothing is updated but `superseded_at` and, where a later frame says the same again, the frame's number; identical
content writes nothing. What one transaction brings is collected: the open versions of all its keys are looked up
together, what is new is written by one statement per table.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import sqlalchemy as sa

from node.facts import HL7_KEY
from node.store.bulk_insert import insert_rows
from node.store.clinical_rows import TIMES
from node.store.clinical_schema import person_identifier

_Slot: TypeAlias = tuple[str, int]
_SETTLES = frozenset({"C", "D", "W", "X"})
"""Result status of what speaks of a value that was sent before (HL7 table 0085)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """An open version."""

    id: int | None
    """None: written by this transaction and not flushed yet."""
    person_key: int
    content: tuple[object, ...]
    usable: bool
    seq: int | None
    """Number of the last inbox frame that said so; None when it came otherwise."""
    settled_at: dt.datetime | None
    """Since when the sender has corrected the value or taken it back (C, D, W, X); None: it has not."""


class Versions:
    """The versions of one table within one transaction."""

    def __init__(
        self,
        c: sa.Connection,
        table: sa.Table,
        content: tuple[str, ...],
        extra: tuple[str, ...],
        *,
        usable: str = "usable",
        as_stated: Callable[[Sequence[str], Sequence[object]], tuple[object, ...]] = lambda _, content: tuple(content),
    ) -> None:
        """`content`: the columns that make two versions differ; `extra`: what goes along; `usable`: what lets it count.

        `as_stated` gives a stored content as the sender stated it, where the node has added to it.
        """
        self._c = c
        self.table = table
        self._content = content
        self._extra = extra
        self._usable = usable
        self._usable_at = content.index(usable)
        self._seq_at = extra.index("seq")
        self._status_at = (extra.index("status"), extra.index("available_at")) if "status" in extra else None
        self._timeless = tuple(at for at, name in enumerate(content) if name not in TIMES)
        self._as_stated = as_stated
        self._asked: set[str] = set()
        self._open: dict[_Slot, Version] = {}
        self._new: dict[_Slot, tuple[Hashable, ...]] = {}
        self._closed: list[dict[str, object]] = []
        self._confirmed: list[dict[str, object]] = []

    def prepare(self, keys: Collection[str]) -> None:
        """Look up the open versions of these keys together."""
        if wanted := {key for key in keys if key not in self._asked}:
            self._asked |= wanted
            self._load(self.table.c.key.in_(list(wanted)))

    def stands(self, key: str, person_key: int) -> bool:
        """Whether a version is open under this key of the person."""
        self.prepare((key,))
        return _slot(key, person_key) in self._open

    def outdates(self, key: str, person_key: int, sent_at: dt.datetime | None) -> bool:
        """Whether what stands under this key of the person corrects what was sent at `sent_at`, or takes it back."""
        if sent_at is None:
            return False
        self.prepare((key,))
        old = self._open.get(_slot(key, person_key))
        return old is not None and old.settled_at is not None and sent_at < old.settled_at

    def put(
        self,
        key: str,
        person_key: int,
        content: tuple[Hashable, ...],
        extra: tuple[Hashable, ...],
        at: dt.datetime,
        *,
        weak_time: bool = False,
    ) -> tuple[bool, Version | None]:
        """Write a version unless the open one says the same. (whether it was written, the version it replaces).

        A frame that is replayed late, out of quarantine, says nothing against what a later frame brought or confirmed.
        With `weak_time` a version that differs in time alone says the same: the first statement's time stands.
        """
        if key not in self._asked:
            self.prepare((key,))
        slot = _slot(key, person_key)
        old, seq = self._open.get(slot), extra[self._seq_at]
        if old is not None and _earlier(seq, old.seq):
            return False, None
        if old is not None and self._same(old.content, content, weak_time=weak_time):
            if _earlier(old.seq, _number(seq)):
                self._confirm(slot, old, seq)
            return False, None
        if old is not None and old.id is None:
            old = self._stored(slot)
        if old is not None:
            self._closed.append({"row": old.id, "at": at})
        self._new[slot] = (*content, *extra, key, at)
        status, available_at = (extra[at] for at in self._status_at) if self._status_at else ("", None)
        self._open[slot] = Version(
            id=None,
            person_key=person_key,
            content=content,
            usable=bool(content[self._usable_at]),
            seq=_number(seq),
            settled_at=_settled(status, available_at),
        )
        return True, old

    def put_again(
        self, row: Mapping[str, Any], changed: Mapping[str, Hashable], at: dt.datetime
    ) -> tuple[bool, Version | None]:
        """Write a version that `open_where` found anew with some of its columns changed."""
        row = {**row, **changed}
        content = tuple(row[name] for name in self._content)
        return self.put(row["key"], row["person_id"], content, tuple(row[name] for name in self._extra), at)

    def open_where(self, condition: sa.ColumnElement[bool]) -> Sequence[Mapping[str, Any]]:
        """The stored open versions that fulfil a condition, whole and with their `person_id`. Flushes first."""
        self.flush()
        t, i = self.table.c, person_identifier.c
        wanted = sa.select(self.table, i.person_id).join_from(self.table, person_identifier, i.id == t.identifier_id)
        found = self._c.execute(wanted.where(condition, t.superseded_at.is_(None)).order_by(t.id))
        return [dict(row) for row in found.mappings()]

    def flush(self) -> None:
        """Write what was collected."""
        self._write()
        self._asked.clear()  # others may write before the next look
        self._open.clear()

    def _same(self, old: tuple[object, ...], new: tuple[object, ...], *, weak_time: bool) -> bool:
        return old == new or (weak_time and all(old[at] == new[at] for at in self._timeless))

    def _confirm(self, slot: _Slot, old: Version, seq: Hashable) -> None:
        """A later frame says the same: an earlier one that is replayed after it is too late."""
        if old.id is None:
            row, at = self._new[slot], len(self._content) + self._seq_at
            self._new[slot] = (*row[:at], seq, *row[at + 1 :])
        else:
            self._confirmed.append({"row": old.id, "by": seq})
        self._open[slot] = replace(old, seq=_number(seq))

    def _stored(self, slot: _Slot) -> Version | None:
        """The open version that this transaction has just written: it gets its number first."""
        self._write()
        self._asked -= {key for (key, _), version in self._open.items() if version.id is None}
        self._open = {at: version for at, version in self._open.items() if version.id is not None}
        self.prepare((slot[0],))
        return self._open.get(slot)

    def _write(self) -> None:
        if self._closed:
            t = self.table
            closing = sa.update(t).where(t.c.id == sa.bindparam("row")).values(superseded_at=sa.bindparam("at"))
            self._c.execute(closing, self._closed)
            self._closed = []
        if self._confirmed:
            t = self.table
            confirming = sa.update(t).where(t.c.id == sa.bindparam("row")).values(seq=sa.bindparam("by"))
            self._c.execute(confirming, self._confirmed)
            self._confirmed = []
        if self._new:
            columns = (*self._content, *self._extra, "key", "recorded_at")
            insert_rows(self._c, self.table, columns, list(self._new.values()))
            self._new = {}

    def _load(self, condition: sa.ColumnElement[bool]) -> None:
        t, i = self.table.c, person_identifier.c
        status = (t.status, t.available_at) if self._status_at else (sa.null(), sa.null())
        own = (t.id, t.key, i.person_id, t[self._usable], t.seq)
        wanted = sa.select(*own, *status, *(t[name] for name in self._content))
        rows = self._c.execute(
            wanted.join_from(self.table, person_identifier, i.id == t.identifier_id)
            .where(condition, t.superseded_at.is_(None))
            .order_by(t.id)
        ).all()
        for row in rows:
            number, key, person_key, usable, seq, stated, available_at, *content = row
            self._open[_slot(key, person_key)] = Version(
                id=number,
                person_key=person_key,
                content=self._as_stated(self._content, content),
                usable=bool(usable),
                seq=seq,
                settled_at=_settled(stated, available_at),
            )


def _slot(key: str, person_key: int) -> _Slot:
    """Where a version stands: what replaces it has the same.

    A key of HL7 names its patient by namespace and number, and two hospitals may share both: only within one person is
    it one value's. A row of a file keeps its key also when it is corrected to another patient.
    """
    return key, person_key if key.startswith(HL7_KEY) else 0


def _settled(status: Hashable, available_at: Hashable) -> dt.datetime | None:
    return available_at if status in _SETTLES and isinstance(available_at, dt.datetime) else None


def _number(seq: Hashable) -> int | None:
    return seq if isinstance(seq, int) else None


def _earlier(seq: Hashable, than: int | None) -> bool:
    return isinstance(seq, int) and than is not None and seq < than
