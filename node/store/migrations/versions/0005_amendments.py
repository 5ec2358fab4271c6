"""Create the operator alerts, and the versions of reports: what each rests on, what is to be weighed, who must look.

Reports that were made before count as first versions of which nobody knows the observations. Whether an unfinished
delivery of theirs was once handed over without an answer was not recorded, so the destination may have it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables, widen the cases and the deliveries, and number the reports there are."""
    _alert()
    _image_score()
    _versions()
    _case_columns()
    _deliveries()
    op.execute(
        "INSERT INTO report_version (case_id, version, cause, changed, made_at)"
        " SELECT id, 1, 'first', '', updated_at FROM screening_case WHERE state IN ('Reported', 'Delivered')"
    )


def _alert() -> None:
    op.create_table(
        "alert",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert")),
    )
    still_open = sa.text("cleared_at IS NULL")
    op.create_index(
        "ix_alert_open",
        "alert",
        ["kind", "subject"],
        unique=True,
        sqlite_where=still_open,
        postgresql_where=still_open,
    )


def _image_score() -> None:
    op.create_table(
        "image_score",
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", "model", name=op.f("pk_image_score")),
    )


def _versions() -> None:
    op.create_table(
        "report_version",
        sa.Column("case_id", _BIG_ID, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cause", sa.String(length=16), nullable=False),
        sa.Column("changed", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["screening_case.id"], name=op.f("fk_report_version_case_id")),
        sa.PrimaryKeyConstraint("case_id", "version", name=op.f("pk_report_version")),
    )
    _used("used_person", "person_id")
    _used("used_observation", "observation_id")


def _used(table: str, column: str) -> None:
    op.create_table(
        table,
        sa.Column("case_id", _BIG_ID, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(column, _BIG_ID, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["case_id", "version"],
            ["report_version.case_id", "report_version.version"],
            name=op.f(f"fk_{table}_case_id_version"),
        ),
        sa.PrimaryKeyConstraint("case_id", "version", column, name=op.f(f"pk_{table}")),
    )
    op.create_index(op.f(f"ix_{table}_{column}"), table, [column], unique=False)


def _case_columns() -> None:
    """In place on both databases: rows of other tables refer to this one."""
    empty = sa.text("''")
    op.add_column("screening_case", sa.Column("stirred_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("screening_case", sa.Column("review", sa.String(length=40), server_default=empty, nullable=False))
    op.add_column("screening_case", sa.Column("settled", sa.String(length=64), server_default=empty, nullable=False))
    op.add_column("screening_case", sa.Column("amend_asked", sa.Text(), nullable=True))
    op.create_index("ix_screening_case_review", "screening_case", ["review"], unique=False)


def _deliveries() -> None:
    states = "state IN ('waiting','delivered','refused','cancelled')"
    with op.batch_alter_table("delivery") as table:
        table.add_column(sa.Column("uncertain", sa.Boolean(), server_default=sa.false(), nullable=False))
        table.drop_constraint(op.f("ck_delivery_state"), type_="check")
        table.create_check_constraint(op.f("ck_delivery_state"), states)
    delivery = sa.table("delivery", sa.column("state", sa.Text), sa.column("uncertain", sa.Boolean))
    op.execute(sa.update(delivery).where(delivery.c.state != "delivered").values(uncertain=sa.true()))
