"""Tables of report versions: what each rests on, and image scores kept for the next one."""

from __future__ import annotations

import sqlalchemy as sa

from node.store.metadata import BIG_ID, UtcDateTime, metadata

_VERSION = ("report_version.case_id", "report_version.version")

image_score = sa.Table(
    "image_score",
    metadata,
    sa.Column("digest", sa.String(80), primary_key=True),
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)
"""An `ImageScore` as JSON, under the image's content digest and the bundle's."""

report_version = sa.Table(
    "report_version",
    metadata,
    sa.Column("case_id", BIG_ID, sa.ForeignKey("screening_case.id"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("cause", sa.String(16), nullable=False),
    sa.Column("changed", sa.Text, nullable=False),
    sa.Column("made_at", UtcDateTime, nullable=False),
)
"""One version of a case's report. Its fate follows from its number and its deliveries and is not stored."""

used_person = sa.Table(
    "used_person",
    metadata,
    sa.Column("case_id", BIG_ID, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("person_id", BIG_ID, primary_key=True, autoincrement=False, index=True),
    sa.ForeignKeyConstraint(["case_id", "version"], _VERSION),
)
"""The person a version was joined with, and all that were read as this one then."""

used_observation = sa.Table(
    "used_observation",
    metadata,
    sa.Column("case_id", BIG_ID, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("observation_id", BIG_ID, primary_key=True, autoincrement=False, index=True),
    sa.ForeignKeyConstraint(["case_id", "version"], _VERSION),
)
"""The observation versions a report rests on. No foreign key to them: clinical rows have a retention of their own."""
