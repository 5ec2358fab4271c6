"""Requests for storage commitment: one row each, with the instances named, and how their report ended.

A repeated request is the same request: it is answered again, not kept twice. Nothing here says whether an instance is
safe, and nothing enqueues work: that is `node.commitment`.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.store.engine import Connection
from node.store.reception_schema import commitment_item, commitment_request
from node.store.upsert import insert


class CommitmentState(enum.StrEnum):
    """How far a request is."""

    WAITING = "waiting"
    """The requestor has not been told yet."""
    REPORTED = "reported"
    """The requestor has answered the N-EVENT-REPORT with Success."""
    GIVEN_UP = "given_up"
    """It could not be told in time; it may ask again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """One request as the ledger has it."""

    transaction_uid: str
    requestor_ae: str
    address: str
    requested_at: dt.datetime
    """Aware, UTC; of the last repetition."""
    items: tuple[tuple[str, str], ...]
    """(SOP class, SOP instance) in the order of the request."""
    state: CommitmentState
    tries: int
    """Vain tries to report since `requested_at`."""
    failures: Mapping[str, int]
    """Failure Reason by SOP Instance UID, as last reported."""
    error: str | None


def record(
    c: Connection,
    *,
    transaction_uid: str,
    requestor_ae: str,
    address: str,
    items: tuple[tuple[str, str], ...],
    at: dt.datetime,
) -> bool:
    """Keep a request, or open it again when the same requestor repeats it. False: the UID stands for another request.

    The caller enqueues the report in the same transaction.
    """
    row: dict[str, Any] = {"requestor_ae": requestor_ae, "address": address, "requested_at": at}
    statement = insert(c, commitment_request).values(row | {"transaction_uid": transaction_uid})
    added = statement.on_conflict_do_nothing(index_elements=["transaction_uid"]).returning(commitment_request.c.id)
    request_id = c.execute(added).scalar_one_or_none()  # RETURNING: psycopg gives rowcount -1 here
    if request_id is None:
        return _record_again(c, transaction_uid, row, items)
    rows = [
        {"request_id": request_id, "position": position, "sop_class_uid": sop_class, "sop_instance_uid": instance}
        for position, (sop_class, instance) in enumerate(items)
    ]
    c.execute(sa.insert(commitment_item), rows)
    return True


def find(c: Connection, transaction_uid: str) -> Commitment | None:
    """Return the request of a Transaction UID."""
    columns, item = commitment_request.c, commitment_item.c
    rows = c.execute(
        sa.select(commitment_request, item.sop_class_uid, item.sop_instance_uid, item.failure)
        .join(commitment_item, item.request_id == columns.id)
        .where(columns.transaction_uid == transaction_uid)
        .order_by(item.position)
    ).all()
    if not rows:
        return None
    return Commitment(
        transaction_uid=rows[0].transaction_uid,
        requestor_ae=rows[0].requestor_ae,
        address=rows[0].address,
        requested_at=rows[0].requested_at,
        items=tuple((row.sop_class_uid, row.sop_instance_uid) for row in rows),
        state=CommitmentState(rows[0].state),
        tries=rows[0].tries,
        failures={row.sop_instance_uid: row.failure for row in rows if row.failure is not None},
        error=rows[0].error,
    )


def mark_tried(c: Connection, transaction_uid: str, *, error: str) -> int:
    """Count a vain try to report; returns how many there were. `error` names the requestor, never a patient."""
    columns = commitment_request.c
    statement = sa.update(commitment_request).where(columns.transaction_uid == transaction_uid)
    tries: int = c.execute(statement.values(tries=columns.tries + 1, error=error).returning(columns.tries)).scalar_one()
    return tries


def mark_reported(c: Connection, transaction_uid: str, failures: Mapping[str, int], *, at: dt.datetime) -> None:
    """The requestor knows the outcome: `failures` by SOP Instance UID, everything else is promised."""
    request_id = _end(c, transaction_uid, CommitmentState.REPORTED, at, error=None)
    item = commitment_item.c
    c.execute(sa.update(commitment_item).where(item.request_id == request_id).values(failure=None))
    for instance, failure in failures.items():
        of_it = sa.and_(item.request_id == request_id, item.sop_instance_uid == instance)
        c.execute(sa.update(commitment_item).where(of_it).values(failure=failure))


def mark_given_up(c: Connection, transaction_uid: str, *, error: str, at: dt.datetime) -> None:
    """The requestor could not be told in time."""
    _end(c, transaction_uid, CommitmentState.GIVEN_UP, at, error=error)


def _record_again(c: Connection, transaction_uid: str, row: dict[str, Any], items: tuple[tuple[str, str], ...]) -> bool:
    known = find(c, transaction_uid)
    if known is None or known.requestor_ae != row["requestor_ae"] or set(known.items) != set(items):
        return False
    again = row | {"state": CommitmentState.WAITING, "tries": 0, "ended_at": None, "error": None}
    statement = sa.update(commitment_request).where(commitment_request.c.transaction_uid == transaction_uid)
    c.execute(statement.values(again))
    return True


def _end(c: Connection, transaction_uid: str, state: CommitmentState, at: dt.datetime, *, error: str | None) -> int:
    columns = commitment_request.c
    statement = sa.update(commitment_request).where(columns.transaction_uid == transaction_uid)
    request_id: int = c.execute(
        statement.values(state=str(state), ended_at=at, error=error).returning(columns.id)
    ).scalar_one()
    return request_id
