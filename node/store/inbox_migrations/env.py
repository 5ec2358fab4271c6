"""Alembic's entry for the inbox: runs the revisions on the connection that `node.store.migrate` opened."""

from __future__ import annotations

from alembic import context

from node.store.inbox_schema import metadata
from node.store.migrate import INBOX

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=INBOX.version_table,
    render_as_batch=True,
)
context.run_migrations()
