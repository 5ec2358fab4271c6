"""The tables of the HL7 inbox. They stand in a database file of their own, so that no import holds up an answer.

A frame is written once and never changed: what became of it is the ledger's to say (`progress_schema`), in the
transaction that wrote its facts. On PostgreSQL the tables lie beside the ledger's in one database.
"""

from __future__ import annotations

import sqlalchemy as sa

from node.store.metadata import BIG_ID, UtcDateTime
from node.store.metadata import metadata as ledger_metadata

metadata = sa.MetaData(naming_convention=ledger_metadata.naming_convention)
"""Apart from the ledger's: the two have migrations of their own."""

identity = sa.Table(
    "inbox_identity",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("inbox", sa.String(36), nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
)
"""Whose numbers these are: the ledger's cursor counts the frames of this inbox and of no other."""

frame = sa.Table(
    "inbox_frame",
    metadata,
    sa.Column("seq", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("peer", sa.Text, nullable=False),
    sa.Column("sending_app", sa.Text, nullable=False),
    sa.Column("sending_facility", sa.Text, nullable=False),
    sa.Column("message_type", sa.Text, nullable=False),
    sa.Column("control_id", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("ack_code", sa.String(2), nullable=False),
    sa.Column("refusal", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("ix_inbox_frame_control_id", "control_id", "sending_app", "sending_facility"),
    sa.Index("ix_inbox_frame_received_at", "received_at"),
    sqlite_autoincrement=True,  # a number is never given twice, also not once the last frame was purged
)
"""One MLLP frame as received. `refusal`: why it was answered with an error; empty when it is to be processed. The bytes
hold MSH-3, MSH-4 and MSH-10, so their digest alone is the key of a repetition."""

contact = sa.Table(
    "feed_contact",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("peer", sa.Text, nullable=False),
    sa.Column("sending_app", sa.Text, nullable=False),
    sa.Column("sending_facility", sa.Text, nullable=False),
    sa.Column("outcome", sa.String(40), nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("first_at", UtcDateTime, nullable=False),
    sa.Column("last_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("peer", "sending_app", "sending_facility", "outcome"),
    sa.Index("ix_feed_contact_last_at", "last_at"),
)
"""How often something happened with a sender. No patient data: header fields and words of ours."""
