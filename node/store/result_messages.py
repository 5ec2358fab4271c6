"""Results on their way out as HL7 messages: what is sent to whom, in which bytes, and what the receiver said.

The bytes of a message are fixed before its first send, so that a resend is the receiver's duplicate and never another
result. Whoever changes a message locks the row of its case first, as with the deliveries of the report itself: a newer
version cancels what was not sent of an older one.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import sqlalchemy as sa

from node.store.cases import lock_case
from node.store.engine import Connection
from node.store.result_schema import result_message
from node.store.upsert import insert_into

_m = result_message.c


class ResultState(enum.StrEnum):
    """How far a message is."""

    WAITING = "waiting"
    """Sent again until it is acknowledged."""
    SENT = "sent"
    """Acknowledged with AA or CA."""
    REFUSED = "refused"
    """The receiver will not take it; a person must act."""
    CANCELLED = "cancelled"
    """Before it was acknowledged, a newer version took its place, the result was taken back or a person gave it up."""


UNRESOLVED = (ResultState.WAITING, ResultState.REFUSED)
"""Still to be acknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageKey:
    """Which message."""

    case_id: int
    version: int
    receiver: str
    meaning: str
    """OBX-11 of its results: `R`, or `D` or `W` for a result that is taken back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultMessage:
    """One message as it is recorded, without its bytes."""

    key: MessageKey
    state: ResultState
    control_id: str
    """MSH-10; empty until the first send."""
    tries: int
    """Sends that ended without success."""
    refusals: int
    """Of these, answered with an error."""
    uncertain: bool
    """A send is running or ended without an answer: the receiver may have it."""
    opened_at: dt.datetime
    at: dt.datetime
    """When the state was entered, or the last try ended."""
    answer: str
    """MSA-1 of the last acknowledgement."""
    error: str | None
    """Why the last try had no success, without patient data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenMessage:
    """The bytes to be sent."""

    control_id: str
    message: bytes = field(repr=False)
    uncertain: bool = False
    """An earlier send ended without an answer: the receiver may have it."""


def open_messages(
    c: Connection, case_id: int, version: int, receivers: Iterable[str], meaning: str
) -> list[MessageKey]:
    """Begin to send a version's message; what is begun or ended already stays as it is. Those that are new.

    No message about an earlier version, nor one of the version itself with another meaning, is sent from here on.
    """
    lock_case(c, case_id)
    now = dt.datetime.now(dt.UTC)
    c.execute(_REPLACED, {"b_case": case_id, "b_version": version, "b_meaning": meaning, "b_now": now})
    new = []
    for receiver in receivers:
        key = MessageKey(case_id=case_id, version=version, receiver=receiver, meaning=meaning)
        row = {**_where(key), "opened_at": now, "at": now}
        if c.execute(_open(c.dialect.name), row).first() is not None:
            new.append(key)
    return new


def reached(c: Connection, case_id: int) -> tuple[str, ...]:
    """Receivers that have or may have a result of the case."""
    of_case = _m.case_id == case_id
    return tuple(c.execute(sa.select(_m.receiver).distinct().where(of_case, _TOLD).order_by(_m.receiver)).scalars())


def told_before(c: Connection, key: MessageKey) -> tuple[int, ...]:
    """Versions before that of `key` whose result its receiver has or may have, newest first."""
    earlier = sa.and_(_m.case_id == key.case_id, _m.receiver == key.receiver, _m.version < key.version)
    return tuple(c.execute(sa.select(_m.version).where(earlier, _TOLD).order_by(_m.version.desc())).scalars())


def unresolved(c: Connection, *, receiver: str | None = None) -> tuple[MessageKey, ...]:
    """Messages that are still to be acknowledged; `receiver`: by it."""
    columns = [_m[name] for name in ("case_id", "version", "receiver", "meaning")]
    wanted = sa.select(*columns).where(_m.state.in_(UNRESOLVED))
    if receiver is not None:
        wanted = wanted.where(_m.receiver == receiver)
    return tuple(MessageKey(**row) for row in c.execute(wanted).mappings())


def find(c: Connection, key: MessageKey) -> ResultMessage | None:
    """One message."""
    row = c.execute(sa.select(*_COLUMNS).where(_is(key))).mappings().first()
    return None if row is None else _message(row)


def frozen(c: Connection, key: MessageKey) -> FrozenMessage | None:
    """Its bytes, once they are fixed."""
    row = c.execute(sa.select(_m.control_id, _m.message).where(_is(key), _m.message.is_not(None))).first()
    return None if row is None else FrozenMessage(control_id=row.control_id, message=row.message)


