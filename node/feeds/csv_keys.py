"""How the values of CSV files are named in the ledger: by the source and its own row id, or by what they are about.

A row that cannot be used still names its values when its id can be read: a snapshot does not take it for absent.
"""

from __future__ import annotations


def key_prefix(source: str) -> str:
    """What the keys of all observations of this source begin with, and no other's."""
    return f"CSV|{source}|"


def own_key(source: str, row_id: str, column: str = "") -> str:
    """The key of the value in `column` (empty: the only one) of a row that has an id of its own."""
    return f"{key_prefix(source)}={row_id}" + (f"|{column}" if column else "")
