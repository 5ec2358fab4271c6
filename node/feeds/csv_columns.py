"""Some of our columns in the rows of one file: picked as they are, named and trimmed only when they are new."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Mapping, Sequence


class Columns:
    """Some of our columns: where they stand in a row, and the texts of those that the settings fix."""

    def __init__(self, names: Sequence[str], present: Mapping[str, int], fixed: Mapping[str, str]) -> None:
        self._names = tuple(name for name in names if name in present)
        self._fixed = {name: text for name, text in fixed.items() if name in names or names == tuple(present)}
        places = [present[name] for name in self._names]
        self.pick: Callable[[Sequence[str]], Hashable] = operator.itemgetter(*places) if places else lambda _: ()
        """Their fields of a row as they are: one text, or a tuple of texts."""

    def cells(self, picked: Hashable) -> dict[str, str]:
        """Trimmed, by name, with the fixed ones."""
        texts = picked if isinstance(picked, tuple) else (picked,)
        return self._fixed | {name: text.strip() for name, text in zip(self._names, texts, strict=True)}
