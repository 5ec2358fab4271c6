"""The first tables of the inbox, as revision 0001 makes them.

They stand apart from the revision because revision 0006 of the ledger makes them too, when it moves the frames of an
older ledger: Alembic runs one chain at a time.
"""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic.operations import Operations

_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_INSTANT = sa.DateTime(timezone=True)


def create(op: Operations) -> None:
    """Create the tables; the inbox gets its name."""
    op.create_table(
        "inbox_identity",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("inbox", sa.String(length=36), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_inbox_identity_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox_identity")),
    )
    identity = sa.table("inbox_identity", sa.column("id", sa.Integer), sa.column("inbox", sa.String))
    op.execute(sa.insert(identity).values(id=1, inbox=str(uuid.uuid4())))
    _frame(op)
    _contact(op)


def _frame(op: Operations) -> None:
    texts = ("peer", "sending_app", "sending_facility", "message_type", "control_id")
    op.create_table(
        "inbox_frame",
        sa.Column("seq", _BIG_ID, autoincrement=True, nullable=False),
        sa.Column("received_at", _INSTANT, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in texts),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("ack_code", sa.String(length=2), nullable=False),
        sa.Column("refusal", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_inbox_frame")),
        sa.UniqueConstraint("sha256", name=op.f("uq_inbox_frame_sha256")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_inbox_frame_control_id", "inbox_frame", ["control_id", "sending_app", "sending_facility"])
    op.create_index("ix_inbox_frame_received_at", "inbox_frame", ["received_at"])


def _contact(op: Operations) -> None:
    texts = ("peer", "sending_app", "sending_facility")
    op.create_table(
        "feed_contact",
        sa.Column("id", _BIG_ID, autoincrement=True, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in texts),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", _INSTANT, nullable=False),
        sa.Column("last_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed_contact")),
        sa.UniqueConstraint(*texts, "outcome", name=op.f("uq_feed_contact_peer_sending_app_sending_facility_outcome")),
    )
    op.create_index("ix_feed_contact_last_at", "feed_contact", ["last_at"])
