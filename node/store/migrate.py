"""Brings the schema of a ledger to this version of the code: append-only Alembic revisions, applied under a lock.

All revisions and the record of them are one transaction, so a process killed in the middle leaves the old schema, and a
second process that starts at the same time waits and finds the work done. A database written by newer code is refused:
an old program must not write into tables whose rules it does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from node.store.errors import LedgerError

if TYPE_CHECKING:
    from node.store.engine import Connection

_LOCK_KEY = 0x05_7E0_4
"""Key of PostgreSQL's advisory lock; any constant that no other program uses in this database."""


def migrate(
    begin: Callable[[], AbstractContextManager[Connection]],
    read: Callable[[], AbstractContextManager[Connection]],
    *,
    name: str,
) -> None:
    """Bring the database behind `begin` and `read` to the newest revision; `name` stands in the error message.

    Raises:
        LedgerError: the database was written by a newer version.

    """
    scripts = ScriptDirectory.from_config(_config())
    with read() as c:
        if _is_current(c, scripts, name):
            return
    with begin() as c:
        if c.dialect.name == "postgresql":
            c.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY)))
        if not _is_current(c, scripts, name):
            config = _config()
            config.attributes["connection"] = c
            command.upgrade(config, "head")


def _config() -> Config:
    """Alembic's configuration; the revisions lie in the package, so they come along in a wheel."""
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _is_current(c: Connection, scripts: ScriptDirectory, name: str) -> bool:
    """Whether the database stands at the newest revision."""
    present = MigrationContext.configure(c).get_current_heads()
    known = {script.revision for script in scripts.walk_revisions()}
    if unknown := set(present) - known:
        msg = (
            f"{name} was written by a newer Osteon (schema {', '.join(sorted(unknown))}); install that version or newer"
        )
        raise LedgerError(msg)
    return present == tuple(scripts.get_heads())
