"""One message while its facts are taken, and what it did in the end.

What takes a value back and finds none is not passed over: what the sender meant may still be in use under another key.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import sqlalchemy as sa

from model.domain import Identifier
from node.facts import VOID_REASONS, Change, ChangeKind, DxaFact, ExposureFact, ObservationFact, Unusable
from node.store.alerts import AlertKind, raise_alert
from node.store.clinical_persons import Known
from node.store.clinical_values import Version

VOID_NOT_FOUND = "VOID_NOT_FOUND"
"""Remark: a value was taken back or corrected (D, W, C) that nobody knows; what was meant may still be in use."""
OUTDATED = "OUTDATED"
"""Remark: a value was sent before its own correction (C, D, W, X), and came again after it; not taken."""
NO_RESULT = "NO_RESULT"
"""Remark: there is no result (X), and none was sent before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What the facts of one message did."""

    written: int = 0
    """New versions; 0 when everything was known."""
    refused: tuple[str, ...] = ()
    """Codes of facts that were not taken; a person must look."""
    warnings: tuple[str, ...] = ()
    """Codes of what was taken and is worth a line in the log."""
    changes: tuple[Change, ...] = ()
    """Whom it touched and how, in the order of the facts."""
    remarks: tuple[str, ...] = ()
    """`VOID_NOT_FOUND`, `OUTDATED` and `NO_RESULT`, once for each value."""


@dataclass(slots=True)
class Message:
    """One message while its facts are taken."""

    at: dt.datetime
    seq: int | None
    written: int = 0
    refused: list[str] = field(default_factory=list)
    warnings: dict[str, None] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    doubtful: set[Identifier] = field(default_factory=set)
    """Identifiers of a person who could not be told apart."""
    patient: tuple[Identifier, Known] | None = None
    """The last one looked up: the values of a message mostly name one patient."""
    spoken_of: set[str] = field(default_factory=set)
    """Keys of the values it states or has found: what it says of another value does not mean these."""
    stand_ins: dict[Identifier, Identifier] = field(default_factory=dict)
    """A trusted identifier of the same person for one whose issuer is not trusted."""

    def applied(self) -> Applied:
        """What it did."""
        return Applied(
            written=self.written,
            refused=tuple(self.refused),
            warnings=tuple(self.warnings),
            changes=tuple(self.changes),
            remarks=tuple(self.remarks),
        )

    def count(self, done: tuple[int, tuple[Change, ...]]) -> None:
        """Add (rows written, changes)."""
        written, changes = done
        self.written += written
        self.changes += changes

    def tell(self, c: sa.Connection, old: Version | None, person_key: int, *, usable: bool, reason: str) -> None:
        """Say whom a new version of an observation touches, and how."""
        counted = old is not None and old.usable and old.id is not None
        if old is not None and counted:
            kind = ChangeKind.CORRECTED
            if reason in VOID_REASONS:
                kind = ChangeKind.WRONG_PATIENT if reason == "WRONG_PATIENT" else ChangeKind.VOIDED
            self.changes.append(Change(kind=kind, person_key=old.person_key, observation_id=old.id))
        if reason == Unusable.WRONG_PATIENT and old is not None:  # also of a value that was not used
            raise_alert(c, AlertKind.WRONG_PATIENT, f"person {old.person_key}", f"observation {old.id or 'new'}")
        if usable and not (counted and old is not None and old.person_key == person_key):
            self.changes.append(Change(kind=ChangeKind.NEW_VALUE, person_key=person_key))

    def misses(self, c: sa.Connection, fact: ObservationFact | DxaFact | ExposureFact, *, unclear: bool) -> bool:
        """Say that what is to be replaced is not known. Whether there is nothing to write either.

        `unclear`: what is meant may be one of those in use.
        """
        if isinstance(fact, ExposureFact):
            return False  # "not given" is a statement of its own
        nothing = fact.reason == Unusable.WITHDRAWN
        self.remarks.append(NO_RESULT if nothing else VOID_NOT_FOUND)
        subject = "drop folder" if self.seq is None else f"frame {self.seq}"
        if fact.reason == Unusable.WRONG_PATIENT:
            raise_alert(c, AlertKind.WRONG_PATIENT, subject, VOID_NOT_FOUND)
        elif unclear:
            raise_alert(c, AlertKind.CORRECTION_UNCLEAR, subject, VOID_NOT_FOUND)
        return nothing
