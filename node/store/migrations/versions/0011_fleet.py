"""When a shared spool was made this ledger's; what a relay of hints looks for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen the one row of the installation, in place on both databases."""
    op.add_column("installation", sa.Column("spool_marked_at", sa.DateTime(timezone=True), nullable=True))
