"""Tables of the work: tasks, cases with their history, frozen report objects and their deliveries.

The clinical tables stand in `clinical_schema.py` on the same MetaData. No statement is made here; a changed table needs
a new Alembic revision (append-only, `migrations/versions/`), and a test compares the two. Partial indexes name SQLite's
condition only, for naming PostgreSQL's loads its dialect at every start; the migrations make them with both.
"""

from __future__ import annotations

import sqlalchemy as sa

from node.store.metadata import BIG_ID, UtcDateTime, metadata

_LIVE = sa.text("state IN ('todo','doing')")
_IMAGE_KEPT = sa.text("image_purged_at IS NULL")
_DIGEST = sa.String(80).with_variant(sa.String(64), "sqlite")
"""Content digest of a spooled file with its algorithm. SQLite enforces no length, so its older columns were kept."""

task = sa.Table(
    "task",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True),
    sa.Column("lane", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("payload", sa.Text, nullable=False, server_default="{}"),
    sa.Column("state", sa.String(8), nullable=False, server_default="todo"),
    sa.Column("due_at", sa.Double, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("crashes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("fence", sa.Integer, nullable=False, server_default="0"),
    sa.Column("lease_until", sa.Double),
    sa.Column("owner", sa.String(120)),
    sa.Column("hinted_at", sa.Double),
    sa.Column("error", sa.Text),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    sa.UniqueConstraint("kind", "key"),
    sa.CheckConstraint("state IN ('todo','doing','done','dead')", name="state"),
    sa.Index("ix_task_live", "lane", "due_at", sqlite_where=_LIVE),
)
"""What must still be done. Times are seconds since 1970 (UTC), so that both databases compare them as numbers."""

screening_case = sa.Table(
    "screening_case",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True),
    sa.Column("sop_instance_uid", sa.String(64), nullable=False, unique=True),
    sa.Column("study_uid", sa.String(64), nullable=False, index=True),
    sa.Column("series_uid", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("reason", sa.String(200), nullable=False, server_default=""),
    sa.Column("digest", _DIGEST, nullable=False),
    sa.Column("spool_file", sa.String(400), nullable=False),
    sa.Column("calling_ae", sa.String(16), nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False, index=True),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("stirred_at", UtcDateTime),
    sa.Column("review", sa.String(40), nullable=False, server_default=""),
    sa.Column("settled", sa.String(64), nullable=False, server_default=""),
    sa.Column("amend_asked", sa.Text),
    sa.Column("image_purged_at", UtcDateTime),
    sa.Index("ix_screening_case_kept", "id", sqlite_where=_IMAGE_KEPT),
    sa.Index("ix_screening_case_state", "state", "reason"),
    sa.Index("ix_screening_case_review", "review"),
)
"""One row per source image. `document` is the value of `node.case` as JSON, `reason` its codes, comma-separated.

`stirred_at`: the first clinical message about the patient that has not been weighed yet. `review`: why a person must
look at the report, empty while nobody must. `settled`: digest of the evidence that was flagged, logged or acted on, so
that it is so once. `amend_asked`: the reason a person gave for an amendment that is still to be made.
`image_purged_at`: when retention deleted the received files; null while they are in the spool, again after a re-send.
"""

case_event = sa.Table(
    "case_event",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True),
    sa.Column("case_id", BIG_ID, sa.ForeignKey("screening_case.id"), nullable=False, index=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("detail", sa.Text, nullable=False, server_default="{}"),
)
"""The history of a case: when each state was entered, why, and with what. Rows are added, never changed."""

duplicate_instance = sa.Table(
    "duplicate_instance",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True),
    sa.Column("case_id", BIG_ID, sa.ForeignKey("screening_case.id"), nullable=False),
    sa.Column("digest", _DIGEST, nullable=False),
    sa.Column("spool_file", sa.String(400)),
    sa.Column("differs", sa.Boolean, nullable=False),
    sa.Column("copies", sa.Integer, nullable=False, server_default="1"),
    sa.Column("calling_ae", sa.String(16), nullable=False),
    sa.Column("first_at", UtcDateTime, nullable=False),
    sa.Column("last_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("case_id", "digest"),
)
"""A SOP Instance UID received again. `differs`: other bytes under the same UID, kept in `spool_file` for a person."""

outbox_object = sa.Table(
    "outbox_object",
    metadata,
    sa.Column("case_id", BIG_ID, sa.ForeignKey("screening_case.id"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("sop_class_uid", sa.String(64), nullable=False),
    sa.Column("sop_instance_uid", sa.String(64), nullable=False, unique=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("part10", sa.LargeBinary, nullable=False),
    sa.Column("frozen_at", UtcDateTime, nullable=False),
)
"""The objects of a report in the order of sending, with their bytes, fixed before the first send."""

delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("case_id", BIG_ID, sa.ForeignKey("screening_case.id"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("destination", sa.String(20), primary_key=True),
    sa.Column("state", sa.String(10), nullable=False, server_default="waiting"),
    sa.Column("proof", sa.String(16)),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("uncertain", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("sent_at", UtcDateTime),
    sa.Column("refusals", sa.Integer, nullable=False, server_default="0"),
    sa.Column("looks", sa.Integer, nullable=False, server_default="0"),
    sa.Column("resends", sa.Integer, nullable=False, server_default="0"),
    sa.CheckConstraint("state IN ('waiting','sent','delivered','refused','cancelled','dropped')", name="state"),
    sa.Index("ix_delivery_state", "state", "destination"),
)
"""One report version on its way to one destination; `at` is when the state was entered or the last try ended.

`uncertain`: a send is running, or one ended in the middle: some object of the version is or may be at the destination,
be it a page without its SR. `since`: when it was opened, or taken up again; its patience is counted from there.
`sent_at`: when the destination had answered for every object; the proof is awaited since. `refusals`: tries in a row
that were declined. `looks`: read-backs since `sent_at` that did not find all. `resends`: how often it was sent again
because the destination did not keep it.
"""

case_patient = sa.Table(
    "case_patient",
    metadata,
    sa.Column("case_id", BIG_ID, sa.ForeignKey("screening_case.id"), primary_key=True),
    sa.Column("patient_id", sa.String(64), primary_key=True, index=True),
)
"""Identifier values of a received image, without issuer: only to find the cases a clinical message may concern."""

installation = sa.Table(
    "installation",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("namespace", sa.String(36), nullable=False),
    sa.Column("serial", sa.String(64), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("codes_in_force", sa.String(80), nullable=False, server_default=""),
    sa.Column("spool_marked_at", UtcDateTime),
    sa.Column("activation", sa.Text, nullable=False, server_default=""),
    sa.CheckConstraint("id = 1", name="one_row"),
)
"""Who this node is: the name space of every UID it makes. Written once, shared by all workers, part of the backup.

`codes_in_force`: version of the confirmed clinical code table that workers use; empty while none is confirmed.
`spool_marked_at`: when a spool that several hosts share became this node's; null while there is none.
`activation`: which model bundle a person let serve (`node.active_model`, as JSON); empty before the first one.
"""
