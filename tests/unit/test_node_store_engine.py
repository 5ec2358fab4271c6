from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from subprocess import PIPE

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from support.postgres import Cluster

from node.store import clinical_schema, jobs, reception_schema, schema, task_statements
from node.store.engine import Connection, Ledger, open_ledger
from node.store.errors import LedgerError, LedgerUnavailable, NotStorable
from node.store.metadata import metadata
from node.store.sqlite import DRIVER, journal_mode

OPEN_IT = """
import sys
from node.store.engine import open_ledger
print("ready", flush=True)
sys.stdin.readline()
open_ledger(sys.argv[1]).close()
"""


@pytest.fixture
def sqlite_ledger(tmp_path: Path):
    opened = open_ledger(tmp_path / "folder that is made" / "50% ledger.db")
    yield opened
    opened.close()


def enqueue_and_break(c: Connection) -> None:
    jobs.enqueue(c, "advance", "1", lane="infer")
    raise ZeroDivisionError


def test_sqlite_writer_is_durable_and_keeps_foreign_keys(sqlite_ledger: Ledger):
    with sqlite_ledger.begin() as c:
        assert c.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert c.exec_driver_sql("PRAGMA journal_mode").scalar() == journal_mode()
        assert c.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert c.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000


def test_every_new_connection_of_the_writer_is_durable_too(sqlite_ledger: Ledger):
    sqlite_ledger._writer.dispose()
    with sqlite_ledger.begin() as c:
        assert c.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_a_foreign_key_that_points_nowhere_is_refused(ledger: Ledger):
    with pytest.raises(sa.exc.IntegrityError), ledger.begin() as c:
        c.execute(sa.insert(schema.case_patient).values(case_id=99, patient_id="1"))


def test_an_open_reader_does_not_stop_writers(ledger: Ledger):
    with ledger.read() as reader:
        assert jobs.get(reader, "advance", "1") is None
        with ledger.begin() as c:
            jobs.enqueue(c, "advance", "1", lane="infer")
        found = jobs.get(reader, "advance", "1")
    assert found is not None


def test_a_reader_cannot_write(ledger: Ledger):
    with pytest.raises((LedgerUnavailable, sa.exc.DBAPIError)), ledger.read() as c:
        jobs.enqueue(c, "advance", "1", lane="infer")
    with ledger.read() as c:
        assert jobs.get(c, "advance", "1") is None


def test_a_block_that_raises_leaves_nothing(ledger: Ledger):
    with pytest.raises(ZeroDivisionError), ledger.begin() as c:
        enqueue_and_break(c)
    with ledger.read() as c:
        assert jobs.get(c, "advance", "1") is None


def test_writers_of_one_process_wait_for_each_other(ledger: Ledger):
    def write(number: int) -> None:
        with ledger.begin() as c:
            jobs.enqueue(c, "advance", str(number), lane="infer")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ledger.read() as c:
        assert jobs.count_by_state(c) == {("infer", "todo"): 20}


def test_nested_writers_are_a_mistake_that_says_so(sqlite_ledger: Ledger):
    with (
        pytest.raises(RuntimeError, match="wait for itself"),
        sqlite_ledger.begin(),
        sqlite_ledger.begin(),
    ):
        pass
    with sqlite_ledger.begin():
        pass


def test_sqlalchemy_adds_no_values_to_an_error(ledger: Ledger):
    with pytest.raises(sa.exc.IntegrityError) as caught, ledger.begin() as c:
        c.execute(sa.insert(schema.case_event).values(case_id=1, at=None, state="x", reason="DOE^JANE"))
    # PostgreSQL itself quotes the row in DETAIL: so the dispatcher keeps no message of an unexpected error.
    assert "JANE" not in str(caught.value).split("DETAIL", maxsplit=1)[0]


def test_a_value_that_the_database_cannot_hold_has_a_name_and_is_not_in_the_error(postgres_cluster: Cluster):
    ledger = open_ledger(postgres_cluster.empty_database())
    for value in ("DOE\0JANE", "DOE^JANE" * 100):
        with pytest.raises(NotStorable) as caught, ledger.begin() as c:
            jobs.enqueue(c, "advance", value, lane="infer")
        assert "JANE" not in str(caught.value)
    ledger.close()


def test_migrated_schema_and_tables_in_code_agree(ledger: Ledger):
    assert clinical_schema.metadata is reception_schema.metadata is schema.metadata is metadata
    with ledger.read() as c:
        assert compare_metadata(MigrationContext.configure(c), metadata) == []


