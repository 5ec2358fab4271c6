"""All rows of a file are read once before any is written: how many are bad, and which say that they are one row.

Keys are kept as 64-bit hashes with their rows, twelve bytes each: the texts of a million keys would take a hundred
megabytes. Two keys of one hash would make two good rows bad (one file in ten million has such a pair), never a bad one
good.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from node.feeds.csv_layout import Layout
from node.feeds.csv_read import records
from node.feeds.csv_rows import RowFacts, RowReader
from node.feeds.csv_rules import MAX_LISTED, BadRow, Problem, RowRule
from node.feeds.csv_shape import Shape

if TYPE_CHECKING:
    import numpy as np

BREATH_ROWS = 5_000


class Judgement:
    """What the reading of all rows found."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._bad = bytearray((shape.rows >> 3) + 1)
        self._own: array[int] = array("q")
        self._own_rows: array[int] = array("I")  # a file of 2 GiB has fewer rows
        self._natural: array[int] = array("q")
        self._unused: array[int] = array("q")
        self.bad_rows = 0
        self.remarks: Counter[str] = Counter()
        self.problems: list[Problem] = []
        """The first `MAX_LISTED`."""

    def note(self, row: int, rule: str, **more: str) -> None:
        """A row, or a value in it, is not used."""
        bit = 1 << (row & 7)
        if not self._bad[row >> 3] & bit:
            self._bad[row >> 3] |= bit
            self.bad_rows += 1
        if len(self.problems) < MAX_LISTED:
            self.problems.append(Problem(row=row, line=self._shape.lines.of(row), rule=rule, **more))

    def add(self, facts: RowFacts) -> None:
        """A row that can be used."""
        if facts.remarks:
            self.remarks.update(facts.remarks)
        for key in facts.keys:
            if facts.own:
                self._own.append(hash(key))
                self._own_rows.append(facts.row)
            else:
                self._natural.append(hash(key))

    def keep(self, keys: Iterable[str]) -> None:
        """A row that cannot be used speaks of these: it says nothing new of them, but they are not absent."""
        self._unused.extend(map(hash, keys))

    def close(self) -> frozenset[int]:
        """Keys that the file has more than once. Rows of which one has the other's id are bad, both of them."""
        import numpy as np  # noqa: PLC0415 - comes with pandas, which is loaded with the first file

        own = np.frombuffer(self._own, dtype=np.int64)
        repeated = _repeated(own)
        if len(repeated):
            for row in np.frombuffer(self._own_rows, dtype=np.uintc)[np.isin(own, repeated)]:
                self.note(int(row), RowRule.DUPLICATE_ROW_ID, column="source_row_id")
        natural = _repeated(np.frombuffer(self._natural, dtype=np.int64))
        self._own_rows, self._natural = array("I"), array("q")  # served; `present` may yet be asked
        return frozenset(map(int, repeated)) | frozenset(map(int, natural))

    def present(self) -> Callable[[str], bool]:
        """Whether a row of the file, also a bad one, has this key."""
        import numpy as np  # noqa: PLC0415 - as above

        own = np.sort(np.concatenate([np.frombuffer(keys, dtype=np.int64) for keys in (self._own, self._unused)]))

        def asked(key: str) -> bool:
            at = int(np.searchsorted(own, hash(key)))
            return at < len(own) and int(own[at]) == hash(key)

        return asked


def judge(path: Path, layout: Layout, shape: Shape, reader: RowReader, breathe: Callable[[], object]) -> Judgement:
    """Read every row of `path`; `breathe` is called now and then and may raise."""
    found = Judgement(shape)
    for row, record in records(path, layout, shape):
        if row % BREATH_ROWS == 0:
            breathe()
        try:
            facts = reader.look(record, row)
        except BadRow as bad:
            found.note(row, bad.rule, column=bad.column, row_id=reader.row_id(record), value=bad.value)
            found.keep(reader.own_keys(record))
            continue
        found.add(facts)
        for p in facts.problems:
            found.note(row, p.rule, column=p.column, code=p.code, row_id=reader.row_id(record), value=p.value)
    return found


def usable_rows(path: Path, layout: Layout, shape: Shape, reader: RowReader, *, after: int) -> Iterator[RowFacts]:
    """The facts of every row below `after` that is not bad.

    The rows up to there are read too: the second of two like rows is known as such only by the first.
    """
    for row, record in records(path, layout, shape):
        try:
            facts = reader.read(record, row)
        except BadRow:
            continue  # it was counted and listed when the file was judged
        if row > after:
            yield facts


def _repeated(hashes: np.ndarray) -> np.ndarray:
    import numpy as np  # noqa: PLC0415 - as above

    ordered = np.sort(hashes)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
