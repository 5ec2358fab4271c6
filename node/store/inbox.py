"""The HL7 inbox: frames in, in the order of receipt, and out again to be worked off.

A database of its own beside the ledger (`inbox.db`; on PostgreSQL tables of their own in the same database), opened by
the same engine: durable on commit, private to the node. It decides which frame is a repetition of which: the same bytes
are stored once. Not allowed here: any word about facts or cases.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from node.store.engine import Connection, Ledger, open_ledger
from node.store.inbox_schema import contact, frame, identity
from node.store.migrate import INBOX
from node.store.upsert import insert

_ORDER_LOCK: Final = 0x05_7E0_6
_META: Final = tuple(column for column in frame.c if column is not frame.c.body)
# Made once: SQLAlchemy builds a statement as slowly as SQLite answers it, and a sender waits for these three.
_KNOWN: Final = sa.select(frame.c.sha256, frame.c.refusal).where(frame.c.sha256.in_(sa.bindparam("of", expanding=True)))
_SEEN: Final = (
    sa.select(frame.c.seq)
    .where(
        frame.c.control_id == sa.bindparam("control"),
        frame.c.sending_app == sa.bindparam("app"),
        frame.c.sending_facility == sa.bindparam("facility"),
    )
    .limit(1)
)
_INSERT: Final = sa.insert(frame)
_COUNTER: Final = sa.table("sqlite_sequence", sa.column("name"), sa.column("seq"))
"""Where SQLite keeps the last number of a table with AUTOINCREMENT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFrame:
    """A received frame, to be stored before it is answered."""

    peer: str
    sending_app: str
    sending_facility: str
    message_type: str
    control_id: str
    sha256: str
    body: bytes
    ack_code: str
    """MSA-1 of the answer; empty when none is sent."""
    refusal: str = ""
    """Why it is answered with an error; empty when it is to be processed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What storing a frame did."""

    new: bool
    """False: the very same bytes are here already."""
    refused: bool
    """They are not to be processed. Of bytes that were here already: as it was said then."""
    control_id_reused: bool = False
    """The sender used this control ID for other content before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFrame:
    """A frame that waits to be processed."""

    seq: int
    received_at: dt.datetime
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameInfo:
    """All that is known of a frame beside its content. No patient data."""

    seq: int
    received_at: dt.datetime
    peer: str
    sending_app: str
    sending_facility: str
    message_type: str
    control_id: str
    sha256: str
    ack_code: str
    refusal: str
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How often something happened with one sender."""

    peer: str
    sending_app: str
    sending_facility: str
    outcome: str
    count: int
    first_at: dt.datetime
    last_at: dt.datetime


def open_inbox(beside: str | Path) -> Ledger:
    """Open the inbox of the ledger at `beside` (its file or URL); raises as `open_ledger`."""
    url = None if isinstance(beside, Path) or "://" not in beside else sa.make_url(beside)
    if url is not None and url.get_backend_name() != "sqlite":
        return open_ledger(str(beside), chain=INBOX)
    file = Path(beside) if url is None else Path(url.database or "")
    return open_ledger(file.with_name("inbox.db"), chain=INBOX)


def name_of(c: Connection) -> str:
    """Whose numbers the frames' numbers are."""
    return str(c.execute(sa.select(identity.c.inbox)).scalar_one())


def continue_after(c: Connection, seq: int) -> None:
    """Give no number up to `seq` any more.

    A file that was lost, or came back from an older backup, would count from below what the ledger has worked off: its
    frames would be passed over, and their corrections taken for older than what they correct. On PostgreSQL the frames
    lie beside the ledger and come back with it.
    """
    if c.dialect.name != "sqlite":
        return
    counted = sa.update(_COUNTER).where(_COUNTER.c.name == frame.name)
    moved = counted.values(seq=sa.func.max(_COUNTER.c.seq, seq)).returning(_COUNTER.c.seq)
    if c.execute(moved).first() is None:
        c.execute(sa.insert(_COUNTER).values(name=frame.name, seq=seq))


def store(c: Connection, frames: Sequence[NewFrame], at: dt.datetime) -> list[Receipt]:
    """Store frames in this order; one receipt for each.

    A frame that was refused before and is fit now (the settings changed) counts as new.
    """
    if c.dialect.name == "postgresql":  # numbers become visible in their order: the reader skips none that comes late
        c.execute(sa.select(sa.func.pg_advisory_xact_lock(_ORDER_LOCK)))
    digests = {"of": list({f.sha256 for f in frames})}
    known: dict[str, str] = {row.sha256: row.refusal for row in c.execute(_KNOWN, digests)}
    senders: set[tuple[str, str, str]] = set()
    receipts: list[Receipt] = []
    fresh: dict[str, NewFrame] = {}
    for f in frames:
        before = known.get(f.sha256)
        if before is not None and (not before or f.refusal):
            receipts.append(Receipt(new=False, refused=bool(before)))
            continue
        if before is not None:
            c.execute(sa.delete(frame).where(frame.c.sha256 == f.sha256))
        sender = (f.control_id, f.sending_app, f.sending_facility)
        reused = before is None and (sender in senders or _seen(c, sender))
        receipts.append(Receipt(new=True, refused=bool(f.refusal), control_id_reused=reused))
        known[f.sha256] = f.refusal
        senders.add(sender)
        fresh[f.sha256] = f
    if fresh:
        c.execute(_INSERT, [_row(f, at) for f in fresh.values()])
    return receipts


