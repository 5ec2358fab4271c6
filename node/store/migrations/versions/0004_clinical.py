"""Clinical columns of the HL7 and CSV feeds: death, kinds of merges, whole orders, provenance of values, drugs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_OPEN = sa.text("superseded_at IS NULL")
_EMPTY = sa.text("''")
_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add what the messages beyond admission and results tell."""
    _persons()
    _orders()
    _observations()
    _dxa()
    _exposures()
    _remarks()
    _csv_files()


def _persons() -> None:
    op.add_column("person_demographics", sa.Column("dead", sa.Boolean(), nullable=True))
    op.add_column("person_demographics", sa.Column("died_at", _INSTANT, nullable=True))
    op.add_column("person_alias", sa.Column("kind", sa.String(length=8), server_default="merge", nullable=False))
    op.add_column("person_alias", sa.Column("seq", _BIG_ID, nullable=True))
    op.add_column("person_alias", sa.Column("remark", sa.String(length=40), server_default=_EMPTY, nullable=False))


def _orders() -> None:
    for name in ("placer", "filler", "study_uid"):
        op.add_column("order_link", sa.Column(name, sa.Text(), server_default=_EMPTY, nullable=False))
    op.create_index("ix_order_link_study_uid", "order_link", ["study_uid"], unique=False)


def _observations() -> None:
    for name in ("comparator", "status"):
        op.add_column("observation", sa.Column(name, sa.String(length=8), server_default=_EMPTY, nullable=False))
    for name in ("table_version", "visit"):
        op.add_column("observation", sa.Column(name, sa.Text(), server_default=_EMPTY, nullable=False))
    op.add_column("observation", sa.Column("seq", _BIG_ID, nullable=True))
    _index_open_keys("observation")


def _dxa() -> None:
    with op.batch_alter_table("dxa_result") as table:
        table.alter_column("t_score", existing_type=sa.Float(precision=53), nullable=True)
        table.add_column(sa.Column("z_score", sa.Float(precision=53), nullable=True))
        table.add_column(sa.Column("bmd", sa.Float(precision=53), nullable=True))
        table.add_column(sa.Column("usable", sa.Boolean(), server_default=sa.true(), nullable=False))
        table.add_column(sa.Column("reason", sa.Text(), server_default=_EMPTY, nullable=False))
        table.add_column(sa.Column("seq", _BIG_ID, nullable=True))
    _index_open_keys("dxa_result")


def _index_open_keys(table: str) -> None:
    """Only the open version of a key is ever looked for: the history need not stand in its index."""
    op.drop_index(f"ix_{table}_key", table_name=table)
    op.create_index(f"ix_{table}_open_key", table, ["key"], unique=False, sqlite_where=_OPEN, postgresql_where=_OPEN)


def _remarks() -> None:
    op.create_table(
        "feed_remark",
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", _INSTANT, nullable=False),
        sa.Column("last_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_feed_remark")),
    )


def _exposures() -> None:
    op.create_table(
        "exposure",
        sa.Column("id", _BIG_ID, autoincrement=True, nullable=False),
        sa.Column("identifier_id", _BIG_ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("start_at", _INSTANT, nullable=False),
        sa.Column("end_at", _INSTANT, nullable=False),
        sa.Column("available_at", _INSTANT, nullable=False),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("recorded_at", _INSTANT, nullable=False),
        sa.Column("superseded_at", _INSTANT, nullable=True),
        sa.Column("seq", _BIG_ID, nullable=True),
        sa.ForeignKeyConstraint(["identifier_id"], ["person_identifier.id"], name=op.f("fk_exposure_identifier_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exposure")),
    )
    op.create_index("ix_exposure_identifier_id", "exposure", ["identifier_id"], unique=False)
    op.create_index(
        "ix_exposure_open_key", "exposure", ["key"], unique=False, sqlite_where=_OPEN, postgresql_where=_OPEN
    )


def _csv_files() -> None:
    for name in ("reason", "source"):
        op.add_column("csv_file", sa.Column(name, sa.String(length=40), server_default=_EMPTY, nullable=False))
    for name in ("rows_done", "written", "deleted"):
        op.add_column("csv_file", sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False))
