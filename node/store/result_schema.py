"""Table of results that go out as HL7 messages."""

from __future__ import annotations

import sqlalchemy as sa

from node.store.metadata import BIG_ID, UtcDateTime, metadata

result_message = sa.Table(
    "result_message",
    metadata,
    sa.Column("case_id", BIG_ID, sa.ForeignKey("screening_case.id"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("receiver", sa.String(20), primary_key=True),
    sa.Column("meaning", sa.String(1), primary_key=True),
    sa.Column("state", sa.String(10), nullable=False, server_default="waiting"),
    sa.Column("control_id", sa.String(20), nullable=False, server_default=""),
    sa.Column("message", sa.LargeBinary),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("refusals", sa.Integer, nullable=False, server_default="0"),
    sa.Column("uncertain", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("opened_at", UtcDateTime, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("answer", sa.String(2), nullable=False, server_default=""),
    sa.Column("error", sa.Text),
    sa.CheckConstraint("state IN ('waiting','sent','refused','cancelled')", name="state"),
    sa.CheckConstraint("meaning IN ('R','D','W')", name="meaning"),
    sa.Index("ix_result_message_state", "state", "receiver"),
)
"""One message about one report version to one receiver. `meaning`: OBX-11 of its results.

`message` is fixed before the first send and never changes; `uncertain`: a send is running, or one ended without an
answer, so the receiver may have it. `at` is when the state was entered or the last try ended.
"""
