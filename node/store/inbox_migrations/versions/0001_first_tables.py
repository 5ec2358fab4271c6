"""Create the tables of the inbox: its name, its frames, and who sent them."""

from __future__ import annotations

from alembic import op
from alembic.migration import MigrationContext
from alembic.operations import Operations

from node.store.inbox_migrations import first_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    context: MigrationContext = op.get_context()
    first_tables.create(Operations(context))
