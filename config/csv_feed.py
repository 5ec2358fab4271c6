"""Settings of the CSV feed: the folder, how its files are written, and the column maps of each source."""

from __future__ import annotations

import enum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from config.fields import Group, OptionalPath, TimeZone

ENCODINGS = frozenset(
    {
        "utf-8",
        "utf-16",
        "ascii",
        *(f"iso-8859-{part}" for part in (*range(1, 12), 13, 14, 15, 16)),
        *(f"windows-{page}" for page in range(1250, 1259)),
        "gb18030",
        "big5",
        "shift_jis",
        "euc_jp",
        "euc_kr",
    }
)
"""Encodings that can be declared. None is ever guessed: a guesser took Urdu in Windows-1256 for Windows-1252."""
_WHO = ("patient_id", "issuer", "birth_date", "sex")
_WHAT = ("source_row_id", "code", "code_system", "value", "unit", "observed_at", "status")
REQUIRED = {
    "observations": frozenset({*_WHO, *_WHAT}),
    "patients": frozenset({*_WHO, "family_name", "given_name"}),
}
"""Columns by the kind of content. Each must be in the header, or be mapped or fixed by the source."""
OPTIONAL = {
    "observations": frozenset({"family_name", "given_name", "deleted"}),
    "patients": frozenset({"source_row_id", "valid_since", "deleted"}),
}
"""Columns a file may have besides."""
WIDE = frozenset({"code", "code_system", "value", "unit"})
"""Columns that the list of value columns takes the place of in the wide form."""


def _encoding(value: str) -> str:
    if value.lower() not in ENCODINGS:
        msg = f"no encoding {value!r}; declare one of {', '.join(sorted(ENCODINGS))}"
        raise ValueError(msg)
    return value.lower()


def _delimiter(value: str) -> str:
    if value not in (",", ";", "\t", "|"):
        msg = "the delimiter is one of comma, semicolon, tab and |"
        raise ValueError(msg)
    return value


Encoding = Annotated[str, AfterValidator(_encoding)]
Delimiter = Annotated[str, AfterValidator(_delimiter)]
SourceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")]


class Decimal(enum.StrEnum):
    """The decimal mark of a file. Thousands separators are never read: `1.234` would be two numbers."""

    POINT = "."
    COMMA = ","


class Content(enum.StrEnum):
    """What the rows of a file are."""

    OBSERVATIONS = "observations"
    PATIENTS = "patients"


class CsvValue(Group):
    """One value column of a wide form."""

    column: str
    """Its header."""
    code: str
    """What its values are, in the code table."""
    code_system: str = "LN"
    """Coding system of the code."""
    unit: str
    """Unit of every value in the column."""


class CsvSource(Group):
    """One source of files: how its files are written and which of its columns mean what."""

    name: SourceName
    """Stands in the manifest, and keeps the row ids of this source apart from those of others."""
    files: str = "*.csv"
    """Files without a manifest belong to the first source whose pattern fits their name."""
    content: Content = Content.OBSERVATIONS
    """`observations` or `patients`."""
    encoding: Encoding = "utf-8"
    """A manifest may declare another one."""
    delimiter: Delimiter = ","
    """Comma, semicolon, tab or |."""
    decimal: Decimal = Decimal.POINT
    """Decimal mark."""
    timezone: TimeZone | None = None
    """Time zone of times without an offset; none means the site's."""
    issuer: str = ""
    """Assigning authority of identifiers whose issuer is empty."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column = header in the file. Without any, the file carries our names."""
    fixed: dict[str, str] = Field(default_factory=dict)
    """Our column = value for every row, for what the export does not have; empty text says that it is not known."""
    ignored: tuple[str, ...] = ()
    """Headers that may be there and are not read."""
    values: tuple[CsvValue, ...] = ()
    """Value columns of a wide form; each cell that is not empty is one observation."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        required = REQUIRED[self.content] - (WIDE if self.values else frozenset())
        stated = set(self.columns) | set(self.fixed)
        if unknown := stated - required - OPTIONAL[self.content]:
            msg = f"source {self.name}: no column is called {', '.join(sorted(unknown))}"
            raise ValueError(msg)
        if self.columns and (missing := required - stated):
            msg = f"source {self.name}: map or fix {', '.join(sorted(missing))}"
            raise ValueError(msg)
        headers = [*self.columns.values(), *self.ignored, *(v.column for v in self.values)]
        if both := {h for h in headers if headers.count(h) > 1} | (set(self.columns) & set(self.fixed)):
            msg = f"source {self.name}: {', '.join(sorted(both))} is stated twice"
            raise ValueError(msg)
        if self.values and self.content is not Content.OBSERVATIONS:
            msg = f"source {self.name}: only observations have value columns"
            raise ValueError(msg)
        return self


class CsvErrors(Group):
    """What the list of errors beside a file holds."""

    include_values: bool = False
    """Write the row's own id and the refused value too. Both may identify a patient."""


class CsvDrop(Group):
    """The CSV drop folder."""

    folder: OptionalPath = None
    """Folder with `inbox/`; none means no CSV feed. Created when missing."""
    poll: Annotated[float, Field(ge=0.1, le=86_400)] = 30.0
    """Seconds between looks."""
    settle: Annotated[float, Field(ge=0, le=3600)] = 2.0
    """A file is taken once its size and time stood still this long (seconds); 0: at once."""
    require_manifest: bool = False
    """Take a file only with its manifest `name.csv.json`, whose SHA-256 must fit."""
    max_bad_rows_percent: Annotated[float, Field(ge=0, le=100)] = 5.0
    """More bad rows than this: the whole file is held until a person releases or rejects it."""
    max_deletions_percent: Annotated[float, Field(ge=0, le=100)] = 2.0
    """A snapshot that lacks more of its source's rows than this is held: it may be half a file."""
    errors: CsvErrors = CsvErrors()
    """The list of errors."""
    sources: tuple[CsvSource, ...] = ()
    """Column maps; a file of no source must carry the node's own column names, in UTF-8 with commas."""

    @model_validator(mode="after")
    def _sources_differ(self) -> Self:
        if len({source.name for source in self.sources}) < len(self.sources):
            msg = "two sources have the same name"
            raise ValueError(msg)
        return self
