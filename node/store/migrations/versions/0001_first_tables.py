"""Create every table of the ledger: work, cases, outbox, and the clinical data of the feeds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, a referenced one before those that refer to it."""
    _csv_file()
    _hl7_frame()
    _installation()
    _person()
    _screening_case()
    _task()
    _case_event()
    _case_patient()
    _delivery()
    _duplicate_instance()
    _outbox_object()
    _person_alias()
    _person_demographics()
    _person_identifier()
    _dxa_result()
    _observation()
    _order_link()


def _csv_file() -> None:
    op.create_table(
        "csv_file",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("bad_rows", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_csv_file")),
        sa.UniqueConstraint("sha256", name=op.f("uq_csv_file_sha256")),
    )


def _hl7_frame() -> None:
    op.create_table(
        "hl7_frame",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("sending_app", sa.Text(), nullable=False),
        sa.Column("sending_facility", sa.Text(), nullable=False),
        sa.Column("message_type", sa.Text(), nullable=False),
        sa.Column("control_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("ack_code", sa.String(length=2), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_hl7_frame")),
        sa.UniqueConstraint(
            "sending_app",
            "sending_facility",
            "control_id",
            "sha256",
            name=op.f("uq_hl7_frame_sending_app_sending_facility_control_id_sha256"),
        ),
    )
    op.create_index(
        "ix_hl7_frame_new",
        "hl7_frame",
        ["seq"],
        unique=False,
        sqlite_where=sa.text("state = 'new'"),
        postgresql_where=sa.text("state = 'new'"),
    )


def _installation() -> None:
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("namespace", sa.String(length=36), nullable=False),
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_installation_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
    )


