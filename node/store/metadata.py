"""The one MetaData on which every table of the ledger stands, and the two column types they share.

It is a module of its own so that the work tables (`schema.py`) and the clinical tables (`clinical_schema.py`) need not
import each other. The naming convention gives every constraint a name that is the same on SQLite and PostgreSQL, which
migrations need to speak of it.
"""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Tables register here when their schema module is imported; a test compares every migrated database with it."""

BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""Type of generated keys: 64 bit everywhere; SQLite numbers by itself only a column it knows as INTEGER."""


class UtcDateTime(sa.types.TypeDecorator[dt.datetime]):
    """An instant. Goes in aware, comes out aware in UTC; SQLite keeps no offset, so it is normalised before."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> dt.datetime | None:  # noqa: ARG002 - fixed by SQLAlchemy
        """UTC of `value`; ValueError for a naive time, which is no instant."""
        if value is None:
            return None
        if value.utcoffset() is None:
            msg = "a naive datetime is no instant; give it a time zone"
            raise ValueError(msg)
        return value.astimezone(dt.UTC)

    def process_result_value(self, value: dt.datetime | None, dialect: sa.Dialect) -> dt.datetime | None:  # noqa: ARG002 - fixed by SQLAlchemy
        """The instant in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
