"""How far each version of a report is with each destination that is to get it.

Two destinations may complete at the same moment on two hosts: whoever changes a delivery locks the row of the case
first, so exactly one of them sees that all are served.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from node.case import Proof
from node.store.cases import lock_case
from node.store.engine import Connection
from node.store.errors import NoSuchCase
from node.store.schema import delivery
from node.store.upsert import add_missing


class DeliveryState(enum.StrEnum):
    """How far one report version is with one destination."""

    WAITING = "waiting"
    """Not there yet; tried until it is."""
    SENT = "sent"
    """The destination answered for every object; the proof that it keeps them is awaited."""
    DELIVERED = "delivered"
    """The destination has every object, with the proof that was asked of it."""
    REFUSED = "refused"
    """The destination will not take it, or could not for so long; a person must act."""
    CANCELLED = "cancelled"
    """A newer version took its place, or the report was withdrawn, before it was proved to be there."""
    DROPPED = "dropped"
    """A person decided that this destination gets nothing more of it."""


OPEN = (DeliveryState.WAITING, DeliveryState.SENT)
"""Something is still to be done, without a person."""
UNRESOLVED = (*OPEN, DeliveryState.REFUSED)
"""The destination is still to get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One report version on its way to one destination."""

    case_id: int
    version: int
    destination: str
    state: DeliveryState
    proof: str | None
    """Kind of the proof: given once it is delivered, awaited before."""
    tries: int
    """Sends that ended without success since the delivery was opened."""
    at: dt.datetime
    """When the state was entered, or the last try ended."""
    error: str | None
    uncertain: bool
    """A send is running, or an earlier one left something: some object of the version is or may be there. False while
    it is delivered, which says so by itself."""
    since: dt.datetime
    """When it was opened, or taken up again; how long it may be tried is counted from there."""
    sent_at: dt.datetime | None = None
    """When the destination had last answered for every object."""
    refusals: int = 0
    """Tries in a row that were declined."""
    looks: int = 0
    """Read-backs since `sent_at` that did not find every object."""
    resends: int = 0
    """How often the destination did not keep it and it was sent again."""


def open_deliveries(c: Connection, case_id: int, version: int, destinations: Iterable[str]) -> None:
    """Begin the delivery of a version to each of `destinations`; one that is open or ended already stays as it is."""
    now = dt.datetime.now(dt.UTC)
    row = {"case_id": case_id, "version": version, "at": now, "since": now}
    add_missing(c, delivery, [row | {"destination": destination} for destination in destinations])


def mark_delivered(c: Connection, case_id: int, version: int, destination: str, *, proof: str, at: dt.datetime) -> bool:
    """`destination` has every object of the version. Whether all that are to get the version now have it.

    Raises:
        NoSuchCase: no such delivery was opened.

    """
    lock_case(c, case_id)
    _change(c, case_id, version, destination, _DELIVERED, b_proof=proof, b_at=at)
    return served(c, case_id, version)


def served(c: Connection, case_id: int, version: int) -> bool:
    """Whether no destination is still to get the version."""
    return c.execute(_MISSING, {"case_id": case_id, "version": version}).first() is None


def mark_sent(c: Connection, case_id: int, version: int, destination: str, *, proof: str, at: dt.datetime) -> None:
    """`destination` answered for every object; `proof` of that kind is awaited. What was cancelled stays so."""
    lock_case(c, case_id)
    _change(c, case_id, version, destination, _SENT, b_proof=proof, b_sent_at=at, b_at=dt.datetime.now(dt.UTC))


def await_proof(c: Connection, case_id: int, version: int, destination: str, kind: str) -> None:
    """Another kind of proof is awaited."""
    _change(c, case_id, version, destination, _changing(proof=kind, looks=0))


def mark_looked(c: Connection, case_id: int, version: int, destination: str, *, error: str) -> None:
    """One more read-back did not find every object, or could not be made."""
    _change(c, case_id, version, destination, _changing(looks=delivery.c.looks + 1, error=error))


def send_again(c: Connection, case_id: int, version: int, destination: str, *, error: str) -> None:
    """`destination` did not keep what it had answered for: it is to be sent again, the same bytes.

    It may have some of it all the same, for a search that finds nothing proves little: a newer version names this one.
    """
    lock_case(c, case_id)
    values = _no_success(_unless_over(DeliveryState.WAITING), error)
    again = {"uncertain": True, "resends": delivery.c.resends + 1}
    _change(c, case_id, version, destination, _changing(**values, **again))


def begin_send(c: Connection, case_id: int, version: int, destination: str) -> bool | None:
    """From here on the destination may have some of the version. Whether it might before; None: it is not to be sent.

    What was cancelled is not sent, nor what is there already. It takes the lock under which versions are made, so a
    send has either begun before a newer version was frozen, which then names this one as its predecessor, or never
    begins.

    Raises:
        NoSuchCase: no such delivery was opened.

    """
    lock_case(c, case_id)
    found = one(c, case_id, version, destination)
    if found.state is not DeliveryState.WAITING:
        return None
    _change(c, case_id, version, destination, _BEGUN)
    return found.uncertain


def cancel_before(c: Connection, case_id: int, version: int) -> None:
    """No version before `version` is sent any more; what a destination has already stays recorded."""
    lock_case(c, case_id)
    columns = delivery.c
    older = sa.and_(columns.case_id == case_id, columns.version < version, columns.state.not_in(_ENDED))
    values = {"state": DeliveryState.CANCELLED, "at": dt.datetime.now(dt.UTC)}
    c.execute(sa.update(delivery).where(older).values(values))


def mark_refused(c: Connection, case_id: int, version: int, destination: str, *, error: str) -> None:
    """`destination` will not take it, `error` says why without patient data; it stands in the list for a person.

    Whether a send may have left something there stays as it is recorded: a refusal takes nothing back, nor does it of
    what was delivered and is not kept. A send that ended so is counted by `mark_tried`.
    """
    lock_case(c, case_id)
    values = _no_success(_unless_over(DeliveryState.REFUSED), error)
    left = sa.or_(delivery.c.uncertain, delivery.c.state == DeliveryState.DELIVERED)
    _change(c, case_id, version, destination, _changing(**values, uncertain=left))


def mark_tried(
    c: Connection,
    case_id: int,
    version: int,
    destination: str,
    *,
    error: str,
    uncertain: bool = False,
    declined: bool = False,
) -> Delivery:
    """One more try had no success; the delivery, which waits.

    `uncertain`: some object of the version is or may be there since this try or an earlier one, a page without its SR
    too. `declined`: the destination said no; else it could not be reached or had no room.
    """
    values = _no_success(_unless_over(DeliveryState.WAITING), error)
    refusals = delivery.c.refusals + 1 if declined else 0
    counted = {"tries": delivery.c.tries + 1, "uncertain": uncertain, "refusals": refusals}
    _change(c, case_id, version, destination, _changing(**values, **counted))
    return one(c, case_id, version, destination)


def wait_again(c: Connection, case_id: int, version: int, destination: str) -> None:
    """Take a refused version up again; the caller touches its task."""
    lock_case(c, case_id)
    now = dt.datetime.now(dt.UTC)
    values = {"state": DeliveryState.WAITING, "proof": None, "at": now, "since": now}
    counted = dict.fromkeys(("tries", "refusals", "looks", "resends"), 0)
    _change(c, case_id, version, destination, _changing(**values, **counted))


def refuse_overdue(c: Connection, destination: str, *, before: dt.datetime, error: str) -> int:
    """Put before a person what `destination` is waited for since before then; how many."""
    columns = delivery.c
    overdue = sa.and_(columns.destination == destination, columns.state.in_(OPEN), columns.since < before)
    return c.execute(sa.update(delivery).where(overdue).values(_no_success(DeliveryState.REFUSED, error))).rowcount


def be_patient_again(c: Connection, destination: str, *, at: dt.datetime) -> None:
    """How long the open deliveries of `destination` may be tried is counted anew from `at`: a person held them back."""
    columns = delivery.c
    held = sa.and_(columns.destination == destination, columns.state.in_(OPEN))
    c.execute(sa.update(delivery).where(held).values(since=at))


def drop(c: Connection, case_id: int, version: int, destination: str, *, error: str) -> None:
    """`destination` gets nothing more of the version; `error` names who decided so."""
    lock_case(c, case_id)
    _change(c, case_id, version, destination, _changing(**_no_success(DeliveryState.DROPPED, error)))


def one(c: Connection, case_id: int, version: int, destination: str) -> Delivery:
    """Return one delivery.

    Raises:
        NoSuchCase: no such delivery was opened.

    """
    found = deliveries(c, case_id=case_id, version=version, destination=destination)
    if not found:
        msg = f"case {case_id} version {version} has no delivery to {destination}"
        raise NoSuchCase(msg)
    return found[0]


def proofs(c: Connection, case_id: int, version: int) -> tuple[Proof, ...]:
    """Return the proofs of a version, by destination name."""
    done = deliveries(c, case_id=case_id, version=version, state=DeliveryState.DELIVERED)
    return tuple(Proof(destination=item.destination, kind=item.proof or "", at=item.at) for item in done)


def deliveries(
    c: Connection,
    *,
    case_id: int | None = None,
    version: int | None = None,
    destination: str | None = None,
    state: DeliveryState | None = None,
) -> tuple[Delivery, ...]:
    """List deliveries by case, version and destination; all conditions are optional."""
    asked = {"case_id": case_id, "version": version, "destination": destination, "state": state}
    given = {name: value for name, value in asked.items() if value is not None}
    rows = c.execute(_listed(tuple(given)), given).mappings().all()
    return tuple(Delivery(**{**row, "state": DeliveryState(row["state"])}) for row in rows)


def _no_success(state: object, error: str | None) -> dict[str, object]:
    return {"state": state, "at": dt.datetime.now(dt.UTC), "error": error}


def _unless_over(state: DeliveryState) -> sa.Case[str]:
    """A send that was running when its version was cancelled or given up must not bring it back."""
    over = delivery.c.state.in_((DeliveryState.CANCELLED, DeliveryState.DROPPED))
    return sa.case((over, delivery.c.state), else_=state)


def _changing(**values: object) -> sa.Update:
    """The statement of a change; those of every report's way are built once, for that costs more than to run one."""
    of_one = [delivery.c[name] == sa.bindparam(f"one_{name}") for name in ("case_id", "version", "destination")]
    return sa.update(delivery).where(*of_one).values(values)


