"""What is wrong with the header of a dropped file, told without its text.

A cell of a wrong header may be a patient's name, so a column that the settings do not know is told by its place (`#2`),
and only names of ours and of the settings are spelled out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from node.feeds.csv_rules import HeaderRule, Problem

_DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "|"}
_WORDS: Final = {
    HeaderRule.MISSING: "missing {}",
    HeaderRule.UNKNOWN: "unknown {}",
    HeaderRule.TWICE: "there twice {}",
    HeaderRule.DELIMITER: "one column only: is the delimiter a {}?",
    HeaderRule.EMPTY: "the first line is empty",
}
_MOST_NAMED = 12
"""Columns of one kind in a sentence; the list of errors has them all."""


def header_faults(
    header: Sequence[str], expected: Mapping[str, str], *, optional: Collection[str], delimiter: str
) -> tuple[Problem, ...]:
    """Everything that keeps a header from being the expected one, in the order in which it is to be mended.

    Args:
        header: the cells of the file's first line.
        expected: what each column is called by us or by the settings, by its header in the file.
        optional: headers that may be there or be missing.
        delimiter: what the file is split by.

    """
    if not header:
        return (_fault(HeaderRule.EMPTY),)
    missing = sorted(name for theirs, name in expected.items() if theirs not in header and theirs not in optional)
    found = [_fault(HeaderRule.MISSING, name) for name in missing]
    seen = set[str]()
    for place, theirs in enumerate(header, start=1):
        if theirs not in expected and theirs not in optional:
            found.append(_fault(HeaderRule.UNKNOWN, f"#{place}", theirs))
        elif theirs in seen:
            found.append(_fault(HeaderRule.TWICE, f"#{place}", theirs))
        seen.add(theirs)
    other = _other_delimiter(header, delimiter)
    # Split another way every column would be another one: what is said of this one column helps nobody.
    return (_fault(HeaderRule.DELIMITER, other, header[0]),) if found and other else tuple(found)


def described(problems: Iterable[Problem]) -> str:
    """The faults of a header among these as one line for the log and the screen; empty where there are none."""
    columns: dict[str, list[str]] = {}
    for p in problems:
        if p.rule in _WORDS:
            columns.setdefault(p.rule, []).append(p.column)
    return "; ".join(words.format(_some(columns[rule])) for rule, words in _WORDS.items() if rule in columns)


def _fault(rule: HeaderRule, column: str = "", text: str = "") -> Problem:
    return Problem(line=1, column=column, rule=rule, value=text)


def _other_delimiter(header: Sequence[str], delimiter: str) -> str:
    """The delimiter that a header of one cell holds most of; empty where it holds none, or is split already."""
    if len(header) > 1:
        return ""
    likely = max((d for d in _DELIMITERS if d != delimiter), key=header[0].count)
    return _DELIMITERS[likely] if likely in header[0] else ""


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
