"""Every kind of report before every judge: `make validate-reports`; `--short` in CI.

dciodvfy over every object; dsrdump and dsr2html over those with a content tree; dcentvfy over what belongs together;
PixelMed over a sample, its output read, since it ends with 0 whatever it found. 0 errors is the bar.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from support import report_judges
from validate.matrix import SR_KINDS, Matrix, Subject, write_matrix

from dicom_io import wording

TOOLS = ("dciodvfy", "dsrdump", "dsr2html", "dcentvfy", "java")
FEWEST, FEWEST_TEMPLATES = 150, 12
PROCESSES = 2
_LABELS = {
    "sr": ("Screening category", "Intended use statement", "Algorithm Version", "Osteoporosis", "Image Region"),
    "note": ("Key Object Description", "Rejected for"),
    "kos": ("Key Object Description",),
}
"""What a plain renderer must show: with CONTINUOUS containers all labels are gone."""

Verdict = tuple[str, str, list[str]]
"""Judge, file, what it found."""


def judge(subject: Subject) -> list[Verdict]:
    """What the quick judges say about one file."""
    path = subject.path
    verdicts = [("dciodvfy", path.name, report_judges.iod_errors(path, copied=subject.copied))]
    if subject.kind in SR_KINDS:
        verdicts.append(("dsrdump", path.name, report_judges.tree_errors(path)))
        verdicts.append(("dsr2html", path.name, _reads_well(subject)))
    return verdicts


def judge_template(subject: Subject) -> list[Verdict]:
    """What PixelMed says."""
    return [("pixelmed", subject.path.name, report_judges.template_errors(subject.path))]


def judge_together(paths: Sequence[Path]) -> list[Verdict]:
    """What dcentvfy says about objects of one study."""
    return [("dcentvfy", paths[0].name, report_judges.entity_errors(paths))]


def _reads_well(subject: Subject) -> list[str]:
    text = report_judges.html(subject.path)
    missing = [f"{label!r} is not shown" for label in _LABELS[subject.kind] if label not in text]
    return missing + [f"says {phrase!r}" for phrase in wording.forbidden(text)]


def main() -> int:
    """Build, judge, count; 0 only without an error and with the full number of objects."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="one report of each kind, for CI")
    parser.add_argument("--keep", type=Path, help="folder for the objects; otherwise they are removed")
    arguments = parser.parse_args()
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or not report_judges.PIXELMED.exists():
        print(f"RESULT validate-reports missing={','.join(missing) or 'libpixelmed-java'}")
        return 1
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="validate-reports-") as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        matrix = write_matrix(folder, short=arguments.short)
        verdicts = _ask(matrix)
    return _tell(matrix, verdicts, short=arguments.short, seconds=time.monotonic() - began)


def _ask(matrix: Matrix) -> list[Verdict]:
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        templates = [one for one in matrix.subjects if one.template]
        asked = (
            pool.map_async(judge_template, templates, 1),
            pool.map_async(judge, matrix.subjects, 4),
            pool.map_async(judge_together, matrix.together, 1),
        )
        return [verdict for answers in asked for verdicts in answers.get() for verdict in verdicts]


def _tell(matrix: Matrix, verdicts: Sequence[Verdict], *, short: bool, seconds: float) -> int:
    runs = collections.Counter(judge for judge, _, _ in verdicts)
    errors = collections.Counter(judge for judge, _, found in verdicts for _ in found)
    for judge_name, name, found in verdicts:
        for line in found[:3]:
            print(f"  {judge_name}: {name}: {line}")
    print(f"{len(matrix.subjects)} objects: {dict(collections.Counter(s.kind for s in matrix.subjects))}")
    for judge_name in sorted(runs):
        print(f"  {judge_name:9} {runs[judge_name]:4} runs, {errors[judge_name]} errors")
    enough = short or (len(matrix.subjects) >= FEWEST and runs["pixelmed"] >= FEWEST_TEMPLATES)
    total = sum(errors.values())
    bars = "none" if total == 0 and enough else "errors" if total else "objects"
    print(
        f"RESULT validate-reports objects={len(matrix.subjects)} runs={runs.total()} pixelmed={runs['pixelmed']} "
        f"errors={total} seconds={seconds:.0f} missed={bars}"
    )
    return 0 if bars == "none" else 1


if __name__ == "__main__":
    sys.exit(main())
