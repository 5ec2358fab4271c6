"""A private PostgreSQL for tests: its own cluster in a temporary folder, on a free loopback port, gone at the end.

Where PostgreSQL's programs are absent the tests that need it are skipped with that reason; with CI=true they fail, so
that a build can never be green by leaving a database out.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

_INSTALLED = Path("/usr/lib/postgresql")
_DISCONNECT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'osteon'"
_EMPTY = "DROP SCHEMA IF EXISTS noted CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public"
_NOTE_TABLES = """
CREATE SCHEMA noted;
CREATE TABLE noted.made AS SELECT tablename FROM pg_tables WHERE schemaname = 'public'
"""
"""The tables that the migrations made: what else a test made goes."""
_EMPTY_TABLES = """
SET session_replication_role = replica;
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT tablename FROM pg_tables
    WHERE schemaname = 'public' AND tablename NOT IN (SELECT tablename FROM noted.made)
  LOOP EXECUTE format('DROP TABLE %I CASCADE', name); END LOOP;
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'
  LOOP EXECUTE format('DELETE FROM %I', name); END LOOP;
  FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL
  LOOP EXECUTE format('ALTER SEQUENCE %I RESTART', name); END LOOP;
END $$
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A running server with password-free access for `postgres` from loopback."""

    programs: Path
    data: Path
    port: int

    def empty_database(self) -> str:
        """SQLAlchemy URL of the one test database, emptied; what had it open is disconnected.

        Not a new database per test: each is 300 files, and removing fifty of them takes longer than all the tests.
        """
        with self._connect("postgres") as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'osteon'").fetchone() is None:
                connection.execute("CREATE DATABASE osteon")
            connection.execute(_DISCONNECT)
        with self._connect("osteon") as connection:
            connection.execute(_EMPTY)
        return self._url()

    def blank_ledger(self, migrate: Callable[[str], object]) -> str:
        """SQLAlchemy URL of the one test database with a ledger's empty tables; `migrate(url)` makes them if need be.

        Emptying them takes a tenth of the time of migrating anew.
        """
        if not self._emptied():
            migrate(self.empty_database())
            with self._connect("osteon") as connection:
                connection.execute(_NOTE_TABLES)
        return self._url()

    def command(self, statement: str) -> None:
        """Do what only an administrator does, outside the test database."""
        with self._connect("postgres") as connection:
            connection.execute(statement)

    def disconnect(self) -> None:
        """End all sessions of the test database."""
        self.command(_DISCONNECT)

    def _emptied(self) -> bool:
        """Whether the tables were those of a ledger, and are empty now."""
        with self._connect("postgres") as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'osteon'").fetchone() is None:
                return False
            connection.execute(_DISCONNECT)
        with self._connect("osteon") as connection:
            if connection.execute("SELECT to_regclass('noted.made')").fetchone() == (None,):
                return False
            connection.execute(_EMPTY_TABLES)
            return True

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres dbname={database}", autocommit=True)

    def _url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/osteon"

    def restart(self) -> None:
        """Stop as in a power failure (`-m immediate`) and start again; open connections die."""
        _run(self.programs / "pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.data} -c fsync=off -c max_connections=60"
        log = self.data / "server.log"
        _run(self.programs / "pg_ctl", "-D", self.data, "-o", options, "-l", log, "-w", "start")

    def stop(self) -> None:
        """Stop the server."""
        _run(self.programs / "pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")


def absent_or_fail(reason: str) -> None:
    """Skip the test, or fail it where everything must be there (CI=true)."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Run a private cluster for the block."""
    found = sorted(_INSTALLED.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        absent_or_fail(f"no PostgreSQL below {_INSTALLED}")
    folder = Path(tempfile.mkdtemp(prefix="osteon-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    programs = found[-1].parent
    server = Cluster(programs=programs, data=folder / "data", port=_free_port())
    try:
        _run(programs / "initdb", "-D", server.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(*command: object) -> None:
    """Run one of PostgreSQL's programs; it refuses root, so root becomes `postgres`."""
    line = [str(part) for part in command]
    if os.geteuid() == 0:
        pwd.getpwnam("postgres")
        line = ["runuser", "-u", "postgres", "--", *line]
    # Output to nowhere: the server inherits it, and a pipe would never end.
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", timeout=120)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
