"""The clinical tables: the HL7 inbox, persons and their identifiers, and bitemporal observations.

Nothing clinical is ever rewritten: a correction inserts a row and closes the old one (`superseded_at`), a merge is an
edge that is followed when reading. Patient identifiers stand here and nowhere else in the ledger's logs.
"""

from __future__ import annotations

import sqlalchemy as sa

from node.store.metadata import BIG_ID, UtcDateTime, metadata

_PERSON = "person.id"
_IDENTIFIER = "person_identifier.id"
_NEW = sa.text("state = 'new'")

hl7_frame = sa.Table(
    "hl7_frame",
    metadata,
    sa.Column("seq", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("peer", sa.Text, nullable=False),
    sa.Column("sending_app", sa.Text, nullable=False),
    sa.Column("sending_facility", sa.Text, nullable=False),
    sa.Column("message_type", sa.Text, nullable=False),
    sa.Column("control_id", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("ack_code", sa.String(2), nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.UniqueConstraint("sending_app", "sending_facility", "control_id", "sha256"),
)
"""One MLLP frame as received. `state`: new, done, quarantined (needs a person) or refused (answered with an error)."""
sa.Index("ix_hl7_frame_new", hl7_frame.c.seq, sqlite_where=_NEW, postgresql_where=_NEW)

person = sa.Table(
    "person",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("blocked", sa.Boolean, nullable=False, server_default=sa.false()),
)
"""A person as the feeds know one. `blocked`: deleted or a test patient; joins nothing."""

person_identifier = sa.Table(
    "person_identifier",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("person_id", BIG_ID, sa.ForeignKey(_PERSON), nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("universal_id", sa.Text, nullable=False),
    sa.Column("universal_id_type", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("value", "namespace", "universal_id", "universal_id_type"),
    sa.Index("ix_person_identifier_person_id", "person_id"),
)
"""An identifier with its issuer exactly as sent. Two forms of one issuer are two rows of one person."""

person_demographics = sa.Table(
    "person_demographics",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("person_id", BIG_ID, sa.ForeignKey(_PERSON), nullable=False),
    sa.Column("alphabetic_family", sa.Text, nullable=False),
    sa.Column("alphabetic_given", sa.Text, nullable=False),
    sa.Column("ideographic_family", sa.Text, nullable=False),
    sa.Column("ideographic_given", sa.Text, nullable=False),
    sa.Column("phonetic_family", sa.Text, nullable=False),
    sa.Column("phonetic_given", sa.Text, nullable=False),
    sa.Column("birth_date", sa.Date, nullable=True),
    sa.Column("sex", sa.String(1), nullable=False),
    sa.Column("valid_since", UtcDateTime, nullable=False),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("superseded_at", UtcDateTime, nullable=True),
    sa.Index("ix_person_demographics_person_id", "person_id"),
)
"""What is known of a person since `valid_since` (EVN-2, else MSH-7); versions, at most one of them open."""

person_alias = sa.Table(
    "person_alias",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("prior_person_id", BIG_ID, sa.ForeignKey(_PERSON), nullable=False),
    sa.Column("survivor_person_id", BIG_ID, sa.ForeignKey(_PERSON), nullable=False),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("undone_at", UtcDateTime, nullable=True),
    sa.Index("ix_person_alias_prior_person_id", "prior_person_id"),
    sa.Index("ix_person_alias_survivor_person_id", "survivor_person_id"),
)
"""A merge: the prior person is read as the survivor. An edge can be undone because no row was rewritten for it."""

order_link = sa.Table(
    "order_link",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("accession", sa.Text, nullable=False),
    sa.Column("identifier_id", BIG_ID, sa.ForeignKey(_IDENTIFIER), nullable=False),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("superseded_at", UtcDateTime, nullable=True),
    sa.Index("ix_order_link_accession", "accession"),
)
"""Which patient an accession number was ordered for."""

observation = sa.Table(
    "observation",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("identifier_id", BIG_ID, sa.ForeignKey(_IDENTIFIER), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("variable", sa.Text, nullable=False),
    sa.Column("raw_value", sa.Text, nullable=False),
    sa.Column("raw_unit", sa.Text, nullable=False),
    sa.Column("value", sa.Float(53), nullable=True),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("usable", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("start_at", UtcDateTime, nullable=False),
    sa.Column("stated_end_at", UtcDateTime, nullable=False),
    sa.Column("end_at", UtcDateTime, nullable=False),
    sa.Column("available_at", UtcDateTime, nullable=False),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("superseded_at", UtcDateTime, nullable=True),
    sa.Index("ix_observation_identifier_id", "identifier_id", "variable", "end_at"),
    sa.Index("ix_observation_key", "key"),
)
"""One version of one observation. `end_at` is the end in use (`model.asof.end_in_use`), `stated_end_at` as sent."""

dxa_result = sa.Table(
    "dxa_result",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("identifier_id", BIG_ID, sa.ForeignKey(_IDENTIFIER), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("t_score", sa.Float(53), nullable=False),
    sa.Column("observed_at", UtcDateTime, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("superseded_at", UtcDateTime, nullable=True),
    sa.Index("ix_dxa_result_identifier_id", "identifier_id"),
    sa.Index("ix_dxa_result_key", "key"),
)
"""The truth for evaluation. No reader of features may select from this table."""

csv_file = sa.Table(
    "csv_file",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("bad_rows", sa.Integer, nullable=False),
)
"""One dropped file by content: `importing`, `done` or `rejected`. Its name may name a patient and is not kept."""
