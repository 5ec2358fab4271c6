"""What can be wrong with a dropped file and with a row of it. Rules are named, values are not.

    FileUnfit
      FileRejected   its bytes can never be taken; the writer must write another file
      FileHeld       a person decides: `osteon csv release` or `osteon csv reject`
    BadRow           one row is left out and listed

The list of errors lies in a folder that many people can read, so it holds no value unless a setting says so.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

MAX_LISTED = 10_000
"""Problems that the list of errors names; the count goes on."""


class FileRule(enum.StrEnum):
    """What makes a file unfit as a whole."""

    SYMLINK = "SYMLINK"
    NOT_A_FILE = "NOT_A_FILE"
    """A folder or a device under the name of a file."""
    TOO_LARGE = "TOO_LARGE"
    WORKBOOK = "WORKBOOK"
    """A workbook of a spreadsheet program, also one that is called `.csv`: it begins with `PK`."""
    NOT_CSV = "NOT_CSV"
    """Its name is neither that of a CSV file nor that of one that is still being written."""
    ENCODING = "ENCODING"
    """Bytes that the declared encoding does not have, or UTF-16 that nobody declared."""
    NUL = "NUL"
    MANIFEST = "MANIFEST"
    """The manifest cannot be read, or lacks what it must have."""
    WRONG_HASH = "WRONG_HASH"
    ROW_COUNT = "ROW_COUNT"
    """Not as many rows as the manifest says."""
    FIELD_COUNT = "FIELD_COUNT"
    """A row has more or fewer fields than the header."""
    QUOTING = "QUOTING"
    """A quote that is never closed, or is followed by text."""
    CHANGED = "CHANGED"
    """The file was still being written while it was read."""
    SOURCE = "SOURCE"
    """The manifest names a source that the settings do not have."""
    HEADER = "HEADER"
    """A column is missing, unknown or there twice; `HeaderRule` says which."""
    TOO_MANY_BAD_ROWS = "TOO_MANY_BAD_ROWS"
    TOO_MANY_DELETIONS = "TOO_MANY_DELETIONS"
    """A snapshot lacks so many rows of its source that it may be half a file."""
    OUTDATED = "OUTDATED"
    """A file of its source that was made later is imported already."""
    FAILED = "FAILED"
    """The import broke; the log has the kind of error."""


class HeaderRule(enum.StrEnum):
    """What is wrong with a header. Its columns are told by our name, or by their place (`#2`): never by their text."""

    EMPTY = "NO_HEADER"
    """The first line has nothing in it."""
    DELIMITER = "DELIMITER"
    """It is one column, and holds a delimiter that is not the declared one."""
    MISSING = "COLUMN_MISSING"
    UNKNOWN = "COLUMN_UNKNOWN"
    TWICE = "COLUMN_TWICE"
    """At this place for the second time."""


class RowRule(enum.StrEnum):
    """What a bad row breaks."""

    NO_ID = "NO_ID"
    """No identifier, or one that identifies nobody."""
    SPREADSHEET_NUMBER = "SPREADSHEET_NUMBER"
    """`1.23457E+11`, `7123.0`: a program took the identifier for a number and its digits are lost."""
    NO_ISSUER = "NO_ISSUER"
    NO_DATE = "NO_DATE"
    SEX = "SEX"
    """Neither F, M, O, U nor empty."""
    NO_ISO_TIME = "NO_ISO_TIME"
    DELETED = "DELETED"
    """The column says neither yes nor no."""
    NO_ROW_ID = "NO_ROW_ID"
    """A snapshot's row without an id of its own: its absence could not be told from a change."""
    DUPLICATE_ROW_ID = "DUPLICATE_ROW_ID"
    """Two rows of one file carry the same id; which of them holds is not known."""
    OUTDATED = "OUTDATED"
    """It speaks of what is known, in a file that was released although a later one of its source is imported."""


class FileUnfit(Exception):
    """The file as a whole cannot be taken now. The message is the rule, without a value."""

    def __init__(self, rule: FileRule, problems: tuple[Problem, ...] = (), *, rows: int = 0, bad_rows: int = 0) -> None:
        super().__init__(str(rule))
        self.rule = rule
        self.problems = problems
        self.rows = rows
        self.bad_rows = bad_rows


class FileRejected(FileUnfit):
    """It never can."""


class FileHeld(FileUnfit):
    """A person decides."""


class BadRow(Exception):
    """A row that cannot be used."""

    def __init__(self, rule: RowRule, column: str, value: str = "") -> None:
        super().__init__(f"{column}: {rule}")
        self.rule = rule
        self.column = column
        self.value = value


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One line of the list of errors."""

    row: int = 0
    """1 = first row below the header; 0 = the file."""
    line: int = 0
    """Physical line on which the row ends, 1 for the header; 0 = the file."""
    column: str = ""
    code: str = ""
    """Code of the value, when the code table knows it; anything else might be a name in the wrong column."""
    rule: str
    row_id: str = ""
    """The source's id of the row. Written only on demand, as it may hold a patient's number."""
    value: str = ""
    """What was refused. Written only on demand."""
