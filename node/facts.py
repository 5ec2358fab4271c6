"""What a clinical feed can tell the node, independent of whether HL7 or CSV said it.

The feeds make these values, the store keeps them; neither knows the other.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Final

from model.domain import AssigningAuthority, Identifier, PatientIdentity


class Demographic(enum.Enum):
    """What a sender can ask to delete about a person."""

    NAME = "name"
    BIRTH_DATE = "birth_date"
    SEX = "sex"
    DEATH = "death"


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFact:
    """A person with all identifiers and demographics as of `valid_since` (EVN-2, else MSH-7, aware)."""

    identity: PatientIdentity
    valid_since: dt.datetime
    dead: bool | None = None
    """PID-30; None when nothing was said."""
    died_at: dt.datetime | None = None
    """PID-29, the start of what was stated; aware."""
    cleared: frozenset[Demographic] = frozenset()
    """What the sender asked to delete (`""`). Everything else that is empty was not sent and stays as it was known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFact:
    """An imaging order of a person (ORM, OMG, OMI): its accession number, its Study Instance UID, or both."""

    accession: str
    patient: Identifier
    placer: str = ""
    filler: str = ""
    study_uid: str = ""
    cancelled: bool = False
    """ORC-1 took the order back: the link is closed."""


HL7_KEY: Final = "HL7|"
"""How keys begin that hold their patient. Two hospitals may share a namespace: they are one value's within a person."""


def key_start(patient: Identifier) -> str:
    """How the keys of a patient's HL7 values begin: with the identifier as sent.

    What comes behind is the same for the same value under another identifier of the person.
    """
    return f"{HL7_KEY}{patient.authority.namespace or patient.authority.universal_id}|{patient.value}|"


class Unusable(enum.StrEnum):
    """Why a value is kept and not used. What a sender states comes first, what the patient's other values say last."""

    STATUS = "STATUS"
    """Preliminary, unverified, ordered only; `U` makes it final."""
    VOID = "VOID"
    """Taken back: OBX-11 D, or an explicit deletion."""
    WRONG_PATIENT = "WRONG_PATIENT"
    """Taken back because it belongs to somebody else: OBX-11 W."""
    WITHDRAWN = "WITHDRAWN"
    """Taken back because there is no result after all: OBX-11 X."""
    COMPARATOR = "COMPARATOR"
    """`<5` is not a number unless the variable's policy says so."""
    NUMBER = "NUMBER"
    NO_UNIT = "NO_UNIT"
    """No unit, no value, unless the site fixed one for the code."""
    UNIT = "UNIT"
    """Not a unit of the code's property."""
    RANGE = "RANGE"
    NO_RANGE = "NO_RANGE"
    """The table states no range for the variable yet."""
    REFERENCE = "REFERENCE"
    """The laboratory's reference range does not fit the unit: the unit is not what it says."""
    ANSWER = "ANSWER"
    """A coded answer that the table does not map."""
    UNKNOWN = "UNKNOWN"
    """The answer is "unknown"."""
    TIME = "TIME"
    """Known to a month or a year only."""
    REGION = "REGION"
    """A DXA region that nobody mapped."""
    WEIGHT_JUMP = "WEIGHT_JUMP"
    """Too far from what the patient weighed within 30 days."""
    HEIGHT_JUMP = "HEIGHT_JUMP"
    """Too far from the patient's other heights."""
    BMI = "BMI"
    """Weight and height make no body."""


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
    """In the canonical unit; a value that is not used may have one (preliminary, contradicted by others)."""
    unit: str
    observed_start: dt.datetime
    """Aware. An observation is an interval: a date-only time is the whole local day."""
    observed_end: dt.datetime
    available_at: dt.datetime
    """When the value could be known: OBX-19, OBR-22, MSH-7, else receipt."""
    usable: bool
    reason: str
    """`Unusable` when not usable, else empty."""
    source: str
    """`HL7 ORU^R01 <MSH-10>` or `CSV <import id>:<row>`; never a path or a name."""
    code: str = ""
    """LOINC code, when the value came with one."""
    comparator: str = ""
    """`<`, `>`, ... as sent; a value with one is no number."""
    status: str = ""
    """Result status as sent (table 0085)."""
    table_version: str = ""
    """Version of the code table that judged the value."""
    visit: str = ""
    """Visit number (PV1-19) of a value that an ADT message carried; a cancelled visit takes it back."""
    weak_time: bool = False
    """The time is only that of the message or report: one that says the same again later makes it no later."""
    named: str = ""
    """Order number, code and sub-ID of an OBX as they stand in its key behind `key_start`; empty without the first."""
    sent_at: dt.datetime | None = None
    """MSH-7; None where arrival is all the order there is."""


