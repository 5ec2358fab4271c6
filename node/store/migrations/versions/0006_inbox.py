"""Move the HL7 inbox out of the ledger into a database of its own, and keep here how far it is worked off.

The frames of an older ledger are copied and committed over there first, with their numbers, and only then is the table
here dropped: a crash in between leaves both, and the next run copies what is missing. On PostgreSQL all of it is one
transaction of one database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from node.store.engine import connect
from node.store.inbox_migrations import first_tables
from node.store.migrate import INBOX, _config

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_BATCH = 500
_COPIED = ("seq", "received_at", "peer", "sending_app", "sending_facility", "message_type", "control_id")
_COPIED_ALIKE = (*_COPIED, "sha256", "ack_code", "body")
_old = sa.table("hl7_frame", *(sa.column(name) for name in (*_COPIED_ALIKE, "state", "reason")))
_new = sa.table("inbox_frame", *(sa.column(name) for name in (*_COPIED_ALIKE, "refusal", "size")))
_identity = sa.table("inbox_identity", sa.column("inbox"))
_cursor = sa.table("inbox_cursor", sa.column("inbox"), sa.column("seq"))
_quarantined = sa.table("quarantined_frame", *(sa.column(name) for name in ("inbox", "seq", "reason", "at")))
_task = sa.table("task", sa.column("kind"))


def upgrade() -> None:
    """Create the tables of progress, move what there is, and drop the old table with the task that worked it off."""
    op.create_table(
        "inbox_cursor",
        sa.Column("inbox", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("inbox", name=op.f("pk_inbox_cursor")),
    )
    op.create_table(
        "quarantined_frame",
        sa.Column("inbox", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("inbox", "seq", name=op.f("pk_quarantined_frame")),
    )
    here = op.get_bind()
    if here.execute(sa.select(_old.c.seq).limit(1)).first() is not None:
        _move(here)
    op.drop_table("hl7_frame")
    here.execute(sa.delete(_task).where(_task.c.kind == "process-frames"))


def _move(here: sa.Connection) -> None:
    with _inbox(here) as there:
        known = set(there.execute(sa.select(_new.c.seq)).scalars())
        after = -1
        while rows := _rows(here, after):
            after = rows[-1]["seq"]
            fresh = [_as_new(row) for row in rows if row["seq"] not in known]
            if fresh:
                there.execute(sa.insert(_new), fresh)
        if there.dialect.name == "postgresql":
            there.execute(sa.text("SELECT setval(pg_get_serial_sequence('inbox_frame', 'seq'), :seq)"), {"seq": after})
        inbox = there.execute(sa.select(_identity.c.inbox)).scalar_one()
    _note_progress(here, inbox, last=after)


def _rows(here: sa.Connection, after: int) -> list[dict[str, Any]]:
    wanted = sa.select(_old).where(_old.c.seq > after).order_by(_old.c.seq).limit(_BATCH)
    return [dict(row) for row in here.execute(wanted).mappings()]


def _as_new(row: dict[str, Any]) -> dict[str, Any]:
    refusal = row["reason"] if row["state"] == "refused" else ""
    return {name: row[name] for name in _COPIED_ALIKE} | {"refusal": refusal, "size": len(row["body"])}


def _note_progress(here: sa.Connection, inbox: str, *, last: int) -> None:
    """What was worked off stays so; the first frame that was not is the next."""
    first_waiting = here.execute(sa.select(sa.func.min(_old.c.seq)).where(_old.c.state == "new")).scalar_one()
    here.execute(sa.insert(_cursor).values(inbox=inbox, seq=last if first_waiting is None else first_waiting - 1))
    held = sa.select(sa.literal(inbox), _old.c.seq, _old.c.reason, _old.c.received_at)
    columns = ["inbox", "seq", "reason", "at"]
    here.execute(sa.insert(_quarantined).from_select(columns, held.where(_old.c.state == "quarantined")))


@contextmanager
def _inbox(here: sa.Connection) -> Iterator[sa.Connection]:
    """The inbox of this ledger, at its first revision or later."""
    if here.dialect.name == "postgresql":
        _make_tables(here)
        yield here
        return
    # The name the ledger was opened by, as `open_inbox` has it; SQLite's own answer would follow a symbolic link.
    inbox = connect(Path(here.engine.url.database or "").with_name("inbox.db"))
    try:
        with inbox.begin() as there:
            _make_tables(there)
            yield there
    finally:
        inbox.close()


def _make_tables(here: sa.Connection) -> None:
    context = MigrationContext.configure(here, opts={"version_table": INBOX.version_table})
    if context.get_current_heads() == ():
        first_tables.create(Operations(context))
        context.stamp(ScriptDirectory.from_config(_config(INBOX)), "0001")
