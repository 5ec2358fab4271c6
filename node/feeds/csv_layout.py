"""How one file is written: its manifest, the source of the settings it belongs to, and what follows from both.

Nothing is guessed. What the manifest declares of its own file goes before what the settings say of the source.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from config.csv_feed import (
    OPTIONAL,
    REQUIRED,
    WIDE,
    Content,
    CsvDrop,
    CsvSource,
    Decimal,
    Delimiter,
    Encoding,
    SourceName,
)
from config.fields import TimeZone
from node.feeds.csv_header import header_faults
from node.feeds.csv_rules import FileHeld, FileRejected, FileRule

MAX_MANIFEST_BYTES = 1 << 16
_OWN_FORM = CsvSource(name="osteon")
"""The node's own column names, UTF-8, commas: for files of no source."""


class Manifest(BaseModel):
    """`name.csv.json`, written before `name.csv` by whoever writes the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
    rows: Annotated[int, Field(ge=0)] | None = None
    schema_version: Literal[1] = 1
    encoding: Encoding | None = None
    delimiter: Delimiter | None = None
    decimal: Decimal | None = None
    tz: TimeZone | None = None
    issuer: str | None = None
    source: SourceName | None = None
    mode: Literal["snapshot", "delta"] = "delta"
    created: AwareDatetime | None = None

    @model_validator(mode="after")
    def _snapshot_of_something(self) -> Self:
        if self.mode == "snapshot" and self.source is None:
            msg = "a snapshot says of which source"
            raise ValueError(msg)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How to read one file."""

    source: CsvSource
    """With what the manifest declared put in."""
    name: str
    """The source's name; empty for a file of no source."""
    zone: ZoneInfo
    manifest: Manifest | None = None

    @property
    def snapshot(self) -> bool:
        """Whether rows of this source that the file lacks are deleted. Patients are never deleted by absence."""
        declared = self.manifest is not None and self.manifest.mode == "snapshot"
        return declared and self.source.content is Content.OBSERVATIONS

    @property
    def created(self) -> dt.datetime | None:
        """When the writer says it made the file."""
        return None if self.manifest is None else self.manifest.created

    @property
    def ordered(self) -> bool:
        """Whether a file that was made later goes before an earlier one. Statements about patients are dated each."""
        return self.source.content is Content.OBSERVATIONS

    @property
    def codec(self) -> str:
        """Python's codec; a byte order mark is no part of the first header."""
        return "utf-8-sig" if self.source.encoding == "utf-8" else self.source.encoding

    def header(self) -> dict[str, str]:
        """Our columns by the header they have in this file, without the value columns; ignored ones are missing."""
        kind = self.source.content
        if self.source.columns:
            return {theirs: ours for ours, theirs in self.source.columns.items()}
        wide = WIDE if self.source.values else frozenset()
        return {name: name for name in (REQUIRED[kind] | OPTIONAL[kind]) - wide - set(self.source.fixed)}

    def check_header(self, header: list[str]) -> None:
        """Every column known, none twice, none missing.

        Raises:
            FileHeld: it is another header, with what is wrong; the settings may be wrong about it.

        """
        expected = self.header() | {v.column: v.column for v in self.source.values}
        optional = set(self.source.ignored)
        if not self.source.columns:
            optional |= OPTIONAL[self.source.content]
        if faults := header_faults(header, expected, optional=optional, delimiter=self.source.delimiter):
            raise FileHeld(FileRule.HEADER, faults)

    def digest(self, sha256: str) -> str:
        """What makes an import the same one: the bytes of the file, when they were made, and how they are read.

        A value that was corrected and set back is the same bytes again, made later.
        """
        stated = [sha256, self.source.model_dump_json(), self.name, self.zone.key, self.snapshot]
        if self.created is not None or self.source.content is Content.PATIENTS:
            stated.append(str(self.created))
        return hashlib.sha256(json.dumps(stated).encode()).hexdigest()


def read_manifest(path: Path) -> Manifest | None:
    """The manifest at `path`, None where there is none.

    Raises:
        FileRejected: it is no manifest.

    """
    try:
        if path.is_symlink() or path.stat().st_size > MAX_MANIFEST_BYTES:
            raise FileRejected(FileRule.MANIFEST)
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise FileRejected(FileRule.MANIFEST) from error


def layout_of(name: str, manifest: Manifest | None, settings: CsvDrop, zone: ZoneInfo) -> Layout:
    """How the file called `name` is read; `zone` is the site's.

    Raises:
        FileHeld: its manifest names a source that the settings do not have.

    """
    source_name, source = _source(name, manifest, settings)
    declared = {} if manifest is None else manifest.model_dump(exclude_none=True)
    changes: dict[str, Any] = {k: v for k, v in declared.items() if k in ("encoding", "delimiter", "decimal", "issuer")}
    own_zone = declared.get("tz") or source.timezone
    return Layout(
        source=source.model_copy(update=changes),
        name=source_name,
        zone=ZoneInfo(own_zone) if own_zone else zone,
        manifest=manifest,
    )


def _source(name: str, manifest: Manifest | None, settings: CsvDrop) -> tuple[str, CsvSource]:
    if manifest is None or manifest.source is None:
        fits = (s for s in settings.sources if fnmatch.fnmatchcase(name, s.files))
        source = next(fits, None)
        return ("", _OWN_FORM) if source is None else (source.name, source)
    named = next((s for s in settings.sources if s.name == manifest.source), None)
    if named is None and settings.sources:
        raise FileHeld(FileRule.SOURCE)
    return manifest.source, named or _OWN_FORM
