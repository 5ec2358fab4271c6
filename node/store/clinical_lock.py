"""Clinical facts have one writer at a time, and nobody decides by them beside it.

Who writes facts looks first: is this identifier known, what stands under this key, which demographics are older. On
SQLite the one writer makes that sound. On PostgreSQL two transactions would find nothing together, and one patient
become two; so whoever writes takes a lock before its first look, and what it then reads is all that was committed.

News must not pass an image by either. Who writes facts wakes the cases that they concern, and sees only those that are
committed; their workers must not read what is not. So a worker takes the same lock, shared with other workers, before
it reads. Of the two one is first:

- the reader: its case was committed before it, and the writer looks for cases later. It finds this one and touches its
  task, which goes round again, be it waiting, being done or over.
- the writer: the reader waits for its commit and reads what it wrote.

Both hold it to the end of their transaction: so a record is read whole, too. It is waited for like any lock, for half a
minute at most, and in turn. Nobody may ask for it who holds a row that a writer of facts changes. On SQLite it is
nothing: there a case that comes meanwhile is committed only after the writer, and so read after it.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

_KEY: Final = 0x05_7E0_7
_ALONE: Final = sa.select(sa.func.pg_advisory_xact_lock(_KEY))
_SHARED: Final = sa.select(sa.func.pg_advisory_xact_lock_shared(_KEY))


def write_alone(c: sa.Connection) -> None:
    """Be the one writer of facts until this transaction ends; before it looks anything up."""
    if c.dialect.name == "postgresql":
        c.execute(_ALONE)


def read_settled(c: sa.Connection) -> None:
    """Wait for who writes facts, and let nobody begin until this transaction ends; before a decision reads them."""
    if c.dialect.name == "postgresql":
        c.execute(_SHARED)
