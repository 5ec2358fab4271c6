"""The SQLite file itself: library, journal, crash, permissions, size of its log."""

from __future__ import annotations

import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from node.store import jobs
from node.store.engine import open_ledger
from node.store.errors import LedgerUnavailable
from node.store.sqlite import DRIVER, LOG_LIMIT, journal_mode

INSERT = "INSERT INTO task(lane, kind, key, due_at, created_at, updated_at) VALUES('l', 'k', ?, 0, 0, 0)"

OPEN_WITHOUT_WHEEL = """
import sys
sys.modules["pysqlite3"] = None
import sqlite3
from node.store import jobs, sqlite
from node.store.engine import open_ledger
assert sqlite.DRIVER is sqlite3
ledger = open_ledger(sys.argv[1])
with ledger.begin() as c:
    assert c.exec_driver_sql("PRAGMA journal_mode").scalar() == sqlite.journal_mode(sqlite3.sqlite_version_info)
    assert c.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    assert not jobs.enqueue(c, "advance", "1", lane="infer")
ledger.close()
"""

CRASH = """
import os, sys
from node.store.sqlite import DRIVER
c = DRIVER.connect(sys.argv[1], isolation_level=None)
c.execute(f"PRAGMA journal_mode={sys.argv[2]}")
c.execute("PRAGMA cache_size=1")
insert = sys.argv[3]
c.execute(insert, ("committed",))
c.execute("BEGIN IMMEDIATE")
[c.execute(insert, (str(n) * 50,)) for n in range(2000)]
os._exit(9)
"""


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        ((3, 40, 1), "truncate"),
        ((3, 51, 2), "truncate"),
        ((3, 51, 3), "wal"),
        ((3, 52, 0), "wal"),
        ((4, 0, 0), "wal"),
    ],
)
def test_wal_is_refused_below_the_fix_of_the_wal_reset_bug(version, mode):
    assert journal_mode(version) == mode


@pytest.mark.parametrize(("journal", "beside"), [("TRUNCATE", "-journal"), ("WAL", "-wal")])
def test_after_a_crash_in_a_commit_a_reader_may_come_first(tmp_path: Path, journal: str, beside: str):
    """A hot journal must be recovered by whoever opens the file, also by a connection that may not write."""
    path = tmp_path / "ledger.db"
    open_ledger(path).close()
    subprocess.run([sys.executable, "-c", CRASH, str(path), journal, INSERT], check=False)
    assert Path(f"{path}{beside}").stat().st_size > 0
    opened = open_ledger(path)
    with opened.read() as c:
        assert jobs.count_by_state(c) == {("l", "todo"): 1}
        assert jobs.get(c, "k", "committed") is not None
        assert c.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    opened.close()


def test_where_there_is_no_wheel_the_same_file_goes_on_with_pythons_sqlite(tmp_path: Path):
    path = tmp_path / "ledger.db"
    opened = open_ledger(path)
    with opened.begin() as c:
        jobs.enqueue(c, "advance", "1", lane="infer")
    opened.close()
    subprocess.run([sys.executable, "-c", OPEN_WITHOUT_WHEEL, str(path)], check=True)
    opened = open_ledger(path)
    with opened.begin() as c:
        assert c.exec_driver_sql("PRAGMA journal_mode").scalar() == journal_mode()
        assert jobs.get(c, "advance", "1") is not None
    opened.close()


def test_the_file_and_what_lies_beside_it_is_for_its_owner_alone(tmp_path: Path):
    opened = open_ledger(tmp_path / "ledger.db")
    with opened.begin() as c:
        jobs.enqueue(c, "advance", "1", lane="infer")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    opened.close()
    assert "ledger.db" in modes
    assert set(modes.values()) == {0o600}


def test_a_file_of_an_older_release_is_closed_to_others_when_its_owner_opens_it(tmp_path: Path):
    path = tmp_path / "ledger.db"
    open_ledger(path).close()
    subprocess.run([sys.executable, "-c", CRASH, str(path), journal_mode(), INSERT], check=False)
    for left in tmp_path.iterdir():
        left.chmod(0o644)
    opened = open_ledger(path)
    modes = {left.name: stat.S_IMODE(left.stat().st_mode) for left in tmp_path.iterdir()}
    opened.close()
    assert modes["ledger.db"] == 0o600
    assert set(modes.values()) == {0o600}


@pytest.mark.skipif(journal_mode() != "wal", reason="this SQLite keeps no write-ahead log")
def test_the_log_is_cut_back_and_is_gone_after_the_last_connection(tmp_path: Path):
    path, log = tmp_path / "ledger.db", tmp_path / "ledger.db-wal"
    opened = open_ledger(path)
    with opened.begin() as c:
        jobs.enqueue(c, "big", "1", lane="infer", payload={"x": "y" * 2 * LOG_LIMIT})
    assert log.stat().st_size > LOG_LIMIT
    for number in range(3):  # the first finds the log too long and copies it, the next one starts it anew
        with opened.begin() as c:
            jobs.enqueue(c, "small", str(number), lane="infer")
    assert log.stat().st_size <= LOG_LIMIT
    opened.close()
    assert not log.exists()


def test_a_folder_that_cannot_be_made_is_unavailable_in_words(tmp_path: Path):
    (tmp_path / "data").write_bytes(b"a file stands in the way")
    with pytest.raises(LedgerUnavailable, match=r"ledger\.db cannot be made"):
        open_ledger(tmp_path / "data" / "ledger.db")


def test_a_copy_made_by_sqlite_itself_has_what_is_still_in_the_log(tmp_path: Path):
    """The backup that operate.md prescribes."""
    opened = open_ledger(tmp_path / "ledger.db")
    with opened.begin() as c:
        jobs.enqueue(c, "advance", "1", lane="infer")
    with closing(DRIVER.connect(tmp_path / "ledger.db")) as c:
        c.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))
    opened.close()
    copy = open_ledger(tmp_path / "copy.db")
    with copy.read() as c:
        assert jobs.get(c, "advance", "1") is not None
    copy.close()
