"""Settings of reconciliation: which archive is asked what it holds, so that no image is missed in silence."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from config.fields import Group


class Reconciliation(Group):
    """Every night the archive is asked for the radiographs of the last days, and each is looked up in the ledger."""

    archive: str = ""
    """Name of the destination that is asked; empty: no reconciliation."""
    by: Literal["find", "qido"] = "find"
    """C-FIND (PS3.4 C.4.1), or QIDO-RS at the destination's `qido_url` (PS3.18)."""
    modalities: tuple[str, ...] = ("CR", "DX")
    """Modality (0008,0060) of the series that should have reached the node."""
    body_parts: tuple[str, ...] = ("CHEST", "THORAX", "THORACIC", "LUNG")
    """A series counts when its Body Part Examined (0018,0015) has one of these words."""
    unknown_body_part: bool = True
    """A series counts also when the archive states none."""
    days: Annotated[int, Field(ge=1, le=31)] = 2
    """Days that are looked at each night, the last is yesterday."""
    alert_below_percent: Annotated[float, Field(ge=0, le=100)] = 99.5
    """Coverage under which an alert is raised."""
