"""The identity of this installation, created once in the ledger: all workers share it and a backup carries it along."""

from __future__ import annotations

import datetime as dt
import uuid

import sqlalchemy as sa

from node.store.engine import Connection
from node.store.schema import installation
from node.store.upsert import insert


def installation_identity(c: Connection) -> tuple[uuid.UUID, str]:
    """UID name space and serial number of this installation; makes them on the first call (write transaction)."""
    namespace = uuid.uuid4()
    fresh = {
        "id": 1,
        "namespace": str(namespace),
        "serial": f"OSTEON-{namespace.hex[:8].upper()}",
        "created_at": dt.datetime.now(dt.UTC),
    }
    c.execute(insert(c, installation).values(fresh).on_conflict_do_nothing(index_elements=["id"]))
    row = c.execute(sa.select(installation)).one()
    return uuid.UUID(row.namespace), row.serial


def namespace_of(c: Connection) -> str | None:
    """UID name space of this installation, for a reader; None before the first start."""
    return c.execute(sa.select(installation.c.namespace)).scalar_one_or_none()


def database_time(c: Connection) -> float:
    """Seconds since 1970 by the clock of the database server (PostgreSQL)."""
    return float(c.execute(sa.select(sa.extract("epoch", sa.func.clock_timestamp()))).scalar_one())


def put_in_force(c: Connection, codes: str) -> bool:
    """Note the clinical code table that is used from now on, empty for none; whether it was another one before.

    Call `installation_identity` first.
    """
    other = sa.update(installation).where(installation.c.codes_in_force != codes).values(codes_in_force=codes)
    return c.execute(other).rowcount == 1


def mark_spool(c: Connection) -> bool:
    """Note that a shared spool is this node's from now on; whether there was none before.

    Call `installation_identity` first. The row stays locked until the transaction ends.
    """
    unmarked = sa.update(installation).where(installation.c.spool_marked_at.is_(None))
    return c.execute(unmarked.values(spool_marked_at=dt.datetime.now(dt.UTC))).rowcount == 1


def note_activation(c: Connection, activation: str) -> None:
    """Note which model bundle a person let serve, as its host keeps it. Call `installation_identity` first."""
    other = sa.update(installation).where(installation.c.activation != activation)
    c.execute(other.values(activation=activation))


def noted_activation(c: Connection) -> str:
    """What was noted last; empty where nothing was, also in the tables of an older release, for a reader of any."""
    inspector = sa.inspect(c)
    if not inspector.has_table(installation.name):
        return ""
    if installation.c.activation.name not in {one["name"] for one in inspector.get_columns(installation.name)}:
        return ""
    return c.execute(sa.select(installation.c.activation)).scalar_one_or_none() or ""
