"""Operator alerts: what a person must know of, once per kind and subject until somebody clears it.

An alert is raised in the transaction that does what it tells of, so neither exists without the other. It names a case,
a frame of the inbox or a file by number, and holds codes; never a name, an identifier or a value of a patient.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass

import sqlalchemy as sa

from node.store.alert_schema import alert
from node.store.engine import Connection
from node.store.upsert import insert


class AlertKind(enum.StrEnum):
    """What happened. The text for operators stands in `node.alert_views`."""

    MATCH_CONFLICT = "MATCH_CONFLICT"
    """An image's identifier and demographics contradict each other, or its order names somebody else."""
    IDENTITY_CONFLICT = "IDENTITY_CONFLICT"
    """Values came with the demographics of somebody else."""
    IDENTITY_REPLACED = "IDENTITY_REPLACED"
    """A number was given the demographics of somebody else (subject `person N`)."""
    IDENTIFIER_CHANGED = "IDENTIFIER_CHANGED"
    """A47: an identifier was replaced by another."""
    MERGE_REFUSED = "MERGE_REFUSED"
    """A merge would close a circle or contradicts what is known."""
    MERGE_UNDONE = "MERGE_UNDONE"
    """A merge was taken back."""
    WRONG_PATIENT = "WRONG_PATIENT"
    """OBX-11 W: a value had been filed under the wrong patient, or one that is not known (subject `frame N`)."""
    CORRECTION_UNCLEAR = "CORRECTION_UNCLEAR"
    """A value was taken back or corrected (C, D), and which one is meant is not clear (subject `frame N`)."""
    REVIEW = "REVIEW"
    """A reported case rests on data that were corrected, deleted or merged since."""
    QUARANTINED = "QUARANTINED"
    """A message or file waits for a person."""
    REPORT_INVALID = "REPORT_INVALID"
    """A report broke an invariant and was not sent."""
    RESULT_REFUSED = "RESULT_REFUSED"
    """An HL7 receiver did not take the message about a report."""
    RETRACTION_REFUSED = "RETRACTION_REFUSED"
    """An HL7 receiver did not take the message that takes a result back (subject `case N at NAME`)."""
    RECEIVER_DOWN = "RECEIVER_DOWN"
    """An HL7 receiver is not reachable or does not answer (subject `receiver NAME`); its messages wait."""
    RECEIVER_REMOVED = "RECEIVER_REMOVED"
    """Messages wait for an HL7 receiver that is no longer in the settings (subject `receiver NAME`)."""
    DELIVERY_REFUSED = "DELIVERY_REFUSED"
    """A destination will not take a report, could not for days, or does not keep it (subject `destination NAME`)."""
    DELIVERY_PARTIAL = "DELIVERY_PARTIAL"
    """A destination does not take the class of an object: reports go there without it, be it the SR."""
    DESTINATION_DOWN = "DESTINATION_DOWN"
    """A destination is not reachable; its deliveries wait."""
    DESTINATION_REMOVED = "DESTINATION_REMOVED"
    """Deliveries wait for a destination that is no longer in the settings."""
    PROOF_MISSING = "PROOF_MISSING"
    """A destination answered for a report, and does not give the proof that the settings ask for."""
    WITHDRAWAL_BY_HAND = "WITHDRAWAL_BY_HAND"
    """A withdrawn report must be removed at a destination by a person (subject `case N at NAME`)."""
    WITHDRAWAL_FAILED = "WITHDRAWAL_FAILED"
    """What says that a report is withdrawn could not be made (subject `case N`)."""
    TASK_DEAD = "TASK_DEAD"
    """A task was given up, and what should follow for its case could not be recorded."""
    FAST_PATH_REFUSED = "FAST_PATH_REFUSED"
    """The own receive path did not pass its self-test at start: reception is slower, nothing is lost."""
    ENGINE_REFUSED = "ENGINE_REFUSED"
    """The engine that was wanted crashed, hung or differed: torch serves, slower."""
    COVERAGE = "COVERAGE"
    """Radiographs of a day have no answer, or reports are missing in the archive (subject `archive NAME DAY`)."""
    CERTIFICATE = "CERTIFICATE"
    """A TLS certificate in use has a week or less, expired, is not valid yet, or its renewal is refused (subject
    `reception.tls`, `clinical.mllp.tls`, of a fleet `... at HOST`)."""
    DISK_LOW = "DISK_LOW"
    """The spool's file system is so full that senders are refused (subject `reception`, of a fleet `... at HOST`)."""
    CSV_FOLDER = "CSV_FOLDER"
    """The drop folder cannot be looked into: no CSV file is taken (subject `drop folder`)."""
    SPOOL_UNAVAILABLE = "SPOOL_UNAVAILABLE"
    """Storage that several hosts share does not answer, or is not this node's (subject `spool at HOST`)."""
    HINTS_LOST = "HINTS_LOST"
    """The broker of hints does not answer; work is found by the poll (subject `broker at HOST`)."""
    UNIT_DRIFT = "UNIT_DRIFT"
    """A feed's median of a variable left its expected range: a unit may have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One open or cleared alert."""

    id: int
    kind: str
    subject: str
    """`case 12`, `frame 7`, `file 3`, `person 5`: what to look at, by number."""
    detail: str
    """Codes, no patient data."""
    count: int
    """How often it was raised while open."""
    first_at: dt.datetime
    last_at: dt.datetime
    cleared_at: dt.datetime | None


def raise_alert(c: Connection, kind: AlertKind, subject: str, detail: str = "") -> None:
    """Raise an alert, or count it once more while it is open."""
    now = dt.datetime.now(dt.UTC)
    row = {"kind": kind, "subject": subject, "detail": detail, "count": 1, "first_at": now, "last_at": now}
    again = {"count": alert.c.count + 1, "last_at": now, "detail": detail}
    c.execute(
        insert(c, alert)
        .values(row)
        .on_conflict_do_update(index_elements=["kind", "subject"], index_where=alert.c.cleared_at.is_(None), set_=again)
    )


def clear(c: Connection, alert_id: int) -> bool:
    """A person has seen to it. Whether there was such an open alert."""
    open_one = sa.update(alert).where(alert.c.id == alert_id, alert.c.cleared_at.is_(None))
    return c.execute(open_one.values(cleared_at=dt.datetime.now(dt.UTC))).rowcount == 1


def settle(c: Connection, kind: AlertKind, subject: str) -> None:
    """What the open alert of this subject told of is over."""
    mine = sa.update(alert).where(alert.c.kind == kind, alert.c.subject == subject, alert.c.cleared_at.is_(None))
    c.execute(mine.values(cleared_at=dt.datetime.now(dt.UTC)))


def keep(c: Connection, kind: AlertKind, subject: str, why: str) -> None:
    """One alert is open for as long as there is a `why`: raise it, or settle it where that is empty."""
    if why:
        raise_alert(c, kind, subject, why)
    else:
        settle(c, kind, subject)


def find(c: Connection, *, include_cleared: bool = False, limit: int = 200) -> tuple[Alert, ...]:
    """List alerts, latest first."""
    wanted = sa.select(alert).order_by(alert.c.last_at.desc(), alert.c.id.desc()).limit(limit)
    if not include_cleared:
        wanted = wanted.where(alert.c.cleared_at.is_(None))
    return tuple(Alert(**row) for row in c.execute(wanted).mappings().all())
