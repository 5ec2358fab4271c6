"""Many rows: in one transaction or one by one the tables are the same, and a crash in the middle leaves no trace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.csv_drop import HEADER, Drop, lines, row
from support.hl7 import when

from node.feeds import csv_import
from node.store.clinical_schema import dxa_result, observation, person_demographics, person_identifier
from node.store.engine import Ledger, open_ledger

PEOPLE = (
    {"patient_id": "1001", "birth_date": "1948-03-12", "family_name": "MUELLER", "given_name": "ANNA"},
    {"patient_id": "1001", "birth_date": "1948-03-12", "family_name": "MÜLLER", "given_name": "ANNA"},
    {"patient_id": "1001", "birth_date": "1961-01-01", "family_name": "SCHMIDT", "given_name": "KARL"},
    {"patient_id": "1001", "issuer": "ELSEWHERE", "birth_date": "", "family_name": "", "given_name": ""},
    {"patient_id": "1002", "birth_date": "1950-05-05", "family_name": "MEIER", "given_name": "BERTA"},
    {"patient_id": "1002", "birth_date": "1950-05-06", "family_name": "MEIER", "given_name": "BERTA"},
    {"patient_id": "1003", "birth_date": "1955-07-07", "family_name": "NOVAK", "given_name": "EVA"},
    {"patient_id": "UNKNOWN", "birth_date": "", "family_name": "", "given_name": ""},
)
VALUES = (
    {"code": "17861-6", "value": "9.2", "unit": "mg/dL"},
    {"code": "17861-6", "value": "9.4", "unit": "mg/dL"},
    {"code": "2777-1", "value": "<1", "unit": "mg/dL"},
    {"code": "29463-7", "value": "61.5", "unit": "kg"},
    {"code": "29463-7", "value": "61.5", "unit": "stone"},
    {"code": "38267-1", "value": "-2.6", "unit": "{T-score}"},
    {"code": "17861-6", "value": "9.2", "unit": "mg/dL", "status": "P"},
    {"code": "17861-6", "value": "", "unit": "", "status": "D"},
)
ROW = st.builds(
    lambda number, person, value, day: row(number, **{**person, **value, "observed_at": f"2025-02-{day:02}T10:00:00Z"}),
    number=st.one_of(st.integers(1, 8), st.just("")),
    person=st.sampled_from(PEOPLE),
    value=st.sampled_from(VALUES),
    day=st.integers(1, 3),
)


def tables(ledger: Ledger) -> dict[str, list[tuple[object, ...]]]:
    """Everything that stands about the patients, without the numbers that the database gives."""
    i, d, o, x = person_identifier.c, person_demographics.c, observation.c, dxa_result.c
    content = [c for c in o if c.name not in ("id", "identifier_id")]
    with ledger.read() as c:
        found = {
            "identifiers": c.execute(sa.select(i.value, i.namespace, i.universal_id)).all(),
            "demographics": c.execute(
                sa.select(i.value, i.namespace, d.alphabetic_family, d.birth_date, d.sex, d.superseded_at)
                .join(person_demographics, d.person_id == i.person_id)
                .distinct()
            ).all(),
            "observations": c.execute(sa.select(i.value, i.namespace, *content).join(observation)).all(),
            "dxa": c.execute(sa.select(i.value, x.key, x.t_score, x.reason, x.superseded_at).join(dxa_result)).all(),
        }
    return {name: sorted(map(tuple, rows), key=repr) for name, rows in found.items()}


def imported(
    empty: Path, folder: Path, files: list[str], batch: int
) -> tuple[dict[str, list[tuple[object, ...]]], list[str]]:
    ledger = open_ledger(shutil.copy(empty, folder / f"ledger-{batch}.db"))
    drop = Drop(folder / f"drop-{batch}", ledger)
    before, csv_import.BATCH_ROWS = csv_import.BATCH_ROWS, batch
    try:
        for number, content in enumerate(files):
            drop.at = when(20 + number)
            drop(content, max_bad_rows_percent=100)
        changes = sorted(f"{change.kind}" for change in drop.changes)
        written = [f"{file.written} {file.bad_rows}" for file in drop.imports()]
        return tables(ledger), [*changes, *written]
    finally:
        csv_import.BATCH_ROWS = before
        ledger.close()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files=st.lists(st.lists(ROW, min_size=1, max_size=14), min_size=1, max_size=2))
def test_the_bulk_and_the_row_path_give_identical_tables_on_random_files(migrated_file, files):
    contents = [lines(*rows) for rows in files]
    with tempfile.TemporaryDirectory() as folder:
        in_bulk = imported(migrated_file, Path(folder), contents, 1000)
        by_row = imported(migrated_file, Path(folder), contents, 1)
    assert in_bulk == by_row


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_thousand_rows_on_both_databases(kind, request, tmp_path):
    where = tmp_path / "ledger.db" if kind == "sqlite" else request.getfixturevalue("postgres_cluster").empty_database()
    ledger = open_ledger(where)
    drop = Drop(tmp_path / "drop", ledger)
    rows = [
        row(n, patient_id=str(5000 + n // 4), code="17861-6", value=f"{9 + n % 7 / 10:.1f}", unit="mg/dL")
        for n in range(2000)
    ]
    assert [o.where for o in drop(lines(*rows))] == ["done"]
    assert len(drop.standing()) == 2000
    assert drop.imports()[0].written == 500 * 2 + 2000
    drop.at = when(21)
    drop(lines(*reversed(rows)), name="b.csv")
    assert drop.imports()[0].written == 0, "re-import 0 changes"
    ledger.close()


CHILD = """
import os, signal, sys
from pathlib import Path
from support.csv_drop import Drop
from node.feeds import csv_import
from node.store.engine import open_ledger