def begin_send(c: Connection, key: MessageKey, built: FrozenMessage) -> FrozenMessage | None:
    """Fix the bytes, unless they are, and give those to send; None when the message is not to be sent (any more)."""
    lock_case(c, key.case_id)
    found = find(c, key)
    if found is None or found.state is not ResultState.WAITING:
        return None
    fixed = frozen(c, key) or built
    _change(c, key, {"control_id": fixed.control_id, "message": fixed.message, "uncertain": True})
    return replace(fixed, uncertain=found.uncertain)


def mark_sent(c: Connection, key: MessageKey, *, answer: str) -> None:
    """The receiver has it. That holds also for one that was cancelled while it was under way."""
    _change(c, key, _ended(ResultState.SENT) | {"answer": answer, "error": None, "uncertain": False})


def mark_tried(c: Connection, key: MessageKey, *, error: str, answer: str = "", uncertain: bool) -> None:
    """One more try had no success; the message waits."""
    counted = {"tries": _m.tries + 1, "refusals": _m.refusals + (1 if answer else 0), "uncertain": uncertain}
    _change(c, key, {"at": dt.datetime.now(dt.UTC), "error": error, "answer": answer, **counted})


def mark_refused(c: Connection, key: MessageKey, *, error: str) -> None:
    """A person must act; one that was cancelled stays so."""
    state = sa.case((_m.state == ResultState.CANCELLED, _m.state), else_=ResultState.REFUSED.value)
    _change(c, key, {"state": state, "at": dt.datetime.now(dt.UTC), "error": error})


def wait_again(c: Connection, case_id: int, receivers: Collection[str]) -> list[MessageKey]:
    """Take up again what these receivers refused of a case; the caller touches the tasks."""
    lock_case(c, case_id)
    refused = (m.key for m in listed(c, case_id=case_id, state=ResultState.REFUSED))
    again = [key for key in refused if key.receiver in receivers]
    for key in again:
        _change(c, key, _ended(ResultState.WAITING) | {"tries": 0, "refusals": 0})
    return again


def give_up(c: Connection, key: MessageKey, *, error: str) -> None:
    """It is sent no more, unless it is over already; `error` names who decided so."""
    lock_case(c, key.case_id)
    found = find(c, key)
    if found is not None and found.state in UNRESOLVED:
        _change(c, key, _ended(ResultState.CANCELLED) | {"error": error})


def listed(
    c: Connection, *, case_id: int | None = None, state: ResultState | None = None, limit: int = 1000
) -> tuple[ResultMessage, ...]:
    """Messages, newest case first; both conditions are optional."""
    given = ((_m.case_id, case_id), (_m.state, state))
    wanted = sa.select(*_COLUMNS).where(*[column == value for column, value in given if value is not None])
    order = (_m.case_id.desc(), _m.version, _m.receiver, _m.opened_at)
    return tuple(_message(row) for row in c.execute(wanted.order_by(*order).limit(limit)).mappings())


_TOLD = sa.and_(_m.meaning == "R", sa.or_(_m.state == ResultState.SENT, _m.uncertain))
_OLDER = sa.and_(
    _m.case_id == sa.bindparam("b_case"),
    _m.version <= sa.bindparam("b_version"),
    _m.state.in_(UNRESOLVED),
)
_REPLACED = (
    sa.update(result_message)
    .where(_OLDER, sa.or_(_m.version < sa.bindparam("b_version"), _m.meaning != sa.bindparam("b_meaning")))
    .values(state=ResultState.CANCELLED, at=sa.bindparam("b_now"))
)
"""Built once, for every report asks it: to build a statement costs more than to run it."""


@cache
def _open(dialect: str) -> sa.Executable:
    return insert_into(dialect, result_message).on_conflict_do_nothing().returning(_m.receiver)


_COLUMNS = [column for column in _m if column.name != "message"]


def _message(row: sa.RowMapping) -> ResultMessage:
    named = {name: row[name] for name in ("case_id", "version", "receiver", "meaning")}
    rest = {str(name): value for name, value in row.items() if name not in named}
    state = ResultState(str(rest.pop("state")))
    return ResultMessage(key=MessageKey(**named), state=state, **rest)


def _ended(state: ResultState) -> dict[str, object]:
    return {"state": state.value, "at": dt.datetime.now(dt.UTC)}


def _change(c: Connection, key: MessageKey, values: Mapping[str, object]) -> None:
    c.execute(sa.update(result_message).where(_is(key)).values(values))


def _where(key: MessageKey) -> dict[str, object]:
    named = {"case_id": key.case_id, "version": key.version, "receiver": key.receiver}
    return {**named, "meaning": str(key.meaning)}


def _is(key: MessageKey) -> sa.ColumnElement[bool]:
    return sa.and_(*(result_message.c[name] == value for name, value in _where(key).items()))
