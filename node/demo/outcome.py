"""What the demo found for each patient: the report that lies in the PACS, checked, beside the truth of the phantom."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from rich.table import Table

from dicom_io.header import read_header
from dicom_io.reference_header import reference_header
from dicom_io.report_check import check_report
from dicom_io.results import Installation, ReportContext, ReportInvalid
from model.domain import Scored
from node.case import Delivered
from node.demo.phantoms import PhantomFilm

JUDGE: Final = "dciodvfy"
"""Independent validator of DICOM objects (Debian `dicom3tools`), used where it is installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientOutcome:
    """One patient's report."""

    film: PhantomFilm
    result: Scored
    latency: float
    """Seconds from the acknowledged image to the proof that the PACS has the report."""
    problems: tuple[str, ...]
    """What is wrong with the objects in the PACS; empty is what the demo asks for."""


def examine(film: PhantomFilm, case: Delivered, objects: dict[str, bytes], folder: Path) -> PatientOutcome:
    """Check what the PACS holds for one film; the files are left in `folder`."""
    stem = film.identity.identifiers[0].value
    image = folder / f"{stem}.image.dcm"
    image.write_bytes(film.object.part10)
    problems = []
    for kind, part10 in objects.items():
        path = folder / f"{stem}.{kind}.dcm"
        path.write_bytes(part10)
        problems += _judged(path)
    try:
        reference = reference_header(read_header(image))
        companions = {"page": objects["page"]}
        check_report(objects["sr"], companions, reference=reference, result=case.result, context=_context(case))
    except ReportInvalid as error:
        problems += error.broken
    seconds = (case.proofs[-1].at - case.source.received_at).total_seconds()
    return PatientOutcome(film=film, result=case.result, latency=seconds, problems=tuple(problems))


def _context(case: Delivered) -> ReportContext:
    """As the demo's node has it, as far as a check looks at it: the defaults, and a first version."""
    return ReportContext(
        site_name="Osteon demo",
        zone=ZoneInfo("UTC"),
        ae_title="OSTEON",
        installation=Installation(namespace=uuid.NAMESPACE_DNS, serial="DEMO"),
        node_version="demo",
        at=case.proofs[-1].at,
    )


def table(outcomes: list[PatientOutcome]) -> Table:
    """The demo's table: truth, probabilities, category, latency."""
    shown = Table(
        title="Six simulated patients; true T is the phantom's, the node never saw it", box=None, padding=(0, 1)
    )
    for column in ("patient", "sex", "age", "true T", "image", "clinical", "fused", "category", "latency"):
        shown.add_column(column, justify="left" if column in ("patient", "sex", "category") else "right", no_wrap=True)
    for outcome in outcomes:
        patient, result = outcome.film.patient, outcome.result
        shown.add_row(
            outcome.film.identity.identifiers[0].value,
            patient.sex,
            f"{patient.age_years:.0f}",
            f"{patient.t_lowest:+.1f}",
            _percent(result.p_image),
            _percent(result.p_clinical),
            _percent(result.p_fused),
            result.category,
            f"{outcome.latency:.1f} s",
        )
    return shown


def _judged(path: Path) -> list[str]:
    """Errors the independent validator reports; none where it is not installed."""
    if shutil.which(JUDGE) is None:
        return []
    judged = subprocess.run([JUDGE, "-new", str(path)], capture_output=True, text=True, check=False)  # noqa: S603
    return [line for line in judged.stderr.splitlines() if line.startswith("Error")]


def _percent(probability: float | None) -> str:
    return "no data" if probability is None else f"{100 * probability:.1f} %"
