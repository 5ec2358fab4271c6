"""What a clinical feed can tell the node, independent of whether HL7 or CSV said it.

The feeds make these values, the store keeps them; neither knows the other.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from model.domain import AssigningAuthority, Identifier, PatientIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFact:
    """A person with all identifiers and demographics as of `valid_since` (EVN-2, else MSH-7, aware)."""

    identity: PatientIdentity
    valid_since: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFact:
    """An accession number that belongs to a person (ORM/OMI/OMG, ORU OBR-18)."""

    accession: str
    patient: Identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationFact:
    """One coded value about a patient, as sent and in canonical form.

    `key` is stable under resending: (source kind, patient, group, code, sub-id, observed time).
    """

    patient: Identifier
    key: str
    variable: str
    """Canonical variable of the code table."""
    raw_value: str
    raw_unit: str
    value: float | None
    """In the canonical unit; None when not usable."""
    unit: str
    observed_start: dt.datetime
    """Aware. An observation is an interval: a date-only time is the whole local day."""
    observed_end: dt.datetime
    available_at: dt.datetime
    """When the value could be known: OBX-19, OBR-22, MSH-7, else receipt."""
    usable: bool
    reason: str
    """Coded reason when not usable (`RANGE`, `UNIT`, `STATUS`, ...), else empty."""
    source: str
    """`HL7 ORU^R01 <MSH-10>` or `CSV <import id>:<row>`; never a path or a name."""
    code: str = ""
    """LOINC code, when the value came with one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DxaFact:
    """A DXA T-score: the truth for evaluation. No path leads from here to a feature."""

    patient: Identifier
    key: str
    region: str
    """`lumbar`, `total_hip`, `femoral_neck` or as stated."""
    t_score: float
    observed_at: dt.datetime
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeFact:
    """`prior` is an alias of `survivor` (ADT A40)."""

    survivor: Identifier
    prior: Identifier


Fact = PersonFact | OrderFact | ObservationFact | DxaFact | MergeFact
UNSTATED = AssigningAuthority()
