"""How fast the inbox's consumer works messages off: 25-OBX ORU, read and written in batches of 20, per CPU second.

`PYTHONPATH=.:tests python -m bench.oru_processing [--short] [--url postgresql+psycopg://...]`. The first pass writes
25 new values per message, the second takes the same messages again and writes nothing. CPU time of this process only.
"""

from __future__ import annotations

import argparse
import datetime as dt
import logging
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa
import structlog
from support.hl7 import RULES, message, pid

from config.clinical import Clinical
from node.inbox_consumer import BATCH
from node.intake import process_frames
from node.store.clinical_schema import observation
from node.store.engine import Ledger, open_ledger
from node.store.inbox import StoredFrame

MESSAGES, SHORT_MESSAGES = 2_000, 40
PATIENTS = 200
RECEIVED = dt.datetime(2025, 3, 11, tzinfo=dt.UTC)
VALUES = (
    ("17861-6", "9.5", "mg/dL"),
    ("2777-1", "3.5", "mg/dL"),
    ("1751-7", "4.1", "g/dL"),
    ("2160-0", "0.9", "mg/dL"),
    ("33914-3", "80", "mL/min/{1.73_m2}"),
    ("6768-6", "70", "U/L"),
    ("62292-8", "30", "ng/mL"),
    ("2731-8", "40", "pg/mL"),
    ("718-7", "13", "g/dL"),
    ("2345-7", "95", "mg/dL"),
    ("4548-4", "5.5", "%"),
    ("3084-1", "5", "mg/dL"),
    ("2093-3", "200", "mg/dL"),
)


def processing_figures(where: str | Path, messages: int) -> dict[str, float]:
    """Messages per CPU second into a new ledger, the first time and again."""
    frames = [_frame(number) for number in range(1, messages + 1)]
    ledger = open_ledger(where)
    try:
        _work_off(ledger, [_admission(number) for number in range(PATIENTS)])
        figures = {f"oru25-{name}-per-cpu-second": round(_work_off(ledger, frames), 1) for name in ("new", "again")}
        with ledger.read() as c:
            stored = c.execute(sa.select(sa.func.count()).select_from(observation)).scalar_one()
        assert stored == 25 * messages, "the second pass wrote nothing"
        return figures
    finally:
        ledger.close()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--url", help="a ledger elsewhere than in a temporary SQLite file")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="bench-oru-") as folder:
        where = arguments.url or Path(folder) / "ledger.db"
        figures = processing_figures(where, SHORT_MESSAGES if arguments.short else MESSAGES)
    print("RESULT oru-processing " + " ".join(f"{name}={value}" for name, value in figures.items()))


def _work_off(ledger: Ledger, frames: list[StoredFrame]) -> float:
    settings = Clinical()
    began = time.process_time()
    for start in range(0, len(frames), BATCH):
        with ledger.begin() as c:
            process_frames(c, frames[start : start + BATCH], RULES, settings=settings)
    return len(frames) / (time.process_time() - began)


def _frame(number: int) -> StoredFrame:
    """A result with an order of its own: every code is in the code table, half of them stand twice."""
    rows = [
        f"OBX|{n + 1}|NM|{code}^Analyte name^LN^X{n}^local^L|{n}|{value}|{unit}^^UCUM||N|||F|||20250309083000"
        for n, (code, value, unit) in enumerate((VALUES * 2)[:25])
    ]
    order = f"OBR|1|P{number}^RIS|F{number}^LAB|24323-8^Panel^LN|||20250309083000" + "|" * 15 + "20250309090000||LAB|F"
    body = message("ORU^R01^ORU_R01", pid(str(200_000 + number % PATIENTS)), order, *rows, control=str(number))
    return StoredFrame(seq=PATIENTS + number, received_at=RECEIVED, body=body)


def _admission(number: int) -> StoredFrame:
    body = message("ADT^A04", pid(str(200_000 + number)), control=f"A{number}")
    return StoredFrame(seq=number + 1, received_at=RECEIVED, body=body)


if __name__ == "__main__":
    main()
