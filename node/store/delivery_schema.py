"""Tables of delivery: what was sent where, in which class, with what proof; and how each destination is.

No statement is made here. `delivery` itself, a version on its way to a destination, stands in `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa

from node.store.metadata import BIG_ID, UtcDateTime, metadata

outbox_variant = sa.Table(
    "outbox_variant",
    metadata,
    sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
    sa.Column("case_id", BIG_ID, sa.ForeignKey("screening_case.id"), nullable=False, index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("sop_class_uid", sa.String(64), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("part10", sa.LargeBinary, nullable=False),
    sa.Column("frozen_at", UtcDateTime, nullable=False),
)
"""Objects that not every destination gets, fixed before the first send like those of `outbox_object`: the SR in another
class, and rejection notes."""

sent_object = sa.Table(
    "sent_object",
    metadata,
    sa.Column("destination", sa.String(20), primary_key=True),
    sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
    sa.Column("case_id", BIG_ID, sa.ForeignKey("screening_case.id"), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("sop_class_uid", sa.String(64), nullable=False),
    sa.Column("sends", sa.Integer, nullable=False, server_default="0"),
    sa.Column("stored", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("status", sa.Integer),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("ix_sent_object_case", "case_id", "version"),
)
"""One object at, or on its way to, one destination; the row is written before the object is sent.

`sends`: how often it was begun. `stored`: the last answer was that it is stored, and nobody found it missing since.
`status`: DIMSE status last answered; null while none was.
"""

destination_state = sa.Table(
    "destination_state",
    metadata,
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("breaker", sa.String(10), nullable=False, server_default="closed"),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("since", UtcDateTime),
    sa.Column("paused_at", UtcDateTime),
    sa.Column("paused_why", sa.Text, nullable=False, server_default=""),
    sa.Column("proof", sa.String(16), nullable=False, server_default=""),
    sa.Column("proof_at", UtcDateTime),
    sa.CheckConstraint("breaker IN ('closed','open','recovering')", name="breaker"),
)
"""How a destination is, for all processes: associations in a row that failed, whether it is only asked by C-ECHO since,
whether a person paused it. `proof`: the kind of proof that turned out to work where the first one offered did not."""

commitment_asked = sa.Table(
    "commitment_asked",
    metadata,
    sa.Column("transaction_uid", sa.String(64), primary_key=True),
    sa.Column("case_id", BIG_ID, sa.ForeignKey("screening_case.id"), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("destination", sa.String(20), nullable=False),
    sa.Column("asked_at", UtcDateTime, nullable=False),
    sa.Column("told_at", UtcDateTime),
    sa.Column("committed", sa.Text, nullable=False, server_default="[]"),
    sa.Column("failures", sa.Text, nullable=False, server_default="{}"),
    sa.Index("ix_commitment_asked_delivery", "case_id", "version", "destination"),
)
"""Our requests for storage commitment, written before the N-ACTION, with what the archive reported (JSON)."""
