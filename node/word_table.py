"""A table at a terminal whose names and dates stay whole, however narrow the terminal is.

Half a name cannot be looked up in a guide, and half a date is none; rich cuts both where a table is wide.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

_GAP: Final = 2
"""Characters between two columns of a table without a box."""


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, whole: Collection[str]) -> None:
    """Print `rows`. No word of the columns `whole` is broken; the others are narrowed first, and at need broken."""
    columns = list(zip(headers, *rows, strict=True))
    longest = [max(len(word) for text in texts for word in text.split() or [""]) for texts in columns]
    least = [
        long if header in whole else min(long, max(len(header), 1))
        for header, long in zip(headers, longest, strict=True)
    ]
    wanted = [max(map(len, texts)) for texts in columns]
    gaps = _GAP * (len(headers) - 1)
    widths = _shared(least, wanted, Console().width - gaps)
    shown = (Column(h, width=width, overflow="fold") for h, width in zip(headers, widths, strict=True))
    table = Table(*shown, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(escape, row))
    Console(highlight=False, width=sum(widths) + gaps).print(table)


def _shared(least: Sequence[int], wanted: Sequence[int], room: int) -> list[int]:
    """Widths between the least and the wanted ones, as far as there is room: the narrowest are served first."""
    widths = list(least)
    while sum(widths) < room and (short := [i for i, width in enumerate(widths) if width < wanted[i]]):
        widths[min(short, key=widths.__getitem__)] += 1
    return widths
