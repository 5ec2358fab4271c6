"""`make bench-ledger`: does a case cost more when 100,000 others wait or lie behind it?

Fills a ledger with a backlog and drains it by the node's own dispatcher, on SQLite and on PostgreSQL. Bar (issue 7):
the cost of a case at the end is at most 1.2 times that at the start, in CPU and in wall time. "Start" and "end" are
medians over blocks of cases: one worker has the first and the last tenth, two workers have the second and the last but
one. The cases between are ended by the same statements, many in a transaction: what is claimed there is not the time,
only that they lie behind.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
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

CASES, SHORT_CASES = 100_000, 5_000
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
    rows = _measured("sqlite", str(folder / "ledger.db"), report["cases"], asked)
    if not short:
        try:
            with cluster() as server:
                rows += _measured("postgresql", server.empty_database(), CASES, asked)
        except pytest.skip.Exception as absent:
            missing.append(f"postgresql: {absent}")
    ratios = {f"{row['database']}_{row['workers']}w_{kind}": row[kind]["ratio"] for row in rows for kind in _KINDS}
    report |= {"rows": rows, "missing": missing, "headline": ratios | {"cases": report["cases"]}}
    report["missed"] = [name for name, ratio in ratios.items() if ratio > LARGEST_RATIO] + missing
    return report


_KINDS = ("fill_ms", "wall_ms", "cpu_ms")


def _measured(database: str, url: str, count: int, workers: Sequence[int]) -> list[dict[str, Any]]:
    """A row for each number of workers, over one backlog: who begins it ends it, so each stands at both ends."""
    print(f"{database}: filling", flush=True)
    fill = _ends([wall for wall, _ in _fill(url, count)])
    share = count // 10
    began = {number: _drain(url, number, share) for number in workers}
    print(f"{database}: between the ends", flush=True)
    # Two blocks are left over: a worker that is told to stop has already begun the next case.
    _worker(url, count - 2 * share * len(workers) - 2 * BLOCK, "--in-bulk").communicate()
    ended = {number: _drain(url, number, share) for number in reversed(workers)}
    _drain(url, 1, count)  # what the last blocks left
    _prove_empty(url, count)
    return [
        {
            "database": database,
            "workers": number,
            "fill_ms": fill,
            "wall_ms": _ratio([wall for wall, _ in began[number]], [wall for wall, _ in ended[number]]),
            "cpu_ms": _ratio([cpu for _, cpu in began[number]], [cpu for _, cpu in ended[number]]),
        }
        for number in workers
    ]


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


def _drain(url: str, workers: int, count: int) -> list[Block]:
    """Blocks of all workers in the order in which they ended; wall time is that of one worker."""
    print(f"  {workers} worker(s), {count} cases", flush=True)
    started = [_worker(url, count // workers) for _ in range(workers)]
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


def _worker(url: str, count: int, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.ledger_worker", url, str(count), *options]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


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
    return _ratio(values[:tenth], values[-tenth:])


def _ratio(began: list[float], ended: list[float]) -> dict[str, float]:
    start, end = statistics.median(began), statistics.median(ended)
    return {"start": round(start, 3), "end": round(end, 3), "ratio": round(end / start, 3)}


def _show(report: dict[str, Any]) -> None:
    print(f"{'database':<12}{'workers':>8}" + "".join(f"{kind + ' start/end/ratio':>28}" for kind in _KINDS))
    for row in report["rows"]:
        shown = (f"{row[kind]['start']} / {row[kind]['end']} / {row[kind]['ratio']}" for kind in _KINDS)
        cells = "".join(f"{text:>28}" for text in shown)
        print(f"{row['database']:<12}{row['workers']:>8}{cells}")
    for line in report["missing"]:
        print(line)


if __name__ == "__main__":
    sys.exit(main())
