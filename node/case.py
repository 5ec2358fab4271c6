"""The states of a case, one frozen type each: a step that gets the wrong one does not type-check.

    Received -> Matched -> Screened -> Reported -> Delivered
        `-----------`---------`-> NotApplicable | Failed

A case is one source image (its SOP Instance UID). These values are what the ledger stores, as JSON, and all the next
step needs; the steps themselves are in `node.pipeline` and `node.delivery`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from model.domain import ClinicalRecord, InstanceReference, MatchClass, Reason, Scored
from node.errors import FailureCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The received image: where its bytes lie and what proves that they are the bytes received."""

    reference: InstanceReference
    spool_file: str
    """Path below the spool directory."""
    sha256: str
    """Hex digest of the stored file."""
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
    """What proves it: `c-store` (every C-STORE answered 0x0000 or 0xB0xx)."""
    at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Stored durably and answered with Success."""

    case_id: int
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Joined with what is known about the patient, or with the reason why nothing is."""

    case_id: int
    source: Source
    record: ClinicalRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """Scored by the model."""

    case_id: int
    source: Source
    record: ClinicalRecord
    result: Scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """The report's objects are frozen in the outbox and on their way."""

    case_id: int
    source: Source
    match: MatchClass
    result: Scored
    objects: tuple[ReportObject, ...]
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Every destination has the report; or the site wants none of this category, then there are no objects."""

    case_id: int
    source: Source
    match: MatchClass
    result: Scored
    objects: tuple[ReportObject, ...]
    proofs: tuple[Proof, ...]


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


Case = Received | Matched | Screened | Reported | Delivered | NotApplicable | Failed
Final = Delivered | NotApplicable | Failed