VOID_REASONS: frozenset[str] = frozenset({Unusable.VOID, Unusable.WRONG_PATIENT, Unusable.WITHDRAWN})
"""Reasons of a fact that takes its predecessor back: OBX-11 D or an empty C, W, and X."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusFact:
    """OBX-11 U: the value that was sent before as preliminary under this key is final; it is not sent again."""

    patient: Identifier
    key: str
    available_at: dt.datetime
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DxaFact:
    """One result of a DXA: the truth for evaluation. No path leads from here to a feature.

    One of T-score, Z-score and BMD is set, or none when it was taken back.
    """

    patient: Identifier
    key: str
    region: str
    """`lumbar`, `total_hip`, `femoral_neck` or as stated."""
    t_score: float | None
    observed_at: dt.datetime
    source: str
    z_score: float | None = None
    bmd: float | None = None
    """Areal bone mineral density, g/cm2."""
    usable: bool = True
    reason: str = ""
    """Coded reason when it is no truth, else empty."""
    weak_time: bool = False
    """As an observation's."""
    named: str = ""
    """As an observation's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureFact:
    """A drug given or ordered that may never become a feature: anti-osteoporotic drugs (ATC M05B) follow the diagnosis.

    It stands in a table of its own, which no reader of features selects from.
    """

    patient: Identifier
    key: str
    code: str
    """ATC code as sent."""
    observed_start: dt.datetime
    observed_end: dt.datetime
    available_at: dt.datetime
    cancelled: bool
    source: str
    weak_time: bool = False
    """As an observation's."""


class MergeKind(enum.StrEnum):
    """Why one identifier is read as another."""

    MERGE = "merge"
    """Two records were one person (A40, A34-A36, A18)."""
    CHANGE = "change"
    """One person was given another identifier (A47)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeFact:
    """`prior` is an alias of `survivor`."""

    survivor: Identifier
    prior: Identifier
    kind: MergeKind = MergeKind.MERGE


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelFact:
    """A visit that did not take place (A11, A38, A23): the values that its ADT messages carried are taken back."""

    patient: Identifier
    visit: str
    """PV1-19; never empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TombstoneFact:
    """The person was deleted (A29): no image joins any more."""

    patient: Identifier


Fact = (
    PersonFact
    | OrderFact
    | ObservationFact
    | StatusFact
    | DxaFact
    | ExposureFact
    | MergeFact
    | CancelFact
    | TombstoneFact
)
UNSTATED = AssigningAuthority()


def identifiers(fact: Fact) -> tuple[Identifier, ...]:
    """Whom a fact is about."""
    if isinstance(fact, PersonFact):
        return fact.identity.identifiers
    return (fact.survivor, fact.prior) if isinstance(fact, MergeFact) else (fact.patient,)


def replaces(fact: ObservationFact | DxaFact | ExposureFact) -> bool:
    """Whether it speaks of a value that was sent before: OBX-11 C, D, W and X."""
    if isinstance(fact, ExposureFact):
        return fact.cancelled
    return fact.reason in VOID_REASONS or (isinstance(fact, ObservationFact) and fact.status == "C")


class ChangeKind(enum.Enum):
    """What a feed changed about a person; what decides whether a case is looked at again."""

    NEW_VALUE = "new_value"
    """A value that no earlier one stood for."""
    CORRECTED = "corrected"
    """A later version replaced a value."""
    VOIDED = "voided"
    """A value was taken back (OBX-11 D or X, an empty C, a cancelled visit)."""
    WRONG_PATIENT = "wrong_patient"
    """A value was taken back because it had been filed under the wrong patient (OBX-11 W)."""
    DEMOGRAPHICS = "demographics"
    """Name, birth date, sex, death or an identifier."""
    ORDER = "order"
    """An accession number, or a Study Instance UID, now names this person, or no longer does."""
    MERGED = "merged"
    """The person is read as another from now on, or another as this one: one change for each of the two."""
    UNMERGED = "unmerged"
    """A merge was taken back: one change for each of the two."""
    TOMBSTONE = "tombstone"
    """The person was deleted (A29): no image may join."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One effect of a batch of facts, for those who must look at a case again."""

    kind: ChangeKind
    person_key: int
    """The person's own row, before merges are followed (`clinical_persons.root` follows them)."""
    observation_id: int | None = None
    """The version that was closed (corrected, voided, wrong patient); None for all others."""
