"""How long a large CSV file takes and how much memory: validation, first import, re-import, in a process of its own.

`python -m bench.csv_import FOLDER ROWS` prints the figures as JSON; `csv_figures` runs that and reads them. Rows are
made here: ten values per patient, six laboratory and body variables, every value plausible.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TypeVar
from zoneinfo import ZoneInfo

from config.code_file import code_table
from config.csv_feed import CsvDrop
from node.csv_intake import LedgerSink
from node.feeds.csv_import import Importer
from node.issuers import Issuers
from node.store import csv_files
from node.store.engine import Ledger, open_ledger

T = TypeVar("T")

HEADER = (
    "source_row_id,patient_id,issuer,birth_date,sex,family_name,given_name,"
    "code,code_system,value,unit,observed_at,status"
)
ZONE = ZoneInfo("Europe/Berlin")


def csv_figures(folder: Path, rows: int) -> dict[str, float]:
    """Import `rows` rows (1,000,000 are 110 MB) into a new SQLite ledger below `folder`, measured in a child process.

    Returns:
        `validate_s`, `first_import_s`, `reimport_s` (wall seconds, validation included), `validate_cpu_s` and `cpu_s`
        of the three together, `rows_per_s` of the first import, `peak_rss_mb` of the child, `longest_batch_ms` (longest
        time that the ledger was held), `changes_again`.

    """
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
    command = [sys.executable, "-m", "bench.csv_import", str(folder), str(rows)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def write_rows(path: Path, rows: int) -> None:
    """A file of the long form; the same number of rows gives the same file."""
    chance = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        file.write(HEADER + "\n")
        for n in range(rows):
            patient = n // 10
            code, value, unit = _value(n % 6, patient, chance)
            who = f"P{100000 + patient},HOSP,{1930 + patient % 40}-03-12,{'FM'[patient % 2]}"
            name = f"FAMILY{patient % 977},GIVEN{patient % 89}"
            at = f"2025-0{1 + n % 9}-{10 + n % 18}T{10 + n % 12}:{10 + n % 50}:00+01:00"
            file.write(f"R{n},{who},{name},{code},LN,{value:.2f},{unit},{at},F\n")


def _value(kind: int, patient: int, chance: random.Random) -> tuple[str, float, str]:
    if kind == 0:
        return "29463-7", 50 + patient % 40 + chance.uniform(-2, 2), "kg"
    if kind == 1:
        return "8302-2", 150 + patient % 35 + chance.uniform(-1, 1), "cm"
    code, mean, spread, unit = (
        ("17861-6", 9.2, 0.4, "mg/dL"),
        ("2777-1", 3.4, 0.3, "mg/dL"),
        ("1751-7", 4.1, 0.2, "g/dL"),
        ("2160-0", 0.9, 0.1, "mg/dL"),
    )[kind - 2]
    return code, chance.uniform(mean - 2 * spread, mean + 2 * spread), unit


class Timed(LedgerSink):
    """Measures how long each batch holds the ledger."""

    held: ClassVar[list[float]] = []
    """Seconds, of all files."""

    def write(self, import_id, rows):
        refused, seconds = _timed(lambda: super(Timed, self).write(import_id, rows))
        self.held.append(seconds)
        return refused


class Judging(LedgerSink):
    """Takes no row: what is left is the validation."""

    def write(self, _import_id, _rows):
        return ()


def _measure(folder: Path, rows: int) -> dict[str, float]:
    folder.mkdir(parents=True, exist_ok=True)
    first, again = folder / "first.csv", folder / "again.csv"
    write_rows(first, rows)
    shutil.copyfile(first, again)  # by the kernel: read here, its 100 MB would count as the importer's
    with again.open("a", encoding="utf-8") as file:
        file.write("\n")  # other bytes, same rows
    trial, ledger = open_ledger(folder / "trial.db"), open_ledger(folder / "ledger.db")
    before = time.process_time()
    figures = {"rows": float(rows), "validate_s": _take(first, rows, Judging, trial)}
    figures["validate_cpu_s"] = time.process_time() - before
    figures["first_import_s"] = _take(first, rows, Timed, ledger)
    figures["reimport_s"] = _take(again, rows, Timed, ledger)
    with ledger.read() as c:
        figures["changes_again"] = float(csv_files.find(c)[0].written)
    figures["rows_per_s"] = rows / figures["first_import_s"]
    figures["cpu_s"] = time.process_time() - before
    figures["longest_batch_ms"] = max(Timed.held) * 1000
    figures["peak_rss_mb"] = _peak_rss_mb()
    return figures


def _take(file: Path, rows: int, sink: type[LedgerSink], ledger: Ledger) -> float:
    """Import a file; how many seconds it took."""
    feed = CsvDrop(folder=file.parent)
    importer = Importer(feed, code_table(), Issuers(), ZONE, sink(ledger, lambda _c, _changes: None), time.sleep)
    outcome, seconds = _timed(lambda: importer.take(file))
    assert (outcome.where, outcome.rows, outcome.bad_rows) == ("done", rows, 0), outcome
    return seconds


def _peak_rss_mb() -> float:
    """Of this program alone; `getrusage` would count the parent's memory from before the exec."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]), int(sys.argv[2]))))