@pytest.mark.parametrize("statement", [task_statements.ANY_DUE, task_statements.CLAIM], ids=["look", "claim"])
@pytest.mark.parametrize("first", [None, "ANALYZE"])
def test_a_claim_goes_along_the_partial_index_and_sorts_nothing(
    ledger: Ledger, statement: sa.Executable, first: str | None
):
    row = {"lane": "infer", "kind": "advance", "created_at": 0.0, "updated_at": 0.0}
    rows = [row | {"key": str(n), "due_at": float(n), "state": "todo" if n >= 3000 else "done"} for n in range(4000)]
    with ledger.begin() as c:
        c.execute(sa.insert(schema.task), rows)
    what = {"b_lane": "infer", "b_now": 5000.0, "b_limit": 1, "b_owner": "o", "b_until": 5060.0}
    with ledger.begin() as c:
        if first is not None:
            c.exec_driver_sql(first)
        explain = "EXPLAIN QUERY PLAN" if c.dialect.name == "sqlite" else "EXPLAIN"
        compiled = statement.compile(c.engine)
        named = compiled.construct_params(what)
        given = tuple(named[name] for name in compiled.positiontup) if compiled.positional else named
        plan = "\n".join(str(line) for line in c.exec_driver_sql(f"{explain} {compiled}", given).all())
    assert "ix_task_live" in plan
    assert not any(words in plan for words in ("Seq Scan on task", "Sort", "SCAN task", "ORDER BY")), plan


def test_opening_again_keeps_what_is_there(ledger: Ledger, ledger_url: str):
    with ledger.begin() as c:
        jobs.enqueue(c, "advance", "1", lane="infer")
    again = open_ledger(ledger_url)
    with again.read() as c:
        assert jobs.get(c, "advance", "1") is not None
    again.close()


def test_a_database_of_a_newer_version_is_refused_in_one_line(ledger: Ledger, ledger_url: str):
    with ledger.begin() as c:
        c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match=r"newer Osteon \(schema 9999\)") as caught:
        open_ledger(ledger_url)
    assert "\n" not in str(caught.value)


def test_processes_that_open_a_new_database_at_once_all_succeed(ledger_url: str):
    command = [sys.executable, "-c", OPEN_IT, ledger_url]
    started = [subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) for _ in range(3)]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    opened = open_ledger(ledger_url)
    with opened.read() as c:
        assert c.exec_driver_sql("SELECT count(*) FROM alembic_version").scalar() == 1
    opened.close()


def test_a_locked_database_is_unavailable_not_broken(sqlite_ledger: Ledger):
    with sqlite_ledger.begin() as c:
        c.exec_driver_sql("PRAGMA busy_timeout = 1")
    # The node's own driver: a second SQLite library in one process does not see the first one's locks.
    other = DRIVER.connect(sqlite_ledger._writer.url.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailable, match="locked"), sqlite_ledger.begin():
        pass
    other.close()
    with sqlite_ledger.begin() as c:
        jobs.enqueue(c, "advance", "1", lane="infer")


def test_a_full_disk_is_unavailable_and_passes(sqlite_ledger: Ledger):
    with sqlite_ledger.begin() as c:
        pages = c.exec_driver_sql("PRAGMA page_count").scalar()
        c.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerUnavailable, match="full"), sqlite_ledger.begin() as c:
        jobs.enqueue(c, "advance", "1", lane="infer", payload={"x": "y" * 100_000})
    with sqlite_ledger.begin() as c:
        c.exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert jobs.enqueue(c, "advance", "1", lane="infer", payload={"x": "y" * 100_000})


@pytest.mark.parametrize("where", ["mysql://h/d", "://", "sqlite://"])
def test_a_database_that_cannot_hold_a_ledger_is_refused_in_words(where):
    with pytest.raises(LedgerError):
        open_ledger(where)


def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path):
    (tmp_path / "ledger.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(LedgerError, match="no SQLite database"):
        open_ledger(tmp_path / "ledger.db")


def test_a_server_that_does_not_answer_is_unavailable_and_its_password_stays_hidden():
    with pytest.raises(LedgerUnavailable) as caught:
        open_ledger("postgresql://osteon:secret@127.0.0.1:1/osteon")
    assert "secret" not in str(caught.value)


def test_a_restart_of_postgresql_is_survived(postgres_cluster: Cluster):
    opened = open_ledger(postgres_cluster.empty_database())
    with opened.begin() as c:
        jobs.enqueue(c, "advance", "1", lane="infer")
    postgres_cluster.restart()
    with opened.begin() as c:
        assert not jobs.enqueue(c, "advance", "1", lane="infer")
    with opened.read() as c:
        assert jobs.get(c, "advance", "1") is not None
    opened.close()