csv_import.BATCH_ROWS, csv_import.PAUSE_SECONDS = 50, 0
drop = Drop(Path(sys.argv[1]) / "drop", open_ledger(Path(sys.argv[1]) / "ledger.db"))
kill_after, committed = int(sys.argv[2]), []
inner = drop.sink

class Killing:
    def __init__(self, sink):
        self._sink = sink
    def __getattr__(self, name):
        return getattr(self._sink, name)
    def write(self, import_id, rows):
        refused = self._sink.write(import_id, rows)
        committed.append(rows[-1].row)
        if len(committed) == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return refused

drop.sink = lambda: Killing(inner())
drop.look()
"""


def child(folder: Path, kill_after: int) -> int:
    paths = os.pathsep.join(["tests", ".", *sys.path])
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), str(kill_after)],
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    ).returncode


def test_kill_9_in_the_middle_of_an_import_leaves_identical_tables(migrated_file, tmp_path, monkeypatch):
    # Names that change back and forth and rows without ids: what a second reading of the same rows would spoil.
    rows = [
        row(
            "" if n % 3 else n,
            source_row_id="" if n % 3 else f"r{n}",
            patient_id=str(7000 + n // 9),
            family_name=("MUELLER", "MÜLLER")[n % 2],
            code="17861-6",
            value=f"{9 + n % 5 / 10:.1f}",
            unit="mg/dL",
        )
        for n in range(240)
    ]
    for name in ("calm", "killed"):
        (tmp_path / name / "drop" / "inbox").mkdir(parents=True)
        (tmp_path / name / "drop" / "inbox" / "a.csv").write_text(lines(*rows, header=HEADER))
        shutil.copy(migrated_file, tmp_path / name / "ledger.db")
    assert [child(tmp_path / "killed", n) for n in (2, 1)] == [-signal.SIGKILL, -signal.SIGKILL]
    ledgers = [open_ledger(tmp_path / name / "ledger.db") for name in ("calm", "killed")]
    monkeypatch.setattr(csv_import, "BATCH_ROWS", 50)
    for name, ledger in zip(("calm", "killed"), ledgers, strict=True):
        Drop(tmp_path / name / "drop", ledger).look()
    calm, killed = (tables(ledger) for ledger in ledgers)
    assert len(calm["observations"]) == 240
    assert killed == calm
    drop = Drop(tmp_path / "killed" / "drop", ledgers[1])
    assert [(f.state, f.rows_done, f.rows) for f in drop.imports()] == [("done", 240, 240)]
    assert drop.files("done") == ["a.csv"]
    for ledger in ledgers:
        ledger.close()
