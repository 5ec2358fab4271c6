"""Keep which model bundle a person let serve, so that a restore without it is noticed.

Of an older ledger nobody knows: the next worker that starts, or the next activation, says it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen the one row of the installation, in place on both databases."""
    empty = sa.text("''")
    op.add_column("installation", sa.Column("activation", sa.Text, server_default=empty, nullable=False))
