"""Deliveries with proof, SR classes by destination, pauses and withdrawals.

What was delivered before was proved by the answers to C-STORE; of its objects nobody noted where they went, but each
destination of a delivered version had all of them, in the one class there was.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables, widen the deliveries, and note what was sent until now."""
    _variants()
    _sent()
    _destinations()
    _asked()
    _deliveries()
    op.execute(
        "INSERT INTO sent_object"
        " (destination, sop_instance_uid, case_id, version, kind, sop_class_uid, sends, stored, at)"
        " SELECT d.destination, o.sop_instance_uid, o.case_id, o.version, o.kind, o.sop_class_uid, 1,"
        " d.state = 'delivered', d.at"
        " FROM delivery d JOIN outbox_object o ON o.case_id = d.case_id AND o.version = d.version"
        " WHERE d.state = 'delivered' OR d.uncertain"
    )


def _variants() -> None:
    op.create_table(
        "outbox_variant",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("case_id", _BIG_ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("part10", sa.LargeBinary(), nullable=False),
        sa.Column("frozen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["screening_case.id"], name=op.f("fk_outbox_variant_case_id")),
        sa.PrimaryKeyConstraint("sop_instance_uid", name=op.f("pk_outbox_variant")),
    )
    op.create_index(op.f("ix_outbox_variant_case_id"), "outbox_variant", ["case_id"], unique=False)


def _sent() -> None:
    op.create_table(
        "sent_object",
        sa.Column("destination", sa.String(length=20), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("case_id", _BIG_ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("sends", sa.Integer(), server_default="0", nullable=False),
        sa.Column("stored", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["screening_case.id"], name=op.f("fk_sent_object_case_id")),
        sa.PrimaryKeyConstraint("destination", "sop_instance_uid", name=op.f("pk_sent_object")),
    )
    op.create_index("ix_sent_object_case", "sent_object", ["case_id", "version"], unique=False)


def _destinations() -> None:
    empty = sa.text("''")
    op.create_table(
        "destination_state",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("breaker", sa.String(length=10), server_default="closed", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_why", sa.Text(), server_default=empty, nullable=False),
        sa.Column("proof", sa.String(length=16), server_default=empty, nullable=False),
        sa.Column("proof_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("breaker IN ('closed','open','recovering')", name=op.f("ck_destination_state_breaker")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_destination_state")),
    )


def _asked() -> None:
    op.create_table(
        "commitment_asked",
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("case_id", _BIG_ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(length=20), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("committed", sa.Text(), server_default="[]", nullable=False),
        sa.Column("failures", sa.Text(), server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["screening_case.id"], name=op.f("fk_commitment_asked_case_id")),
        sa.PrimaryKeyConstraint("transaction_uid", name=op.f("pk_commitment_asked")),
    )
    op.create_index(
        "ix_commitment_asked_delivery", "commitment_asked", ["case_id", "version", "destination"], unique=False
    )


def _deliveries() -> None:
    states = "state IN ('waiting','sent','delivered','refused','cancelled','dropped')"
    with op.batch_alter_table("delivery") as table:
        table.add_column(sa.Column("since", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True))
        for name in ("refusals", "looks", "resends"):
            table.add_column(sa.Column(name, sa.Integer(), server_default="0", nullable=False))
        table.drop_constraint(op.f("ck_delivery_state"), type_="check")
        table.create_check_constraint(op.f("ck_delivery_state"), states)
    op.execute("UPDATE delivery SET since = at")
    with op.batch_alter_table("delivery") as table:
        table.alter_column("since", existing_type=sa.DateTime(timezone=True), nullable=False)
