"""Create the tables of reception: contacts of peers, and requests for storage commitment with their instances."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, a referenced one before the one that refers to it."""
    _peer_contact()
    _commitment_request()
    _commitment_item()


def _peer_contact() -> None:
    op.create_table(
        "peer_contact",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("calling_ae", sa.Text(), nullable=False),
        sa.Column("called_ae", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_peer_contact")),
        sa.UniqueConstraint(
            "calling_ae",
            "called_ae",
            "address",
            "outcome",
            name=op.f("uq_peer_contact_calling_ae_called_ae_address_outcome"),
        ),
    )
    op.create_index("ix_peer_contact_last_at", "peer_contact", ["last_at"], unique=False)


def _commitment_request() -> None:
    op.create_table(
        "commitment_request",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("requestor_ae", sa.String(length=16), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=10), server_default="waiting", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('waiting','reported','given_up')", name=op.f("ck_commitment_request_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment_request")),
        sa.UniqueConstraint("transaction_uid", name=op.f("uq_commitment_request_transaction_uid")),
    )


def _commitment_item() -> None:
    op.create_table(
        "commitment_item",
        sa.Column("request_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("failure", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["request_id"], ["commitment_request.id"], name=op.f("fk_commitment_item_request_id")),
        sa.PrimaryKeyConstraint("request_id", "position", name=op.f("pk_commitment_item")),
    )
    op.create_index("ix_commitment_item_sop_instance_uid", "commitment_item", ["sop_instance_uid"], unique=False)
