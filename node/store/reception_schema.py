"""Tables of reception: who associated or tried to, and which senders asked the node to commit itself to their images.

No statement is made here. `peer_contact` holds counts only: one row per (calling AE, called AE, address, outcome), so
it stays small however often a sender comes; titles are stored escaped, because a scanner may send anything. The remedy
of a rejection is not stored: it depends on today's settings.
"""

from __future__ import annotations

import sqlalchemy as sa

from node.store.metadata import BIG_ID, UtcDateTime, metadata

peer_contact = sa.Table(
    "peer_contact",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("calling_ae", sa.Text, nullable=False),
    sa.Column("called_ae", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("outcome", sa.String(40), nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("first_at", UtcDateTime, nullable=False),
    sa.Column("last_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("calling_ae", "called_ae", "address", "outcome"),
    sa.Index("ix_peer_contact_last_at", "last_at"),
)
"""`outcome`: `accepted`, a word of `dicom_io.admission.Rejection`, or of a connection that never became one."""

commitment_request = sa.Table(
    "commitment_request",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("transaction_uid", sa.String(64), nullable=False, unique=True),
    sa.Column("requestor_ae", sa.String(16), nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("requested_at", UtcDateTime, nullable=False),
    sa.Column("state", sa.String(10), nullable=False, server_default="waiting"),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("error", sa.Text),
    sa.CheckConstraint("state IN ('waiting','reported','given_up')", name="state"),
)
"""One request for storage commitment (PS3.4 J.3.2), durable before it is answered; `requested_at` is that of the last
repetition. `error` is why the last report did not reach the requestor."""

commitment_item = sa.Table(
    "commitment_item",
    metadata,
    sa.Column("request_id", BIG_ID, sa.ForeignKey("commitment_request.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("sop_class_uid", sa.String(64), nullable=False),
    sa.Column("sop_instance_uid", sa.String(64), nullable=False, index=True),
    sa.Column("failure", sa.Integer),
)
"""The instances of a request. `failure` is the Failure Reason (0008,1197) last reported, null when committed or not yet
reported; who deletes files asks here first what was promised."""
