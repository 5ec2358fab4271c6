"""Settings of the CSV feed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from config.fields import Group, Seconds


class CsvDrop(Group):
    """The CSV drop folder."""

    folder: Path | None = None
    """Folder with `inbox/`; none means no CSV feed. Created when missing."""
    poll: Annotated[float, Field(ge=0.1)] = 30.0
    """Seconds between looks."""
    settle: Seconds = 2.0
    """A file is taken once its size and time stood still this long (seconds)."""
    max_bad_rows_percent: Annotated[float, Field(ge=0, le=100)] = 5.0
    """More bad rows than this: the whole file is rejected."""
