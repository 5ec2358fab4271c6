"""Alembic's entry: runs the revisions on the connection that `node.store.migrate` opened, in its transaction.

There is no alembic.ini and no second way in: no URL stands here, and "offline" SQL is never made.
"""

from __future__ import annotations

from alembic import context

from node.store import (
    alert_schema,
    clinical_schema,
    delivery_schema,
    progress_schema,
    reception_schema,
    reconciliation_schema,
    result_schema,
    schema,
    version_schema,
)
from node.store.metadata import metadata

TABLE_MODULES = (
    schema,
    clinical_schema,
    reception_schema,
    alert_schema,
    version_schema,
    progress_schema,
    result_schema,
    delivery_schema,
    reconciliation_schema,
)
"""Imported so that every table is registered in `metadata`."""

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter a constraint: Alembic copies the table instead
)
context.run_migrations()
