"""Brings the schema of a ledger to this version of the code: append-only Alembic revisions, applied under a lock.

All revisions and the record of them are one transaction, so a process killed in the middle leaves the old schema, and a
second process that starts at the same time waits and finds the work done. A database written by newer code is refused:
an old program must not write into tables whose rules it does not know, nor go on doing so (`VersionWatch`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from node.store import postgresql
from node.store.errors import LedgerError, LedgerUnavailable

if TYPE_CHECKING:
    from alembic.config import Config

    from node.store.engine import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A series of revisions and where a database notes how far it has come."""

    folder: str
    version_table: str
    lock_key: int
    """Key of PostgreSQL's advisory lock; any constant that no other program uses in this database."""

    def revisions(self) -> tuple[str, ...]:
        """The revisions in their order: each file's name begins with its own (a test compares them with Alembic's)."""
        files = (Path(__file__).parent / self.folder / "versions").glob("[0-9]*.py")
        return tuple(sorted(path.name.partition("_")[0] for path in files))


LEDGER: Final = Chain(folder="migrations", version_table="alembic_version", lock_key=0x05_7E0_4)
INBOX: Final = Chain(folder="inbox_migrations", version_table="inbox_version", lock_key=0x05_7E0_5)

LOOK_SECONDS: Final = 60.0


def migrate(
    begin: Callable[[], AbstractContextManager[Connection]],
    read: Callable[[], AbstractContextManager[Connection]],
    *,
    name: str,
    chain: Chain = LEDGER,
) -> None:
    """Bring the database behind `begin` and `read` to the newest revision; `name` stands in the error message.

    Raises:
        LedgerError: the database was written by a newer version.

    """
    with read() as c:
        if is_current(c, name=name, chain=chain):
            return
    with begin() as c:
        postgresql.without_limits(c)  # another process may be migrating for minutes, and then we wait
        if c.dialect.name == "postgresql":
            c.execute(sa.select(sa.func.pg_advisory_xact_lock(chain.lock_key)))
        if not is_current(c, name=name, chain=chain):
            upgrade(c, chain)


def upgrade(c: Connection, chain: Chain, revision: str = "head") -> None:
    """Run the revisions of `chain` up to `revision` in the transaction of `c`."""
    from alembic import command  # noqa: PLC0415 - 12 MB and .4 s that a start with nothing to migrate does without

    config = _config(chain)
    config.attributes["connection"] = c
    command.upgrade(config, revision)


def _config(chain: Chain = LEDGER) -> Config:
    """Alembic's configuration; the revisions lie in the package, so they come along in a wheel."""
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    folder = str(Path(__file__).parent / chain.folder)
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def is_current(c: Connection, *, name: str, chain: Chain = LEDGER) -> bool:
    """Whether the database stands at the newest revision. LedgerError: it was written by a newer version."""
    known = chain.revisions()
    present = _present(c, chain) if sa.inspect(c).has_table(chain.version_table) else ()
    if unknown := _unknown(present, known):
        msg = f"{name} was written by a newer Osteon (schema {unknown}); install that version or newer"
        raise LedgerError(msg)
    return present == known[-1:]


class VersionWatch:
    """Looks once a minute, in a transaction that is to write, whether a newer version has migrated the tables.

    Another host of a fleet may do that while this process runs. Make it once the tables are of this version.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._known = chain.revisions()  # now: an upgrade may exchange the files under a process that runs
        self._look_at = time.monotonic() + LOOK_SECONDS

    def look(self, c: Connection) -> None:
        """Raise LedgerUnavailable for as long as they are a newer version's: who sends keeps what it has."""
        if time.monotonic() < self._look_at:
            return
        if unknown := _unknown(_present(c, self._chain), self._known):
            msg = f"ledger: a newer Osteon has migrated it (schema {unknown}); install that version here, and start"
            raise LedgerUnavailable(msg)
        self._look_at = time.monotonic() + LOOK_SECONDS


def _present(c: Connection, chain: Chain) -> tuple[str, ...]:
    table = sa.table(chain.version_table, sa.column("version_num", sa.String))
    return tuple(c.execute(sa.select(table)).scalars().all())


def _unknown(present: Iterable[str], known: Iterable[str]) -> str:
    """The revisions that this version of the code does not know, in words; empty where there are none."""
    return ", ".join(sorted(set(present) - set(known)))
