"""Content digests of the spool name their algorithm: `sha256` becomes `digest`, its old values `sha256:<hex>`.

The column and the source inside the case documents change together; objects received from now on get `blake3:<hex>`.
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BATCH = 1000


def upgrade() -> None:
    """Rename the columns, widen them, and name the algorithm of every digest there is."""
    _rename("screening_case")
    _rename("duplicate_instance")
    with op.batch_alter_table("duplicate_instance") as table:
        table.drop_constraint(op.f("uq_duplicate_instance_case_id_sha256"), type_="unique")
        table.create_unique_constraint(op.f("uq_duplicate_instance_case_id_digest"), ["case_id", "digest"])
    for table_name in ("screening_case", "duplicate_instance"):
        digest: sa.ColumnClause[str] = sa.column("digest", sa.Text)
        op.execute(sa.update(sa.table(table_name, digest)).values(digest=sa.literal("sha256:") + digest))
    _rewrite_documents()


def _rename(table: str) -> None:
    """In place on both databases: Alembic's way on SQLite drops the table, which rows of others refer to."""
    op.execute(f"ALTER TABLE {table} RENAME COLUMN sha256 TO digest")
    if op.get_bind().dialect.name == "postgresql":  # SQLite enforces no length
        op.execute(f"ALTER TABLE {table} ALTER COLUMN digest TYPE VARCHAR(80)")


def _rewrite_documents() -> None:
    case = sa.table("screening_case", sa.column("id"), sa.column("document"))
    connection, last = op.get_bind(), 0
    wanted = sa.select(case.c.id, case.c.document).order_by(case.c.id).limit(_BATCH)
    while rows := connection.execute(wanted.where(case.c.id > last)).all():
        for row in rows:
            connection.execute(sa.update(case).where(case.c.id == row.id).values(document=_renamed(row.document)))
        last = rows[-1].id


def _renamed(document: str) -> str:
    """The JSON of a case (a list of one), with the digest of its source under the new name."""
    (case,) = json.loads(document)
    source = case["source"]
    source["digest"] = f"sha256:{source.pop('sha256')}"
    return json.dumps([case], separators=(",", ":"), ensure_ascii=False)
