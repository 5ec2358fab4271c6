"""When retention deleted the received files of a case; what reconciliation found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_KEPT = sa.text("image_purged_at IS NULL")


def upgrade() -> None:
    """Widen the cases, in place on both databases, of which nothing was deleted before; create the other table."""
    op.add_column("screening_case", sa.Column("image_purged_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_screening_case_kept", "screening_case", ["id"], unique=False, sqlite_where=_KEPT, postgresql_where=_KEPT
    )
    op.create_table(
        "reconciliation",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("archive", sa.String(length=20), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("day", "archive", name=op.f("pk_reconciliation")),
    )