def _person() -> None:
    op.create_table(
        "person",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("blocked", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
    )


def _screening_case() -> None:
    op.create_table(
        "screening_case",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("series_uid", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("reason", sa.String(length=200), server_default="", nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("spool_file", sa.String(length=400), nullable=False),
        sa.Column("calling_ae", sa.String(length=16), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_screening_case")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_screening_case_sop_instance_uid")),
    )
    op.create_index(op.f("ix_screening_case_received_at"), "screening_case", ["received_at"], unique=False)
    op.create_index("ix_screening_case_state", "screening_case", ["state", "reason"], unique=False)
    op.create_index(op.f("ix_screening_case_study_uid"), "screening_case", ["study_uid"], unique=False)


def _task() -> None:
    op.create_table(
        "task",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("lane", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("payload", sa.Text(), server_default="{}", nullable=False),
        sa.Column("state", sa.String(length=8), server_default="todo", nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("crashes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("owner", sa.String(length=120), nullable=True),
        sa.Column("hinted_at", sa.Double(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.CheckConstraint("state IN ('todo','doing','done','dead')", name=op.f("ck_task_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("kind", "key", name=op.f("uq_task_kind_key")),
    )
    op.create_index(
        "ix_task_live",
        "task",
        ["lane", "due_at"],
        unique=False,
        sqlite_where=sa.text("state IN ('todo','doing')"),
        postgresql_where=sa.text("state IN ('todo','doing')"),
    )


def _case_event() -> None:
    op.create_table(
        "case_event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("case_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", sa.Text(), server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["screening_case.id"], name=op.f("fk_case_event_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_event")),
    )
    op.create_index(op.f("ix_case_event_case_id"), "case_event", ["case_id"], unique=False)


def _case_patient() -> None:
    op.create_table(
        "case_patient",
        sa.Column("case_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("patient_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["screening_case.id"], name=op.f("fk_case_patient_case_id")),
        sa.PrimaryKeyConstraint("case_id", "patient_id", name=op.f("pk_case_patient")),
    )
    op.create_index(op.f("ix_case_patient_patient_id"), "case_patient", ["patient_id"], unique=False)


def _delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("case_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("destination", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=10), server_default="waiting", nullable=False),
        sa.Column("proof", sa.String(length=16), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('waiting','delivered','refused')", name=op.f("ck_delivery_state")),
        sa.ForeignKeyConstraint(["case_id"], ["screening_case.id"], name=op.f("fk_delivery_case_id")),
        sa.PrimaryKeyConstraint("case_id", "version", "destination", name=op.f("pk_delivery")),
    )
    op.create_index("ix_delivery_state", "delivery", ["state", "destination"], unique=False)


def _duplicate_instance() -> None:
    op.create_table(
        "duplicate_instance",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("case_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("spool_file", sa.String(length=400), nullable=True),
        sa.Column("differs", sa.Boolean(), nullable=False),
        sa.Column("copies", sa.Integer(), server_default="1", nullable=False),
        sa.Column("calling_ae", sa.String(length=16), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["screening_case.id"], name=op.f("fk_duplicate_instance_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_duplicate_instance")),
        sa.UniqueConstraint("case_id", "sha256", name=op.f("uq_duplicate_instance_case_id_sha256")),
    )


def _outbox_object() -> None:
    op.create_table(
        "outbox_object",
        sa.Column("case_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("part10", sa.LargeBinary(), nullable=False),
        sa.Column("frozen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["screening_case.id"], name=op.f("fk_outbox_object_case_id")),
        sa.PrimaryKeyConstraint("case_id", "version", "position", name=op.f("pk_outbox_object")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_outbox_object_sop_instance_uid")),
    )


def _person_alias() -> None:
    op.create_table(
        "person_alias",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("prior_person_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("survivor_person_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["prior_person_id"], ["person.id"], name=op.f("fk_person_alias_prior_person_id")),
        sa.ForeignKeyConstraint(["survivor_person_id"], ["person.id"], name=op.f("fk_person_alias_survivor_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person_alias")),
    )
    op.create_index("ix_person_alias_prior_person_id", "person_alias", ["prior_person_id"], unique=False)
    op.create_index("ix_person_alias_survivor_person_id", "person_alias", ["survivor_person_id"], unique=False)


def _person_demographics() -> None:
    op.create_table(
        "person_demographics",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("person_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("alphabetic_family", sa.Text(), nullable=False),
        sa.Column("alphabetic_given", sa.Text(), nullable=False),
        sa.Column("ideographic_family", sa.Text(), nullable=False),
        sa.Column("ideographic_given", sa.Text(), nullable=False),
        sa.Column("phonetic_family", sa.Text(), nullable=False),
        sa.Column("phonetic_given", sa.Text(), nullable=False),
        sa.Column("birth_date", sa.Date(), nullable=True),
        sa.Column("sex", sa.String(length=1), nullable=False),
        sa.Column("valid_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_person_demographics_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person_demographics")),
    )
    op.create_index("ix_person_demographics_person_id", "person_demographics", ["person_id"], unique=False)


def _person_identifier() -> None:
    op.create_table(
        "person_identifier",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("person_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("universal_id", sa.Text(), nullable=False),
        sa.Column("universal_id_type", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_person_identifier_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person_identifier")),
        sa.UniqueConstraint(
            "value",
            "namespace",
            "universal_id",
            "universal_id_type",
            name=op.f("uq_person_identifier_value_namespace_universal_id_universal_id_type"),
        ),
    )
    op.create_index("ix_person_identifier_person_id", "person_identifier", ["person_id"], unique=False)


def _dxa_result() -> None:
    op.create_table(
        "dxa_result",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("identifier_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("t_score", sa.Float(precision=53), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["identifier_id"], ["person_identifier.id"], name=op.f("fk_dxa_result_identifier_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dxa_result")),
    )
    op.create_index("ix_dxa_result_identifier_id", "dxa_result", ["identifier_id"], unique=False)
    op.create_index("ix_dxa_result_key", "dxa_result", ["key"], unique=False)


def _observation() -> None:
    op.create_table(
        "observation",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("identifier_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("variable", sa.Text(), nullable=False),
        sa.Column("raw_value", sa.Text(), nullable=False),
        sa.Column("raw_unit", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("usable", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("start_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stated_end_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["identifier_id"], ["person_identifier.id"], name=op.f("fk_observation_identifier_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_observation")),
    )
    op.create_index(
        "ix_observation_identifier_id", "observation", ["identifier_id", "variable", "end_at"], unique=False
    )
    op.create_index("ix_observation_key", "observation", ["key"], unique=False)


def _order_link() -> None:
    op.create_table(
        "order_link",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("accession", sa.Text(), nullable=False),
        sa.Column("identifier_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["identifier_id"], ["person_identifier.id"], name=op.f("fk_order_link_identifier_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_link")),
    )
    op.create_index("ix_order_link_accession", "order_link", ["accession"], unique=False)
