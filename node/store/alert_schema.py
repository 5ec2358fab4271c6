"""The table of operator alerts."""

from __future__ import annotations

import sqlalchemy as sa

from node.store.metadata import BIG_ID, UtcDateTime, metadata

_OPEN = sa.text("cleared_at IS NULL")

alert = sa.Table(
    "alert",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("subject", sa.String(80), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("first_at", UtcDateTime, nullable=False),
    sa.Column("last_at", UtcDateTime, nullable=False),
    sa.Column("cleared_at", UtcDateTime, nullable=True),
    sa.Index("ix_alert_open", "kind", "subject", unique=True, sqlite_where=_OPEN),
)
"""One line per kind and subject while open."""
