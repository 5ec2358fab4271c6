"""What the benchmarks that judge bars have in common: arguments, a scratch folder, the JSON file, the RESULT line."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[2]
SHORT_ROUNDS = 2

Report = dict[str, Any]
"""Holds `rounds`, `headline` (figures by name) and `missed` (names of bars) among all that was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One benchmark: `bench-NAME`, its JSON file NAME-<time>.json."""

    name: str
    description: str
    short: str
    """Help of `--short`."""
    folder: str
    """Help of `--folder`."""
    rounds: int
    run: Callable[[Path, bool, int], Report]
    """(scratch folder, short form, rounds) -> report."""
    show: Callable[[Report], None]

    def main(self) -> int:
        """Measure and report; 0 only if every bar holds. The short form shows that it runs and judges nothing."""
        arguments = self._arguments()
        began = time.monotonic()
        scratch = Path(tempfile.mkdtemp(prefix=f"bench-{self.name}-", dir=arguments.folder))
        try:
            report = self.run(scratch, arguments.short, SHORT_ROUNDS if arguments.short else arguments.rounds)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        report["seconds"] = round(time.monotonic() - began, 1)
        path = self._write(report, arguments.out)
        self.show(report)
        missed = report["missed"]
        figures = " ".join(f"{name}={value}" for name, value in report["headline"].items())
        named = ",".join(missed) or "none"
        print(f"RESULT bench-{self.name} rounds={report['rounds']} {figures} missed={named} json={path}")
        return 1 if missed and not arguments.short else 0

    def _arguments(self) -> argparse.Namespace:
        parser = argparse.ArgumentParser(description=self.description)
        parser.add_argument("--short", action="store_true", help=self.short)
        parser.add_argument("--rounds", type=int, default=self.rounds)
        parser.add_argument("--folder", type=Path, help=self.folder)
        parser.add_argument("--out", type=Path, default=RESULTS)
        return parser.parse_args()

    def _write(self, report: Report, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}-{time.strftime('%Y%m%dT%H%M%S')}.json"
        path.write_text(json.dumps(report, indent=1, default=str))
        return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
