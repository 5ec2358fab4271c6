"""Fixtures that many tests need: a fresh ledger, on SQLite and on a private PostgreSQL in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import postgres

from node.store.engine import Ledger, open_ledger


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[postgres.Cluster]:
    """One server for the whole session; each test finds its database empty."""
    with postgres.cluster() as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new, empty ledger may be opened."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    cluster: postgres.Cluster = request.getfixturevalue("postgres_cluster")
    return cluster.empty_database()


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A new, open ledger."""
    opened = open_ledger(ledger_url)
    yield opened
    opened.close()