_ENDED = (DeliveryState.DELIVERED, DeliveryState.DROPPED)
_NEW: dict[str, object] = {"proof": sa.bindparam("b_proof"), "at": sa.bindparam("b_at"), "error": None}
_BEGUN = _changing(uncertain=True)
_SENT = _changing(
    **_NEW,
    state=_unless_over(DeliveryState.SENT),
    sent_at=sa.bindparam("b_sent_at"),
    uncertain=True,
    refusals=0,
    looks=0,
)
_DELIVERED = _changing(**_NEW, state=DeliveryState.DELIVERED, uncertain=False)
_VERSION = [delivery.c[name] == sa.bindparam(name) for name in ("case_id", "version")]
_MISSING = sa.select(delivery.c.destination).where(*_VERSION, delivery.c.state.not_in(_ENDED)).limit(1)


@cache
def _listed(given: tuple[str, ...]) -> sa.Select[Any]:
    """Deliveries by the columns that are given."""
    columns = delivery.c
    wanted = sa.select(delivery).where(*[columns[name] == sa.bindparam(name) for name in given])
    return wanted.order_by(columns.case_id, columns.version, columns.destination)


def _change(c: Connection, case_id: int, version: int, destination: str, change: sa.Update, **values: object) -> None:
    which = {"one_case_id": case_id, "one_version": version, "one_destination": destination}
    if c.execute(change, which | values).rowcount != 1:
        msg = f"case {case_id} version {version} has no delivery to {destination}"
        raise NoSuchCase(msg)
