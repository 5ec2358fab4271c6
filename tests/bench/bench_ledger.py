"""`make bench-ledger`: does a case cost more when 100,000 others wait or lie behind it?

Fills a ledger with a backlog and drains it with 1 and with 2 worker processes of the node's own dispatcher, on SQLite
and on PostgreSQL. Bar (issue 7): the cost of a case at the end is at most 1.2 times that at the start, in CPU and in
wall time. "Start" and "end" are the medians over the blocks of the first and of the last tenth.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bench.facts import machine
from bench.frame import ROOT, Benchmark
from bench.ledger_worker import BLOCK
from support.ledgers import source
from support.postgres import cluster

from node.store import cases, jobs
from node.store.engine import open_ledger
from node.tasks import ADVANCE, INFER_LANE, advance_key

CASES, SHORT_CASES = 100_000, 1_500
GROUP = 250
"""Cases received in one transaction, as a burst of senders has them."""
WORKERS = (1, 2)
LARGEST_RATIO = 1.2

Block = tuple[float, float]
"""Wall and CPU milliseconds of one case, mean over a block of cases."""


def main() -> int:
    benchmark = Benchmark(
        name="ledger",
        description=__doc__,
        short=f"{SHORT_CASES} cases, SQLite only: shows that it runs",
        folder="where the ledger goes: the file system to be measured",
        rounds=1,
        run=lambda folder, short, _rounds: _run(folder, short=short),
        show=_show,
    )
    return benchmark.main()


def _run(folder: Path, *, short: bool) -> dict[str, Any]:
    report: dict[str, Any] = {"machine": machine(folder), "rounds": 1, "cases": SHORT_CASES if short else CASES}
    missing = []
    asked = WORKERS[:1] if short else WORKERS
    rows = [_measured("sqlite", str(folder / f"ledger-{n}.db"), report["cases"], n) for n in asked]
    if not short:
        try:
            with cluster() as server:
                rows += [_measured("postgresql", server.empty_database(), CASES, n) for n in WORKERS]
        except pytest.skip.Exception as absent:
            missing.append(f"postgresql: {absent}")
    ratios = {f"{row['database']}_{row['workers']}w_{kind}": row[kind]["ratio"] for row in rows for kind in _KINDS}
    report |= {"rows": rows, "missing": missing, "headline": ratios | {"cases": report["cases"]}}
    report["missed"] = [name for name, ratio in ratios.items() if ratio > LARGEST_RATIO] + missing
    return report


_KINDS = ("fill_ms", "wall_ms", "cpu_ms")


def _measured(database: str, url: str, count: int, workers: int) -> dict[str, Any]:
    print(f"{database}, {workers} worker(s): filling", flush=True)
    filled = _fill(url, count)
    print(f"{database}, {workers} worker(s): draining", flush=True)
    began = time.monotonic()
    drained = _drain(url, workers)
    seconds = time.monotonic() - began
    _prove_empty(url, count)
    walls, cpus = [wall for wall, _ in drained], [cpu for _, cpu in drained]
    return {
        "database": database,
        "workers": workers,
        "cases_per_s": round(count / seconds, 1),
        "fill_ms": _ends([wall for wall, _ in filled]),
        "wall_ms": _ends(walls),
        "cpu_ms": _ends(cpus),
    }


def _fill(url: str, count: int) -> list[Block]:
    ledger = open_ledger(url)
    blocks = []
    for first in range(0, count, GROUP):
        wall, cpu = time.perf_counter(), time.process_time()
        with ledger.begin() as c:
            for number in range(first, first + GROUP):
                received = cases.receive(c, source(number, study=number))
                jobs.enqueue(c, ADVANCE, advance_key(received.case_id), lane=INFER_LANE)
        blocks.append((_milliseconds(time.perf_counter() - wall), _milliseconds(time.process_time() - cpu)))
    ledger.close()
    return blocks


def _milliseconds(seconds_of_a_group: float) -> float:
    return seconds_of_a_group * 1000 / GROUP


def _drain(url: str, workers: int) -> list[Block]:
    """Blocks of all workers in the order in which they ended; wall time is that of one worker."""
    command = [sys.executable, "-m", "bench.ledger_worker", url]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "/usr/bin:/bin"}
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(workers)]
    blocks: list[tuple[float, Block]] = []
    for process in started:
        stamps = [tuple(map(float, line.split())) for line in process.communicate()[0].splitlines()]
        if process.returncode != 0:
            msg = f"a worker ended with {process.returncode}"
            raise RuntimeError(msg)
        for (before, cpu_before), (after, cpu_after) in itertools.pairwise(stamps):
            block = ((after - before) * 1000 / BLOCK, (cpu_after - cpu_before) * 1000 / BLOCK)
            blocks.append((after, block))
    return [block for _, block in sorted(blocks)]


def _prove_empty(url: str, count: int) -> None:
    ledger = open_ledger(url)
    with ledger.read() as c:
        ended = cases.count_by_state(c)["NotApplicable"]
    ledger.close()
    if ended != count:
        msg = f"{count - ended} of {count} cases were not ended"
        raise RuntimeError(msg)


def _ends(values: list[float]) -> dict[str, float]:
    tenth = max(1, len(values) // 10)
    start, end = statistics.median(values[:tenth]), statistics.median(values[-tenth:])
    return {"start": round(start, 3), "end": round(end, 3), "ratio": round(end / start, 3)}


def _show(report: dict[str, Any]) -> None:
    print(
        f"{'database':<12}{'workers':>8}{'cases/s':>9}" + "".join(f"{kind + ' start/end/ratio':>28}" for kind in _KINDS)
    )
    for row in report["rows"]:
        shown = (f"{row[kind]['start']} / {row[kind]['end']} / {row[kind]['ratio']}" for kind in _KINDS)
        cells = "".join(f"{text:>28}" for text in shown)
        print(f"{row['database']:<12}{row['workers']:>8}{row['cases_per_s']:>9}{cells}")
    for line in report["missing"]:
        print(line)


if __name__ == "__main__":
    sys.exit(main())
