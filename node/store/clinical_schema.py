"""The clinical tables: persons and their identifiers, and bitemporal observations.

Nothing clinical is ever rewritten: a correction inserts a row and closes the old one (`superseded_at`), a merge is an
edge that is followed when reading. Patient identifiers stand here and nowhere else in the ledger's logs.
"""

from __future__ import annotations

import sqlalchemy as sa

from node.store.metadata import BIG_ID, UtcDateTime, metadata

_PERSON = "person.id"
_IDENTIFIER = "person_identifier.id"
_OPEN = sa.text("superseded_at IS NULL")
_EMPTY = sa.text("''")

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
    sa.Column("dead", sa.Boolean, nullable=True),
    sa.Column("died_at", UtcDateTime, nullable=True),
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
    sa.Column("kind", sa.String(8), nullable=False, server_default="merge"),
    sa.Column("seq", BIG_ID, nullable=True),
    sa.Column("remark", sa.String(40), nullable=False, server_default=_EMPTY),
    sa.Index("ix_person_alias_prior_person_id", "prior_person_id"),
    sa.Index("ix_person_alias_survivor_person_id", "survivor_person_id"),
)
"""A merge: the prior person is read as the survivor. An edge can be undone because no row was rewritten for it.

`kind`: `merge` (two records of one person) or `change` (a new identifier). `seq`: the inbox frame that asked for it.
`remark`: `BIRTH_DATE_DIFFERS` where the two contradicted each other when they were merged.
"""

order_link = sa.Table(
    "order_link",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("accession", sa.Text, nullable=False),
    sa.Column("identifier_id", BIG_ID, sa.ForeignKey(_IDENTIFIER), nullable=False),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("superseded_at", UtcDateTime, nullable=True),
    sa.Column("placer", sa.Text, nullable=False, server_default=_EMPTY),
    sa.Column("filler", sa.Text, nullable=False, server_default=_EMPTY),
    sa.Column("study_uid", sa.Text, nullable=False, server_default=_EMPTY),
    sa.Column("seq", BIG_ID, nullable=True),
    sa.Column("closed_seq", BIG_ID, nullable=True),
    sa.Index("ix_order_link_accession", "accession"),
    sa.Index("ix_order_link_study_uid", "study_uid"),
)
"""Which patient an accession number and a Study Instance UID were ordered for; one of the two may be empty.

`seq` and `closed_seq`: the inbox frames that stated and that closed the link.
"""

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
    sa.Column("comparator", sa.String(8), nullable=False, server_default=_EMPTY),
    sa.Column("status", sa.String(8), nullable=False, server_default=_EMPTY),
    sa.Column("table_version", sa.Text, nullable=False, server_default=_EMPTY),
    sa.Column("visit", sa.Text, nullable=False, server_default=_EMPTY),
    sa.Column("seq", BIG_ID, nullable=True),
    sa.Index("ix_observation_identifier_id", "identifier_id", "variable", "end_at"),
    sa.Index("ix_observation_open_key", "key", sqlite_where=_OPEN),
)
"""One version of one observation. `end_at` is the end in use (`model.asof.end_in_use`), `stated_end_at` as sent.

`seq`: the inbox frame it came with; empty for a CSV row, whose `source` names import and row.
"""

dxa_result = sa.Table(
    "dxa_result",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("identifier_id", BIG_ID, sa.ForeignKey(_IDENTIFIER), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("t_score", sa.Float(53), nullable=True),
    sa.Column("observed_at", UtcDateTime, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("superseded_at", UtcDateTime, nullable=True),
    sa.Column("z_score", sa.Float(53), nullable=True),
    sa.Column("bmd", sa.Float(53), nullable=True),
    sa.Column("usable", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("reason", sa.Text, nullable=False, server_default=_EMPTY),
    sa.Column("seq", BIG_ID, nullable=True),
    sa.Index("ix_dxa_result_identifier_id", "identifier_id"),
    sa.Index("ix_dxa_result_open_key", "key", sqlite_where=_OPEN),
)
"""The truth for evaluation: one of `t_score`, `z_score` and `bmd` (g/cm2) per row, none in a row that voids.

No reader of features may select from this table.
"""

exposure = sa.Table(
    "exposure",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("identifier_id", BIG_ID, sa.ForeignKey(_IDENTIFIER), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("code", sa.String(16), nullable=False),
    sa.Column("start_at", UtcDateTime, nullable=False),
    sa.Column("end_at", UtcDateTime, nullable=False),
    sa.Column("available_at", UtcDateTime, nullable=False),
    sa.Column("cancelled", sa.Boolean, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("superseded_at", UtcDateTime, nullable=True),
    sa.Column("seq", BIG_ID, nullable=True),
    sa.Index("ix_exposure_identifier_id", "identifier_id"),
    sa.Index("ix_exposure_open_key", "key", sqlite_where=_OPEN),
)
"""Anti-osteoporotic drugs by ATC code. They follow the diagnosis: no reader of features may select from this table."""

feed_remark = sa.Table(
    "feed_remark",
    metadata,
    sa.Column("code", sa.String(40), primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("first_at", UtcDateTime, nullable=False),
    sa.Column("last_at", UtcDateTime, nullable=False),
)
"""How often the HL7 feed met something that it does not use."""

csv_file = sa.Table(
    "csv_file",
    metadata,
    sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("bad_rows", sa.Integer, nullable=False),
    sa.Column("reason", sa.String(40), nullable=False, server_default=_EMPTY),
    sa.Column("source", sa.String(40), nullable=False, server_default=_EMPTY),
    sa.Column("rows_done", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("written", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("deleted", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("made_at", UtcDateTime),
    sa.Column("snapshot", sa.Boolean, nullable=False, server_default=sa.false()),
)
"""One dropped file by content and reading (`sha256` is over both). Its name may name a patient and is not kept.

`state`: importing, held, released, rejected or done. `rows_done` grows in the transaction that writes the rows, so that
a crash repeats none. `written` counts new versions, `deleted` those of them that take back what a snapshot lacks.
`made_at`: its place among the files of its source, none where that does not matter: when its writer says it was made,
else when it came.
"""
