"""`make bench-e2e`: from the C-STORE of an image to its SR at the PACS, beside the usual ways to build this.

Interleaved rounds on one machine, the same model in all: single studies, a burst, and for the node five minutes of one
study per second with clinical data present. Bars: issue 7 ("Shown by"). A missed one is named, never loosened.
"""

from __future__ import annotations

import random
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench.e2e_candidates import Candidate, Sink, candidates, listener_alone, sink
from bench.e2e_studies import Films, Sent, messages, store
from bench.facts import machine
from bench.frame import Benchmark

from node.cores import cores
from node.demo.messages import Visit, send_mllp

ROWS, SHORT_ROWS = 2480, 620
"""Of the films: 2480 x 2034 of 16 bit are 10 MB."""
FILMS = 4
SINGLES = {"exec": 1}
"""Per round; a cold start takes seconds."""
SINGLES_OTHERS = 3
SETTLE_SECONDS = 0.1
"""Before a single study, at every candidate: clinical data are present, not on their way into the node's ledger."""
BURST = 48
"""Long enough that what the first and the last study wait for does not count."""
SENDERS = max(2, cores())
"""Of a burst."""
LOAD_SECONDS = 300
ALONE_SECONDS = 60
"""At the same pace, for the answer without inference: one that comes out of an idle second is slower than the next."""
REPORT_SECONDS = 120.0

MOST = {
    "load_p50_s": 2.0,
    "load_p95_s": 10.0,
    "single_vs_limit": 1.15,
    "answer_at_load_vs_alone": 1.25,
}
LEAST = {"throughput_vs_limit_cores": 0.75, "exec_vs_osteon": 15.0, "poller_vs_osteon": 1.5}

Study = tuple[Sent, bytes, Visit]


def main() -> int:
    benchmark = Benchmark(
        name="e2e",
        description=__doc__,
        short="2 rounds of small films, node and limit only, no load phase: shows that it runs",
        folder="where spools and archives go: the file system to be measured",
        rounds=5,
        run=lambda folder, short, rounds: _run(folder, short=short, rounds=rounds),
        show=_show,
    )
    return benchmark.main()


def _run(folder: Path, *, short: bool, rounds: int) -> dict[str, Any]:
    print("rendering films", flush=True)
    films = Films(2 if short else FILMS, SHORT_ROWS if short else ROWS, folder).studies()
    report: dict[str, Any] = {"machine": machine(folder), "rounds": rounds, "short": short}
    cells: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with sink() as to, candidates(folder, to, short=short) as (found, missing):
        report |= {"candidates": {one.name: one.note for one in found}, "missing": missing}
        for one in found:
            for port in one.ports:
                _single(one, to, films, port)  # warm
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            for one in random.Random(number).sample(found, len(found)):
                _measure(one, to, films, cells[one.name], short=short)
        if not short:
            print(f"one study per second for {ALONE_SECONDS} s without workers, {LOAD_SECONDS} s with them", flush=True)
            with listener_alone(folder / "alone", to) as alone:
                report["alone"] = {"answer_p50_ms": statistics.median(_paced(alone, films, ALONE_SECONDS)[1])}
            report["load"] = _load(found[0], to, films)
    report["cells"] = {name: dict(values) for name, values in cells.items()}
    _judge(report)
    return report


def _measure(one: Candidate, to: Sink, films: Iterator[Study], cell: dict[str, list[float]], *, short: bool) -> None:
    if one.single:
        often = 1 if short else SINGLES.get(one.name, SINGLES_OTHERS)
        singles = [_single(one, to, films, one.ports[0]) for _ in range(often)]
        cell["latency_s"].append(statistics.median(latency for latency, _ in singles))
        cell["answer_ms"].append(statistics.median(answer for _, answer in singles))
    if one.burst:
        cell["images_per_s"].append(_burst(one, to, films, 3 if short else BURST))


def _prepared(one: Candidate, films: Iterator[Study]) -> Study:
    """The next study, its clinical data at the candidate where it takes such."""
    sent, dataset, visit = next(films)
    if one.mllp_port is not None:
        answers = send_mllp(one.mllp_port, messages(visit, int(sent.patient_id[1:])))
        if not all(b"MSA|AA" in answer for answer in answers):
            msg = "the HL7 listener did not accept the patient"
            raise RuntimeError(msg)
    return sent, dataset, visit


def _single(one: Candidate, to: Sink, films: Iterator[Study], port: int) -> tuple[float, float]:
    """Seconds from the request to the SR at the PACS, and milliseconds to the C-STORE's answer."""
    sent, dataset, _ = _prepared(one, films)
    time.sleep(SETTLE_SECONDS)
    began = time.time()
    answered = store(port, sent, dataset)
    return to.wait(sent.study_uid, REPORT_SECONDS) - began, 1000 * (answered - began)


