"""Report objects with their bytes, fixed before the first send, and the state of their deliveries.

A report that is sent twice is byte-identical, so the second is the archive's duplicate and never a second finding. Two
destinations may complete at the same moment on two hosts: whoever changes a delivery locks the row of the case first,
so exactly one of them sees that all are served.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import sqlalchemy as sa

from node.case import Proof, ReportObject
from node.store.engine import Connection
from node.store.errors import DamagedObject, NoSuchCase
from node.store.schema import delivery, outbox_object, screening_case
from node.store.upsert import insert


class Freezable(Protocol):
    """A built object as `dicom_io.results` gives it."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def sop_class_uid(self) -> str: ...  # noqa: D102
    @property
    def sop_instance_uid(self) -> str: ...  # noqa: D102
    @property
    def part10(self) -> bytes: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxObject:
    """One frozen object; `part10` is the DICOM file (PS3.10) that is sent, always the same bytes."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    sha256: str
    part10: bytes = field(repr=False)


class DeliveryState(enum.StrEnum):
    """How far one report version is with one destination."""

    WAITING = "waiting"
    """Not there yet; tried until it is."""
    DELIVERED = "delivered"
    """The destination has every object, with proof."""
    REFUSED = "refused"
    """The destination will not take it; a person must act."""
    CANCELLED = "cancelled"
    """A newer version took its place before it was there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One report version on its way to one destination."""

    case_id: int
    version: int
    destination: str
    state: DeliveryState
    proof: str | None
    tries: int
    """Sends that ended without success since the delivery was opened."""
    at: dt.datetime
    """When the state was entered, or the last try ended."""
    error: str | None
    uncertain: bool
    """A send is running, or an earlier one left something: some object of the version is or may be there."""


def freeze_once(c: Connection, case_id: int, version: int, objects: Sequence[Freezable]) -> tuple[ReportObject, ...]:
    """Fix the objects of a report version in the order of sending; the SR last.

    A second call changes nothing and returns what is frozen, also when `objects` differ.

    Raises:
        NoSuchCase: the case is unknown.

    """
    lock_case(c, case_id)
    if already := frozen(c, case_id, version):
        return already
    now = dt.datetime.now(dt.UTC)
    rows = [
        {"case_id": case_id, "version": version, "position": position, "frozen_at": now, "part10": item.part10}
        | {"kind": item.kind, "sop_class_uid": item.sop_class_uid, "sop_instance_uid": item.sop_instance_uid}
        | {"sha256": hashlib.sha256(item.part10).hexdigest()}
        for position, item in enumerate(objects)
    ]
    if rows:
        c.execute(sa.insert(outbox_object), rows)
    return frozen(c, case_id, version)


def frozen(c: Connection, case_id: int, version: int) -> tuple[ReportObject, ...]:
    """The frozen objects of a version without their bytes, in the order of sending."""
    columns = outbox_object.c
    wanted = sa.select(columns.kind, columns.sop_class_uid, columns.sop_instance_uid, columns.sha256)
    rows = (
        c.execute(wanted.where(_version(outbox_object, case_id, version)).order_by(columns.position)).mappings().all()
    )
    return tuple(ReportObject(**row) for row in rows)


def made_here(c: Connection, sop_instance_uid: str) -> bool:
    """Whether this ledger's node made that object: an archive that routes by study sends it back."""
    known = sa.select(outbox_object.c.sop_instance_uid).where(outbox_object.c.sop_instance_uid == sop_instance_uid)
    return c.execute(known).first() is not None


def objects(c: Connection, case_id: int, version: int) -> tuple[OutboxObject, ...]:
    """Return the frozen objects with their bytes, in the order of sending.

    Raises:
        DamagedObject: bytes no longer have their digest.

    """
    columns = outbox_object.c
    wanted = sa.select(columns.kind, columns.sop_class_uid, columns.sop_instance_uid, columns.sha256, columns.part10)
    rows = (
        c.execute(wanted.where(_version(outbox_object, case_id, version)).order_by(columns.position)).mappings().all()
    )
    found = tuple(OutboxObject(**row) for row in rows)
    for item in found:
        if hashlib.sha256(item.part10).hexdigest() != item.sha256:
            msg = f"object {item.sop_instance_uid} of case {case_id} does not have the digest it was frozen with"
            raise DamagedObject(msg)
    return found


def open_deliveries(c: Connection, case_id: int, version: int, destinations: Iterable[str]) -> None:
    """Begin the delivery of a version to each of `destinations`; one that is open or ended already stays as it is."""
    now = dt.datetime.now(dt.UTC)
    for destination in destinations:
        row = {"case_id": case_id, "version": version, "destination": destination, "at": now}
        c.execute(insert(c, delivery).values(row).on_conflict_do_nothing())


def mark_delivered(c: Connection, case_id: int, version: int, destination: str, *, proof: str, at: dt.datetime) -> bool:
    """`destination` has every object of the version. Whether all destinations of the version now have it.

    Raises:
        NoSuchCase: no such delivery was opened.

    """
    lock_case(c, case_id)
    values = {"state": DeliveryState.DELIVERED, "proof": proof, "at": at, "error": None, "uncertain": False}
    _change(c, case_id, version, destination, values)
    missing = sa.select(delivery.c.destination).where(
        _version(delivery, case_id, version), delivery.c.state != DeliveryState.DELIVERED
    )
    return c.execute(missing.limit(1)).first() is None


