"""How clinical data join an image: the two feeds, whose identifiers count, how long a case waits and changes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from config.csv_feed import CsvDrop
from config.fields import Group
from config.hl7_feed import Mllp


class Clinical(Group):
    """How clinical data join an image."""

    wait: Annotated[float, Field(ge=0, le=86_400)] = 600.0
    """Seconds an image waits for its clinical data, then it is reported from the image alone."""
    trusted_issuers: tuple[str, ...] = ()
    """Assigning authorities whose identifiers may be inserted; empty means all."""
    lookback_days: dict[str, float] = Field(default_factory=lambda: {"weight": 365.0, "height": 1826.0})
    """How old a value may be at the image's time, days, by variable."""
    mllp: Mllp = Mllp()
    """HL7 v2 feed."""
    csv: CsvDrop = CsvDrop()
    """CSV feed."""