def _burst(one: Candidate, to: Sink, films: Iterator[Study], count: int) -> float:
    """Studies per second from the first request to the last report; the senders never make the candidate wait."""
    studies = [_prepared(one, films) for _ in range(count)]
    began = time.time()
    senders = [
        threading.Thread(target=_send, args=(one.ports[n % len(one.ports)], studies[n::SENDERS]))
        for n in range(SENDERS)
    ]
    for sender in senders:
        sender.start()
    last = max(to.wait(sent.study_uid, REPORT_SECONDS) for sent, _, _ in studies)
    for sender in senders:
        sender.join()
    return count / (last - began)


def _send(port: int, studies: Sequence[Study]) -> None:
    for sent, dataset, _ in studies:
        store(port, sent, dataset)


def _load(one: Candidate, to: Sink, films: Iterator[Study]) -> dict[str, float]:
    """Reports after the answer of their image, at one study per second whether the last one is done or not."""
    answered, answers = _paced(one, films, LOAD_SECONDS)
    delays = [to.wait(study, REPORT_SECONDS) - at for study, at in answered.items()]
    p50, p95, p99 = np.percentile(delays, (50, 95, 99))
    return {
        "p50_s": float(p50),
        "p95_s": float(p95),
        "p99_s": float(p99),
        "answer_p50_ms": statistics.median(answers),
        "studies": float(len(delays)),
    }


def _paced(one: Candidate, films: Iterator[Study], seconds: int) -> tuple[dict[str, float], list[float]]:
    """One study per second: when each was answered, and the milliseconds of each answer."""
    answered: dict[str, float] = {}
    answers: list[float] = []
    began = time.time()
    for number in range(seconds):
        sent, dataset, _ = _prepared(one, films)
        time.sleep(max(0.0, began + number - time.time()))
        at = time.time()
        answered[sent.study_uid] = store(one.ports[0], sent, dataset)
        answers.append(1000 * (answered[sent.study_uid] - at))
    return answered, answers


def _judge(report: dict[str, Any]) -> None:
    cells, ours = report["cells"], report["cells"]["osteon"]
    figures = {"single_vs_limit": _paired(ours["latency_s"], cells["limit"]["latency_s"])}
    figures["throughput_vs_limit_cores"] = _paired(ours["images_per_s"], cells["limits"]["images_per_s"])
    # What the cores would do if each did as much as one does alone; told, since they do not.
    alone = _paired(ours["images_per_s"], cells["limit"]["images_per_s"]) / cores()
    figures["throughput_vs_one_core_x_cores"] = alone
    figures["cores_scale"] = _paired(cells["limits"]["images_per_s"], cells["limit"]["images_per_s"])
    for name in ("exec", "poller", "handler"):
        if name in cells:
            figures[f"{name}_vs_osteon"] = _paired(cells[name]["latency_s"], ours["latency_s"])
    if load := report.get("load"):
        figures |= {"load_p50_s": load["p50_s"], "load_p95_s": load["p95_s"], "load_p99_s": load["p99_s"]}
        figures["answer_at_load_vs_alone"] = load["answer_p50_ms"] / report["alone"]["answer_p50_ms"]
    figures["single_s"] = statistics.median(ours["latency_s"])
    figures["images_per_s"] = statistics.median(ours["images_per_s"])
    report["headline"] = {name: round(value, 3) for name, value in figures.items()}
    missed = [f"{name}<={bar}" for name, bar in MOST.items() if figures.get(name, bar + 1) > bar]
    missed += [f"{name}>={bar}" for name, bar in LEAST.items() if figures.get(name, 0.0) < bar]
    report["missed"] = missed


def _paired(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _show(report: dict[str, Any]) -> None:
    print(
        f"{'candidate':<10}{'single s':>10}{'answer ms':>11}{'studies/s':>11}  (medians of {report['rounds']} rounds)"
    )
    for name, cell in report["cells"].items():
        figures = [
            f"{statistics.median(cell[kind]):.{digits}f}" if kind in cell else "-"
            for kind, digits in (("latency_s", 3), ("answer_ms", 1), ("images_per_s", 2))
        ]
        print("{:<10}{:>10}{:>11}{:>11}  {}".format(name, *figures, report["candidates"][name]))
    for name, value in report.get("load", {}).items():
        print(f"1 study/s: {name} = {value:.3f}")
    for line in report["missing"]:
        print(line)


if __name__ == "__main__":
    sys.exit(main())
