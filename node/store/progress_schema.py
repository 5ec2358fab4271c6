"""What the ledger knows of the HL7 inbox: how far it is worked off, and what waits for a person.

Both are written in the transaction that writes the facts, so a crash between the two files changes nothing: what was
not worked off is worked off again, what was is not.
"""

from __future__ import annotations

import sqlalchemy as sa

from node.store.metadata import UtcDateTime, metadata

cursor = sa.Table(
    "inbox_cursor",
    metadata,
    sa.Column("inbox", sa.String(36), primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
)
"""Number of the last frame worked off, by inbox."""

quarantined = sa.Table(
    "quarantined_frame",
    metadata,
    sa.Column("inbox", sa.String(36), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)
"""Frames of which a part or all could not be taken. `reason` is codes, no patient data."""