def begin_send(c: Connection, case_id: int, version: int, destination: str) -> bool | None:
    """From here on the destination may have some of the version. Whether it might before; None: it is not to be sent.

    What was cancelled is not sent, nor what is there already. It takes the lock under which versions are made, so a
    send has either begun before a newer version was frozen, which then names this one as its predecessor, or never
    begins.

    Raises:
        NoSuchCase: no such delivery was opened.

    """
    lock_case(c, case_id)
    found = [d for d in deliveries(c, case_id=case_id, version=version) if d.destination == destination]
    if not found:
        msg = f"case {case_id} version {version} has no delivery to {destination}"
        raise NoSuchCase(msg)
    if found[0].state is not DeliveryState.WAITING:
        return None
    _change(c, case_id, version, destination, {"uncertain": True})
    return found[0].uncertain


def cancel_before(c: Connection, case_id: int, version: int) -> None:
    """No version before `version` is sent any more; what a destination has already stays recorded."""
    lock_case(c, case_id)
    columns = delivery.c
    older = sa.and_(columns.case_id == case_id, columns.version < version, columns.state != DeliveryState.DELIVERED)
    values = {"state": DeliveryState.CANCELLED, "at": dt.datetime.now(dt.UTC)}
    c.execute(sa.update(delivery).where(older).values(values))


def mark_refused(c: Connection, case_id: int, version: int, destination: str, *, error: str) -> None:
    """`destination` will not take it, `error` says why without patient data; it stands in the list for a person.

    Whether a send may have left something there stays as it is recorded: a refusal takes nothing back. A send that
    ended so is counted by `mark_tried`.
    """
    lock_case(c, case_id)
    _change(c, case_id, version, destination, _no_success(_unless_cancelled(DeliveryState.REFUSED), error))


def mark_tried(
    c: Connection, case_id: int, version: int, destination: str, *, error: str, uncertain: bool = False
) -> None:
    """One more try had no success; the delivery waits.

    `uncertain`: some object of the version is or may be there since this try or an earlier one, a page without its SR
    too.
    """
    values = _no_success(_unless_cancelled(DeliveryState.WAITING), error)
    counted = {"tries": delivery.c.tries + 1, "uncertain": uncertain}
    _change(c, case_id, version, destination, values | counted)


def wait_again(c: Connection, case_id: int, version: int, destination: str) -> None:
    """Take a refused (or delivered and since lost) version up again; the caller touches its task."""
    lock_case(c, case_id)
    values = {"state": DeliveryState.WAITING, "proof": None, "at": dt.datetime.now(dt.UTC), "tries": 0}
    _change(c, case_id, version, destination, values)


def proofs(c: Connection, case_id: int, version: int) -> tuple[Proof, ...]:
    """Return the proofs of a version, by destination name."""
    done = deliveries(c, case_id=case_id, version=version, state=DeliveryState.DELIVERED)
    return tuple(Proof(destination=item.destination, kind=item.proof or "", at=item.at) for item in done)


def lock_case(c: Connection, case_id: int) -> None:
    """Serialise on the case until the transaction ends (PostgreSQL; on SQLite every writer is alone anyway).

    Raises:
        NoSuchCase: the case is unknown.

    """
    row = sa.select(screening_case.c.id).where(screening_case.c.id == case_id).with_for_update()
    if c.execute(row).first() is None:
        msg = f"case {case_id} does not exist"
        raise NoSuchCase(msg)


def deliveries(
    c: Connection, *, case_id: int | None = None, version: int | None = None, state: DeliveryState | None = None
) -> tuple[Delivery, ...]:
    """List deliveries by case, version and destination; all conditions are optional."""
    columns = delivery.c
    given = ((columns.case_id, case_id), (columns.version, version), (columns.state, state))
    wanted = sa.select(delivery).where(*[column == value for column, value in given if value is not None])
    rows = c.execute(wanted.order_by(columns.case_id, columns.version, columns.destination)).mappings().all()
    return tuple(Delivery(**{**row, "state": DeliveryState(row["state"])}) for row in rows)


def _no_success(state: object, error: str) -> dict[str, object]:
    return {"state": state, "at": dt.datetime.now(dt.UTC), "error": error}


def _unless_cancelled(state: DeliveryState) -> sa.Case[str]:
    """A send that was running when a newer version was made must not bring its own version back."""
    return sa.case((delivery.c.state == DeliveryState.CANCELLED, delivery.c.state), else_=state)


def _change(c: Connection, case_id: int, version: int, destination: str, values: Mapping[str, object]) -> None:
    which = sa.and_(_version(delivery, case_id, version), delivery.c.destination == destination)
    if c.execute(sa.update(delivery).where(which).values(values)).rowcount != 1:
        msg = f"case {case_id} version {version} has no delivery to {destination}"
        raise NoSuchCase(msg)


def _version(table: sa.Table, case_id: int, version: int) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.case_id == case_id, table.c.version == version)
