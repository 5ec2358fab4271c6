"""Every phrase of the wording table, wherever it stands in it."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from dicom_io import page_words, words
from dicom_io.words import Phrase


def phrases() -> list[Phrase]:
    return [*_of(words), *_of(page_words)]


def _of(module: ModuleType) -> Iterator[Phrase]:
    for value in vars(module).values():
        if isinstance(value, Phrase):
            yield value
        elif isinstance(value, dict):
            yield from (one for one in value.values() if isinstance(one, Phrase))
        elif isinstance(value, tuple):
            yield from (one for one in value if isinstance(one, Phrase))
