"""Where this node's spool, ledger and inbox are, by its settings, and opening them."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from config.settings import Settings, SettingsError
from node.store.engine import Ledger, connect, open_ledger
from node.store.errors import LedgerError
from node.store.inbox import open_inbox


def spool_directory(settings: Settings) -> Path:
    """Where received objects lie."""
    return settings.storage.data_dir / "spool"


def open_settings_ledger(settings: Settings) -> Ledger:
    """Open the ledger the settings name; SQLite in `storage.data_dir` by default."""
    return open_ledger(_place(settings))


def has_ledger(settings: Settings) -> bool:
    """Whether there may be a ledger to look into; a look would make a file that is not there."""
    return bool(settings.storage.database_url) or (settings.storage.data_dir / "ledger.db").exists()


def look_into_ledger(settings: Settings) -> Ledger:
    """Connect to the ledger as it is, whatever tables it has: an older release may be running on it.

    Raises:
        LedgerError: its file is another account's, which SQLite would not say.

    """
    place = _place(settings)
    if isinstance(place, Path) and place.exists() and not os.access(place, os.R_OK | os.W_OK):
        msg = f"{place}: this account may not read and write it; let the account that runs the node own all beside it"
        raise LedgerError(msg)
    return connect(place)


def open_settings_inbox(settings: Settings) -> Ledger:
    """Open the HL7 inbox beside the ledger; open that first, it moves an older ledger's messages over."""
    return open_inbox(_place(settings))


def _place(settings: Settings) -> str | Path:
    """Where ledger and inbox are; SettingsError where the database's driver is not installed."""
    url = settings.storage.database_url
    if url.startswith("postgresql") and importlib.util.find_spec("psycopg") is None:
        msg = "storage.database_url: names PostgreSQL; install the extra `postgresql` (install.md, Extras)"
        raise SettingsError(msg)
    return url or settings.storage.data_dir / "ledger.db"
