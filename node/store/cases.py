"""Cases: one row per source image, its present state as a value of `node.case`, and its whole history.

Receiving is idempotent on the SOP Instance UID: the first bytes are the analysed ones; equal bytes are counted, other
bytes under the same UID are kept for a person and flagged (reception-and-delivery.md 2.4). Nothing here enqueues work
except `reopen`, and nothing decides which state follows: that is `node.pipeline`.
"""

from __future__ import annotations

import datetime as dt
import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dicom_io.content_digest import algorithm_of
from node.case import Case, Failed, Received, Source
from node.store import case_json, duplicates, jobs
from node.store.engine import Connection
from node.store.errors import NoSuchCase, OtherAlgorithm
from node.store.schema import case_event, duplicate_instance, screening_case
from node.store.upsert import add_new


class Receipt(enum.StrEnum):
    """What receiving an instance meant for the ledger."""

    NEW = "NEW"
    """A case was opened."""
    SAME = "SAME"
    """These bytes were here already: counted, nothing else."""
    DIFFERS = "DIFFERS"
    """Other bytes under a known UID: kept and flagged; the first stay the analysed ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """Outcome of `receive`."""

    receipt: Receipt
    case_id: int
    file: str
    """Spool file where the ledger looks for these bytes; an older version may have given them another name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSummary:
    """One line of a list of cases."""

    case_id: int
    state: str
    reason: str
    """Coded reasons, comma-separated; empty while the case is open or when it was reported."""
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    calling_ae: str
    received_at: dt.datetime
    updated_at: dt.datetime
    review: str
    """Why a person must look at the report; empty when nobody must."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseEvent:
    """One entry of a case's history."""

    at: dt.datetime
    state: str
    reason: str
    detail: Mapping[str, Any]


def receive(c: Connection, source: Source) -> Reception:
    """Open a case for `source`, or recognise what came before under its SOP Instance UID.

    The caller enqueues the first task in the same transaction when the receipt is NEW.

    Raises:
        OtherAlgorithm: what came first has a digest of another kind; come again with one of that kind.

    """
    case_id = add_new(c, screening_case, ("sop_instance_uid",), _first_row(source))
    if case_id is None:
        return _received_again(c, source)
    save(c, Received(case_id=case_id, source=source), why="received")
    return Reception(receipt=Receipt.NEW, case_id=case_id, file=source.spool_file)


def save(c: Connection, case: Case, *, why: str = "", detail: Mapping[str, Any] | None = None) -> None:
    """Make `case` the present state of its row and write the event.

    `why` is a short sentence or code without patient data (default: the case's own codes); `detail` is JSON, e.g. what
    was used. Call it under the fence of the case's task (`jobs.checkpoint`, or the completion).

    Raises:
        NoSuchCase: `case.case_id` is unknown.

    """
    now = dt.datetime.now(dt.UTC)
    state, codes = case_json.state_of(case), case_json.codes_of(case)
    values = {"state": state, "document": case_json.dump(case), "reason": codes, "updated_at": now}
    if c.execute(_SAVE, values | {"case_id": case.case_id}).rowcount != 1:
        msg = f"case {case.case_id} does not exist"
        raise NoSuchCase(msg)
    if isinstance(case, Failed):
        detail = {"detail": case.detail} | dict(detail or {})
    event = {"case_id": case.case_id, "at": now, "state": state, "reason": why or codes}
    c.execute(_ADD_EVENT, event | {"detail": json.dumps(detail or {})})


def note(c: Connection, case_id: int, why: str) -> None:
    """Write to the history of a case whose state stays as it is; `why` as in `save`."""
    now = dt.datetime.now(dt.UTC)
    state = sa.select(screening_case.c.state).where(screening_case.c.id == case_id).scalar_subquery()
    event = {"case_id": case_id, "at": now, "state": state, "reason": why, "detail": "{}"}
    c.execute(sa.insert(case_event).values(event))


def load(c: Connection, case_id: int) -> Case:
    """Return the present state of a case.

    Raises:
        NoSuchCase: it is unknown.

    """
    found = _load(c, _BY_ID, case_id)
    if found is None:
        msg = f"case {case_id} does not exist"
        raise NoSuchCase(msg)
    return found


def lock_case(c: Connection, case_id: int) -> None:
    """Serialise on the case until the transaction ends (PostgreSQL; on SQLite every writer is alone anyway).

    Raises:
        NoSuchCase: the case is unknown.

    """
    if c.execute(_LOCK, {"wanted": case_id}).first() is None:
        msg = f"case {case_id} does not exist"
        raise NoSuchCase(msg)


def by_uid(c: Connection, sop_instance_uid: str) -> Case | None:
    """Return the case of an image."""
    return _load(c, _BY_UID, sop_instance_uid)


def reopen(
    c: Connection,
    case_id: int,
    *,
    kind: str,
    lane: str,
    key: str | None = None,
    why: str = "taken up again by a person",
) -> Received:
    """Take a Failed case up again from the start: Received, with event, and the task `(kind, key or case id)` due now.

    Raises:
        NoSuchCase: it is unknown, or not Failed.

    """
    case = load(c, case_id)
    if not isinstance(case, Failed):
        msg = f"case {case_id} is {case_json.state_of(case)}, not Failed; there is nothing to retry"
        raise NoSuchCase(msg)
    received = Received(case_id=case_id, source=case.source)
    jobs.touch(c, kind, key or str(case_id), lane=lane)
    save(c, received, why=why, detail={"was": str(case.code)})
    return received


