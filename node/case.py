"""The states of a case, one frozen type each: a step that gets the wrong one does not type-check.

    Received -> ImageScored -> Matched -> Screened -> Reported -> Delivered
        `------------`-----------`---------`-> NotApplicable | Failed          `----------`-> Withdrawn

A case is one source image (its SOP Instance UID). An amended report is a further version of the same case, which is
then Reported again; what became of the earlier version is told by its deliveries (decision 0005). These values are what
the ledger stores, as JSON, and all the next step needs; the steps themselves are in `node.pipeline`, `node.reconsider`
and `node.delivery`.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass

from model.domain import ClinicalRecord, InstanceReference, MatchClass, Reason, Scored
from node.errors import FailureCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The received image: where its bytes lie and what proves that they are the bytes received."""

    reference: InstanceReference
    spool_file: str
    """Path below the spool directory."""
    digest: str
    """Of the stored file, with its algorithm (`dicom_io.content_digest`)."""
    calling_ae: str
    received_at: dt.datetime
    """Aware, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportObject:
    """One frozen DICOM object of a report; its bytes were fixed before the first send and never change."""

    kind: str
    """`page` or `sr`; sent in tuple order, the SR last."""
    sop_class_uid: str
    sop_instance_uid: str
    sha256: str
    """Hex digest of the Part 10 bytes kept in the outbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """That one destination has every object of the report."""

    destination: str
    kind: str
    """What proves it: `commitment`, `find`, `qido`; or `c-store` (every C-STORE answered 0x0000 or 0xB0xx), which is
    the destination's word and no proof."""
    at: dt.datetime
    sr_class: str = ""
    """SR class it got: `enhanced`, `comprehensive`, `comprehensive3d`; `none` where it took the page alone; empty for
    reports of old releases."""


class Cause(enum.StrEnum):
    """Why a version of a report was made."""

    FIRST = "first"
    LATE_DATA = "late-data"
    """Usable clinical data came within the window after the first report."""
    CORRECTION = "correction"
    """What the report rests on was corrected, taken back or merged, and the site lets such a report amend itself."""
    PERSON = "person"
    """A person asked for it."""
    WITHDRAWAL = "withdrawal"
    """A person withdrew the report: this version says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What one version of a report rests on beside the image, and how it came about."""

    cause: Cause = Cause.FIRST
    changed: str = ""
    """What differs from the version before, in codes; empty for the first."""
    persons: tuple[int, ...] = ()
    """Keys of the joined person and of all read as this one; empty without a match, or for reports of old releases."""
    observations: tuple[int, ...] = ()
    """Numbers of the observation versions that were used, of variables the result shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Stored durably and answered with Success."""

    case_id: int
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageScored:
    """Its image is one the model is meant for, and is scored; the score lies in the ledger. Waits for clinical data."""

    case_id: int
    source: Source
    wait_until: dt.datetime
    """Aware. From then on the image is reported without what is missing; fixed at arrival."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Joined with what is known about the patient, or with the reason why nothing is."""

    case_id: int
    source: Source
    record: ClinicalRecord
    persons: tuple[int, ...] = ()
    """As in `Basis`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """Scored by the model."""

    case_id: int
    source: Source
    record: ClinicalRecord
    result: Scored
    persons: tuple[int, ...] = ()
    """As in `Basis`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """The report's objects are frozen in the outbox and on their way."""

    case_id: int
    source: Source
    match: MatchClass
    result: Scored
    objects: tuple[ReportObject, ...]
    destinations: tuple[str, ...]
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Every destination has the report; or the site wants none of this category, then there are no objects."""

    case_id: int
    source: Source
    match: MatchClass
    result: Scored
    objects: tuple[ReportObject, ...]
    proofs: tuple[Proof, ...]
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NotApplicable:
    """Ended without a score, for a coded reason. Says nothing about the patient's bones."""

    case_id: int
    source: Source
    reasons: tuple[Reason, ...]
    measurements: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Parked for a person, with the evidence. `osteon retry CASE` takes it up again."""

    case_id: int
    source: Source
    code: FailureCode
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """A person withdrew the report. Each destination that has it is told: its deliveries say how far that is."""

    case_id: int
    source: Source
    version: int
    """Of the statement that takes the report's place; of the report itself where none had left the node."""
    reason: str
    """As the person gave it; no patient data."""
    rejection: str
    """`safety` or `quality`: the title of the rejection note."""
    by: str
    at: dt.datetime
    stated: bool = False
    """The statement and the notes are made, or none is needed."""


Case = Received | ImageScored | Matched | Screened | Reported | Delivered | NotApplicable | Failed | Withdrawn
Final = Delivered | NotApplicable | Failed | Withdrawn
