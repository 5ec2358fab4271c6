"""Fixtures that many tests need: a fresh ledger, on SQLite and on a private PostgreSQL in turn."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import postgres

from config.settings import Reception
from dicom_io.spool_shelf import disk_used_percent
from node.store.engine import Ledger, open_ledger


def pytest_sessionstart() -> None:
    """One line instead of two hundred failures where the disk is as full as a node's must not be."""
    folder, limit = tempfile.gettempdir(), Reception().reject_at_percent
    used = disk_used_percent(Path(folder))
    if used >= limit:
        msg = (
            f"the file system of {folder} is {used:.1f} % full, and nodes reject senders from {limit} % on: set TMPDIR"
        )
        raise pytest.UsageError(msg)


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[postgres.Cluster]:
    """One server for the whole session; each test finds its database empty."""
    with postgres.cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite ledger with nothing in its tables: copying it takes a tenth of the time of migrating."""
    path = tmp_path_factory.mktemp("ledger") / "migrated.db"
    open_ledger(path).close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new, empty ledger may be opened; its tables are there where the test asks for an open one."""
    migrated = "ledger" in request.fixturenames
    if request.param == "sqlite":
        path = tmp_path / "ledger.db"
        if migrated:
            shutil.copy(request.getfixturevalue("migrated_file"), path)
        return str(path)
    cluster: postgres.Cluster = request.getfixturevalue("postgres_cluster")
    return cluster.blank_ledger(lambda url: open_ledger(url).close()) if migrated else cluster.empty_database()


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A new, open ledger."""
    opened = open_ledger(ledger_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_ledger(tmp_path: Path, migrated_file: Path) -> Iterator[Ledger]:
    """A new, open ledger where the database makes no difference: `ledger.db` in the test's folder."""
    opened = open_ledger(shutil.copy(migrated_file, tmp_path / "ledger.db"))
    yield opened
    opened.close()
