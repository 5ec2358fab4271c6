"""How long one report takes: SR and page, built, checked and serialised, and how large they are (issue 6).

`make bench-report`; the bars are medians on 2 cores at idle, over a film of the size detectors deliver.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench.frame import Benchmark, Report
from support.report_cases import context, header, limited, radiograph

from dicom_io.envelope import part10
from dicom_io.page import build_page
from dicom_io.reference_header import reference_header
from dicom_io.report import build_report
from dicom_io.report_check import check_report
from dicom_io.results import build_results
from dicom_io.sr_class import SR_CLASSES, in_class

BARS_MS = {"sr": 150.0, "page": 300.0}
SHAPE = (2500, 2048)
SHORT_SHAPE = (500, 410)
_BUILDS_A_ROUND = 5


def measure(_folder: Path, short: bool, rounds: int) -> Report:  # noqa: FBT001 - the frame's form
    """Medians in ms and sizes in bytes."""
    shape = SHORT_SHAPE if short else SHAPE
    source = header(Rows=shape[0], Columns=shape[1])
    film = radiograph(pixels=np.linspace(0, 1, shape[0] * shape[1], dtype=np.float32).reshape(shape))
    result, site = limited(analysed_region=(0, 0, *shape)), context()
    reference = reference_header(source)
    page, sr = build_results(source, film, result, site)

    def build_sr() -> bytes:
        document = build_report(copy.deepcopy(reference.dataset), film, result, site, digest="d")
        return part10(document)

    def build_one_page() -> bytes:
        return part10(build_page(copy.deepcopy(reference.dataset), film, result, site, digest="d"))

    def check() -> None:
        check_report(sr.part10, {"page": page.part10}, reference=reference, result=result, context=site)

    steps: dict[str, Callable[[], Any]] = {
        "sr": build_sr,
        "page": build_one_page,
        "check": check,
        "class": lambda: in_class(sr.part10, SR_CLASSES["comprehensive3d"]),
        "whole": lambda: build_results(source, film, result, site),
    }
    measured = {name: _times(step, rounds * _BUILDS_A_ROUND) for name, step in steps.items()}
    times = {name: [wall for wall, _ in found] for name, found in measured.items()}
    medians = {name: statistics.median(found) for name, found in times.items()}
    cpu = {name: statistics.median(seconds for _, seconds in found) for name, found in measured.items()}
    return {
        "rounds": rounds,
        "shape": shape,
        "ms": times,
        "headline": {
            **{f"{name}_ms": round(value, 1) for name, value in medians.items()},
            **{f"{name}_cpu_ms": round(cpu[name], 1) for name in BARS_MS},
            "sr_kb": round(len(sr.part10) / 1000, 1),
            "page_kb": round(len(page.part10) / 1000, 1),
        },
        "missed": [f"{name}_ms" for name, bar in BARS_MS.items() if medians[name] > bar],
    }


def show(report: Report) -> None:
    """Least, median and most of each step."""
    for name, found in report["ms"].items():
        bar = f"  (bar {BARS_MS[name]:.0f} ms)" if name in BARS_MS else ""
        print(f"  {name:6} {min(found):7.1f} {statistics.median(found):7.1f} {max(found):7.1f} ms{bar}")


def _times(step: Callable[[], Any], count: int) -> list[tuple[float, float]]:
    """Wall and processor time in ms of each call: the second tells a busy machine from a slow step."""
    step()
    found = []
    for _ in range(count):
        began, used = time.perf_counter(), time.process_time()
        step()
        found.append((1000 * (time.perf_counter() - began), 1000 * (time.process_time() - used)))
    return found


BENCHMARK = Benchmark(
    name="report",
    description=__doc__ or "",
    short="a small film and few builds; shows that it runs",
    folder="scratch folder; nothing is written there",
    rounds=6,
    run=measure,
    show=show,
)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