def after(c: Connection, seq: int, limit: int) -> tuple[StoredFrame, ...]:
    """The frames to be processed that follow number `seq`, in the order of receipt."""
    wanted = (
        sa.select(frame.c.seq, frame.c.received_at, frame.c.body)
        .where(frame.c.seq > seq, frame.c.refusal == "")
        .order_by(frame.c.seq)
        .limit(limit)
    )
    return tuple(StoredFrame(**row) for row in c.execute(wanted).mappings().all())


def count_after(c: Connection, seq: int) -> int:
    """How many frames to be processed follow number `seq`."""
    waiting = sa.select(sa.func.count()).select_from(frame).where(frame.c.seq > seq, frame.c.refusal == "")
    return int(c.execute(waiting).scalar_one())


def get(c: Connection, seq: int) -> tuple[FrameInfo, bytes] | None:
    """A frame with its bytes."""
    row = c.execute(sa.select(frame).where(frame.c.seq == seq)).mappings().one_or_none()
    if row is None:
        return None
    return _info(row), bytes(row["body"])


def listed(c: Connection, *, seqs: Iterable[int] | None = None, limit: int = 50) -> tuple[FrameInfo, ...]:
    """Frames without their bytes, latest first; of these numbers, or all."""
    wanted = sa.select(*_META).order_by(frame.c.seq.desc()).limit(limit)
    if seqs is not None:
        wanted = wanted.where(frame.c.seq.in_(list(seqs)))
    return tuple(_info(row) for row in c.execute(wanted).mappings().all())


def admit(c: Connection, seq: int) -> None:
    """A frame that was refused is fit now, and was worked off."""
    c.execute(sa.update(frame).where(frame.c.seq == seq).values(refusal=""))


def newest_before(c: Connection, moment: dt.datetime) -> int:
    """Number of the last frame received before `moment`; 0 when there is none."""
    older = sa.select(frame.c.seq).where(frame.c.received_at < moment)
    return c.execute(older.order_by(frame.c.received_at.desc(), frame.c.seq.desc()).limit(1)).scalar_one_or_none() or 0


def purge(c: Connection, *, after: int, up_to: int, keep: frozenset[int], limit: int) -> int | None:
    """Look at `limit` frames numbered beyond `after` up to `up_to` and delete those that are not in `keep`.

    Returns:
        The last number looked at, to go on from; None when there was nothing.

    """
    of = sa.select(frame.c.seq).where(frame.c.seq > after, frame.c.seq <= up_to).order_by(frame.c.seq).limit(limit)
    seen = c.execute(of).scalars().all()
    doomed = [seq for seq in seen if seq not in keep]
    if doomed:
        c.execute(sa.delete(frame).where(frame.c.seq.in_(doomed)))
    return seen[-1] if seen else None


def forget_contacts(c: Connection, *, before: dt.datetime) -> None:
    """Delete the counts of senders that were last seen before `before`."""
    c.execute(sa.delete(contact).where(contact.c.last_at < before))


def count_contacts(c: Connection, contacts: Iterable[Contact]) -> None:
    """Add to the counts of senders."""
    for one in contacts:
        row = {name: getattr(one, name) for name in Contact.__dataclass_fields__}
        statement = insert(c, contact).values(row)
        more = {
            "count": contact.c.count + statement.excluded["count"],
            "last_at": statement.excluded.last_at,
        }
        key = ["peer", "sending_app", "sending_facility", "outcome"]
        c.execute(statement.on_conflict_do_update(index_elements=key, set_=more))


def contacts(c: Connection, *, limit: int = 1000) -> tuple[Contact, ...]:
    """The counts of senders, the latest first."""
    columns = [contact.c[name] for name in Contact.__dataclass_fields__]
    found = c.execute(sa.select(*columns).order_by(contact.c.last_at.desc(), contact.c.id).limit(limit))
    return tuple(Contact(**row) for row in found.mappings().all())


def _seen(c: Connection, sender: tuple[str, str, str]) -> bool:
    control, app, facility = sender
    return c.execute(_SEEN, {"control": control, "app": app, "facility": facility}).first() is not None


def _row(f: NewFrame, at: dt.datetime) -> dict[str, object]:
    return {name: getattr(f, name) for name in NewFrame.__dataclass_fields__} | {"received_at": at, "size": len(f.body)}


def _info(row: sa.RowMapping) -> FrameInfo:
    return FrameInfo(**{name: row[name] for name in FrameInfo.__dataclass_fields__})
