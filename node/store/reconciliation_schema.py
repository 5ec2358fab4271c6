"""Table of what reconciliation found, one row for each day and archive; the newest look replaces the one before."""

from __future__ import annotations

import sqlalchemy as sa

from node.store.metadata import UtcDateTime, metadata

reconciliation = sa.Table(
    "reconciliation",
    metadata,
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("archive", sa.String(20), primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)
"""`day` is a study date, YYYY-MM-DD; `document` the figures as JSON, UIDs but no patient data."""
