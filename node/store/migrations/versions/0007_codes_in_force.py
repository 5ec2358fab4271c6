"""Keep which clinical code table is in force, so that a worker notices when another one is.

Of an older ledger nobody knows: the first confirmed table counts as another one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen the one row of the installation, in place on both databases."""
    empty = sa.text("''")
    op.add_column(
        "installation", sa.Column("codes_in_force", sa.String(length=80), server_default=empty, nullable=False)
    )
