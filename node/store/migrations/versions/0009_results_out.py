"""Results as HL7 messages to other systems; which frame stated and which closed an order's link."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table of messages and widen the links, in place on both databases."""
    op.create_table(
        "result_message",
        sa.Column("case_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("receiver", sa.String(length=20), nullable=False),
        sa.Column("meaning", sa.String(length=1), nullable=False),
        sa.Column("state", sa.String(length=10), server_default="waiting", nullable=False),
        sa.Column("control_id", sa.String(length=20), server_default="", nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("refusals", sa.Integer(), server_default="0", nullable=False),
        sa.Column("uncertain", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("opened_at", _INSTANT, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("answer", sa.String(length=2), server_default="", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("meaning IN ('R','D','W')", name=op.f("ck_result_message_meaning")),
        sa.CheckConstraint("state IN ('waiting','sent','refused','cancelled')", name=op.f("ck_result_message_state")),
        sa.ForeignKeyConstraint(["case_id"], ["screening_case.id"], name=op.f("fk_result_message_case_id")),
        sa.PrimaryKeyConstraint("case_id", "version", "receiver", "meaning", name=op.f("pk_result_message")),
    )
    op.create_index("ix_result_message_state", "result_message", ["state", "receiver"])
    op.add_column("order_link", sa.Column("seq", _ID, nullable=True))
    op.add_column("order_link", sa.Column("closed_seq", _ID, nullable=True))
