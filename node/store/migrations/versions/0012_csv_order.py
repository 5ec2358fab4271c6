"""Where a dropped file stands among those of its source, and which of them are snapshots."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen the files, in place on both databases. When earlier ones were made is not known; when they came is."""
    op.add_column("csv_file", sa.Column("made_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("csv_file", sa.Column("snapshot", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute("UPDATE csv_file SET made_at = recorded_at")