def find(
    c: Connection,
    *,
    state: str | None = None,
    reason: str | None = None,
    study_uid: str | None = None,
    review: bool = False,
    before: int | None = None,
    limit: int = 100,
) -> tuple[CaseSummary, ...]:
    """List cases, latest first; `before` a case id continues a list. `reason` is one code among the case's codes.

    `review`: only those a person must look at.
    """
    table = screening_case.c
    wanted = sa.select(*[getattr(table, name) for name in _SUMMARY]).order_by(table.id.desc()).limit(limit)
    if state is not None:
        wanted = wanted.where(table.state == state)
    if reason is not None:
        wanted = wanted.where(("," + table.reason + ",").contains(f",{reason},", autoescape=True))
    if study_uid is not None:
        wanted = wanted.where(table.study_uid == study_uid)
    if review:
        wanted = wanted.where(table.review != "")
    if before is not None:
        wanted = wanted.where(table.id < before)
    rows = c.execute(wanted).all()
    return tuple(CaseSummary(case_id=row.id, **{name: getattr(row, name) for name in _SUMMARY[1:]}) for row in rows)


def history(c: Connection, case_id: int) -> tuple[CaseEvent, ...]:
    """Return all events of a case, oldest first."""
    events = case_event.c
    rows = c.execute(sa.select(case_event).where(events.case_id == case_id).order_by(events.id)).all()
    return tuple(
        CaseEvent(at=row.at, state=row.state, reason=row.reason, detail=json.loads(row.detail)) for row in rows
    )


def count_by_state(c: Connection) -> dict[str, int]:
    """Number of cases by state; every state is named, also with 0."""
    rows = c.execute(sa.select(screening_case.c.state, sa.func.count()).group_by(screening_case.c.state)).all()
    counted: dict[str, int] = {row.state: row[1] for row in rows}
    return {state: counted.get(state, 0) for state in case_json.STATES}


def spool_files(c: Connection) -> frozenset[str]:
    """Every spool file the ledger refers to; any other complete file in the spool is an orphan to adopt."""
    kept = sa.select(duplicate_instance.c.spool_file).where(duplicate_instance.c.spool_file.is_not(None))
    return frozenset(c.execute(sa.select(screening_case.c.spool_file).union(kept)).scalars().all())


_SAVE = (
    sa.update(screening_case)
    .where(screening_case.c.id == sa.bindparam("case_id"))
    .values({name: sa.bindparam(name) for name in ("state", "document", "reason", "updated_at")})
)
_BACK_IN_SPOOL = (
    sa.update(screening_case)
    .where(screening_case.c.id == sa.bindparam("case_id"), screening_case.c.image_purged_at.is_not(None))
    .values(image_purged_at=None)
)
"""A file that retention had deleted was received again: it must be found when its time is over once more."""
_ADD_EVENT = sa.insert(case_event)
_PRESENT = sa.select(screening_case.c.state, screening_case.c.document)
_BY_ID = _PRESENT.where(screening_case.c.id == sa.bindparam("wanted"))
_BY_UID = _PRESENT.where(screening_case.c.sop_instance_uid == sa.bindparam("wanted"))
_LOCK = sa.select(screening_case.c.id).where(screening_case.c.id == sa.bindparam("wanted")).with_for_update()
"""Built once: to build a statement costs more than to run it."""

_SUMMARY = (
    "id",
    "state",
    "reason",
    "sop_instance_uid",
    "study_uid",
    "series_uid",
    "calling_ae",
    "received_at",
    "updated_at",
    "review",
)


def _first_row(source: Source) -> dict[str, Any]:
    """Columns of a new case; the document follows at once, when the case has its number."""
    return {
        "sop_instance_uid": source.reference.sop_instance_uid,
        "study_uid": source.reference.study_uid,
        "series_uid": source.reference.series_uid,
        "state": Received.__name__,
        "document": "",
        "digest": source.digest,
        "spool_file": source.spool_file,
        "calling_ae": source.calling_ae,
        "received_at": source.received_at,
        "updated_at": source.received_at,
    }


def _received_again(c: Connection, source: Source) -> Reception:
    columns = screening_case.c
    known = sa.select(columns.id, columns.digest, columns.spool_file)
    # Locked: another host's retention may be deleting the file at this moment, and must be seen to have done so.
    same = known.where(columns.sop_instance_uid == source.reference.sop_instance_uid).with_for_update()
    first = c.execute(same).one()
    if algorithm_of(first.digest) != algorithm_of(source.digest):
        raise OtherAlgorithm(algorithm_of(first.digest))
    differs = first.digest != source.digest
    kept_file = duplicates.count(c, first.id, source, differs=differs)
    c.execute(_BACK_IN_SPOOL, {"case_id": first.id})
    receipt = Receipt.DIFFERS if differs else Receipt.SAME
    return Reception(receipt=receipt, case_id=first.id, file=kept_file or first.spool_file)


def _load(c: Connection, present: sa.Executable, wanted: int | str) -> Case | None:
    row = c.execute(present, {"wanted": wanted}).first()
    return None if row is None else case_json.parse(row.state, row.document)
