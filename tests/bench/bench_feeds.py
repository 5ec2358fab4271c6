"""`make bench-feeds`: the HL7 reader and listener beside `hl7` and `hl7apy`, and the CSV import, in one run.

Readers and listeners are interleaved and shuffled, and ratios are taken per round, so that all stand under the same
load of the machine. The exit status is 0 only if every bar holds; a missed one is named, never loosened. The peers
store nothing before they answer, which is said in the report and not corrected for.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from bench.csv_import import csv_figures
from bench.er7_readers import READERS
from bench.facts import machine
from bench.frame import Benchmark, Report
from bench.mllp_load import load, running
from bench.mllp_servers import NAMES
from support.hl7_samples import adt, oru

ROUNDS = 7
CSV_ROWS, SHORT_CSV_ROWS = 1_000_000, 2_000
MESSAGES = {"adt": adt(), "oru25": oru(25), "oru200": oru(200)}
READ_SECONDS, SHORT_READ_SECONDS = 0.4, 0.02
"""CPU seconds that a reader works in one cell, at least one message."""
LOADS = {1: 400, 32: 1600}
SHORT_LOADS = {1: 16, 4: 32}
SLOW = {"hl7apy": 8}
"""Sent this many times fewer messages."""
P50_MS = "inbox-full-1-connection-p50-ms"
MOST = {P50_MS: 5.0, "csv-rss-mb": 250.0, "csv-changes-again": 0.0}
"""Largest values allowed: performance.md section 5 row 14, issue 4 item 5."""


def main() -> int:
    benchmark = Benchmark(
        name="feeds",
        description=__doc__,
        short="2 rounds, few messages and rows: shows that it runs",
        folder="where inbox and CSV go: the file system to be measured",
        rounds=ROUNDS,
        run=lambda folder, short, rounds: _run(folder, short=short, rounds=rounds),
        show=_print,
    )
    return benchmark.main()


def _run(folder: Path, *, short: bool, rounds: int) -> Report:
    report: Report = {"machine": machine(folder), "rounds": rounds, "short": short}
    report["peers"] = {name: version(name) for name in ("hl7", "hl7apy")}
    report["bytes"] = {name: len(frame) for name, frame in MESSAGES.items()}
    for name, frame in MESSAGES.items() if not short else ():
        assert READERS["osteon"](frame) == READERS["hl7"](frame) == READERS["hl7apy"](frame), f"{name}: other values"
    report["readers"] = [
        cell
        for number in range(rounds)
        for cell in _read_round(number, seconds=SHORT_READ_SECONDS if short else READ_SECONDS)
    ]
    report["listeners"] = _listen(folder, SHORT_LOADS if short else LOADS, rounds)
    report["csv"] = _csv(folder, SHORT_CSV_ROWS if short else CSV_ROWS)
    report["machine"]["load_after"] = machine(folder)["load"]
    _judge(report)
    return report


def _read_round(number: int, *, seconds: float) -> list[Report]:
    """Messages per CPU second of every reader for every message, in random order."""
    pairs = [(reader, name) for reader in READERS for name in MESSAGES]
    return [
        {"round": number, "reader": reader, "message": name, "per_cpu_second": round(_speed(reader, name, seconds), 1)}
        for reader, name in random.sample(pairs, len(pairs))
    ]


def _speed(reader: str, name: str, seconds: float) -> float:
    read, frame = READERS[reader], MESSAGES[name]
    count, began = 0, time.process_time()
    while time.process_time() - began < seconds or not count:
        read(frame)
        count += 1
    return count / (time.process_time() - began)


def _listen(folder: Path, loads: dict[int, int], rounds: int) -> list[Report]:
    cells = []
    with ExitStack() as stack:
        servers = [stack.enter_context(running(name, folder / name)) for name in NAMES]
        for server in servers:
            load(server, connections=1, messages=5)  # warm
        for number in range(rounds):
            for connections, messages in random.sample(sorted(loads.items()), len(loads)):
                for server in random.sample(servers, len(servers)):
                    count = max(messages // SLOW.get(server.name, 1), connections)
                    cell = load(server, connections=connections, messages=count)
                    cells.append(
                        {
                            "round": number,
                            "server": server.name,
                            "connections": connections,
                            "messages_per_second": round(cell.messages_per_second, 1),
                            "cpu_ms_per_message": round(cell.cpu_ms_per_message, 3),
                            "rss_mb": round(cell.rss_mb, 1),
                            "answers_ms": [round(one, 3) for one in cell.answers_ms],
                        }
                    )
    return cells


def _csv(folder: Path, rows: int) -> dict[str, float]:
    """Figures of the CSV import, which knows best how to measure itself; `rss_mb` ends the names of peak memories."""
    place = folder / "csv"
    place.mkdir()
    return {name: round(value, 3) for name, value in csv_figures(place, rows).items()}


def _judge(report: Report) -> None:
    headline: dict[str, float] = {}
    for name in MESSAGES:
        for peer in READERS:
            if peer != "osteon":
                headline[f"read-{name}-osteon/{peer}"] = _median(_paired(report["readers"], name, peer))
    durable = [c for c in report["listeners"] if c["server"] == "osteon" and c["connections"] == 1]
    headline[P50_MS] = _median([statistics.median(c["answers_ms"]) for c in durable])
    memories = [value for name, value in report["csv"].items() if name.endswith("rss_mb")]
    if memories:
        headline["csv-rss-mb"] = max(memories)
    if "changes_again" in report["csv"]:
        headline["csv-changes-again"] = report["csv"]["changes_again"]
    missed = [f"{name}(not measured)" for name in MOST if name not in headline]
    missed += [name for name, bar in MOST.items() if headline.get(name, 0) > bar]
    report |= {"headline": headline, "missed": missed, "bars": MOST}


def _paired(cells: list[Report], message: str, peer: str) -> list[float]:
    """One ratio of speeds for each round."""
    speed = {(c["round"], c["reader"]): c["per_cpu_second"] for c in cells if c["message"] == message}
    return [speed[r, "osteon"] / speed[r, peer] for r in sorted({number for number, _ in speed})]


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 2)


def _print(report: Report) -> None:
    print(f"machine: {report['machine']}")
    for name, size in report["bytes"].items():
        for reader in READERS:
            speeds = [c["per_cpu_second"] for c in report["readers"] if (c["message"], c["reader"]) == (name, reader)]
            spread = f"({min(speeds):.0f}-{max(speeds):.0f})"
            print(f"read {name:7} {size:6} B {reader:16} {statistics.median(speeds):9.1f} messages/CPU-s {spread}")
    for connections in sorted({c["connections"] for c in report["listeners"]}):
        for name in NAMES:
            cells = [c for c in report["listeners"] if (c["connections"], c["server"]) == (connections, name)]
            answers = sorted(one for cell in cells for one in cell["answers_ms"])
            print(
                f"listen K={connections:<3} {name:16} p50 {answers[len(answers) // 2]:8.2f} "
                f"p99 {answers[int(len(answers) * 0.99)]:8.2f} ms  "
                f"{_median([c['messages_per_second'] for c in cells]):8.1f} messages/s  "
                f"CPU {statistics.median(c['cpu_ms_per_message'] for c in cells):7.3f} ms  "
                f"RSS {max(c['rss_mb'] for c in cells):.0f} MB"
            )
    for name, value in report["csv"].items():
        print(f"csv {name:40} {value:12.3f}")
    for name, value in report["headline"].items():
        bar = f" <= {MOST[name]}" if name in MOST else ""
        print(f"{name:40} {value:10.2f}{bar}{'  MISSED' if name in report['missed'] else ''}")


if __name__ == "__main__":
    sys.exit(main())
