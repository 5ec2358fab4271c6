"""`osteon demo`: the main job on six simulated patients, with everything real except the patients.

A PACS (Orthanc where it is installed, else a small receiving AE), the node as `osteon serve` runs it, clinical data by
HL7 and CSV, images by C-STORE. The reports that come back are checked, shown, and left in the output folder.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from config.code_file import code_table
from config.settings import Destination
from dicom_io.reading import page_png, report_text
from node.case import Delivered
from node.demo import messages
from node.demo.node_process import NodeProcess, free_port
from node.demo.orthanc import AE_TITLE, OrthancPacs, orthanc_binary
from node.demo.outcome import PatientOutcome, examine, table
from node.demo.pacs import OrthancView, Pacs, SmallPacs
from node.demo.phantoms import PhantomFilm, demo_patients, film
from node.store import cases
from node.store.engine import open_ledger

PATIENTS: Final = 6
ROWS: Final = 1240
SEED: Final = 7
CLINICAL_WAIT: Final = 5.0
"""Seconds; the sixth patient has no clinical data, so the demo shows the image-only report after this wait."""
REPORTS_LIMIT: Final = 150.0
CONFIGURATION: Final = """\
[site]
name = "Osteon demo"

[storage]
data_dir = {data_dir}

[reception]
port = {dicom_port}

[clinical]
wait = {wait}

[clinical.codes]
confirmed_by = "demo"
confirmed_version = "{codes}"

[clinical.mllp]
port = {mllp_port}

[clinical.csv]
folder = {drop}
poll = 0.5
settle = 0.2

[delivery]
backoff_first = 1.0

[[delivery.destinations]]
name = "pacs"
ae_title = "{pacs_ae}"
host = "127.0.0.1"
port = {pacs_port}
"""


def run_demo(out: Path, *, with_orthanc: bool) -> int:
    """Run the demo into `out` (emptied first); exit status 0 only if every report arrived and is valid."""
    console = Console()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    dicom_port, mllp_port, pacs_port, http_port = (free_port() for _ in range(4))
    pacs: Pacs
    if with_orthanc and orthanc_binary() is not None:
        orthanc = OrthancPacs(
            out / "orthanc", dicom_port=pacs_port, http_port=http_port, node_ae="OSTEON", node_port=dicom_port
        )
        pacs = OrthancView(orthanc)
    else:
        node_address = Destination(name="node", ae_title="OSTEON", host="127.0.0.1", port=dicom_port)
        pacs = SmallPacs(out / "pacs", port=pacs_port, node=node_address)
    data_dir, drop = out / "node", out / "drop"
    configuration = CONFIGURATION.format(
        data_dir=json.dumps(str(data_dir)),
        drop=json.dumps(str(drop)),
        wait=CLINICAL_WAIT,
        codes=code_table().version,
        dicom_port=dicom_port,
        mllp_port=mllp_port,
        pacs_ae=AE_TITLE,
        pacs_port=pacs_port,
    )
    console.print(f"PACS: {pacs.name}. Node: osteon serve, DICOM port {dicom_port}, HL7 port {mllp_port}.")
    with pacs, NodeProcess(out, configuration, ports=(dicom_port, mllp_port)):
        outcomes = _main_job(pacs, out, data_dir, drop, mllp_port)
    return _show(console, outcomes, out)


def _main_job(pacs: Pacs, out: Path, data_dir: Path, drop: Path, mllp_port: int) -> list[PatientOutcome]:
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        films = []
        rendering = progress.add_task("rendering phantom films", total=PATIENTS)
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        for number, patient in enumerate(demo_patients(PATIENTS, SEED), start=1):
            films.append(film(patient, number=number, taken_at=now, rows=ROWS, seed=SEED))
            progress.advance(rendering)
        _send_clinical_data(films, now, mllp_port, drop)
        sending = progress.add_task("images to the PACS", total=PATIENTS)
        for made in films:
            pacs.submit(made.object)
            progress.advance(sending)
        return _await_reports(films, pacs, out, data_dir, progress, progress.add_task("reports back", total=PATIENTS))


def _send_clinical_data(films: list[PhantomFilm], now: dt.datetime, mllp_port: int, drop: Path) -> None:
    """The last patient has no clinical data, the one before comes by CSV, all others by HL7."""
    visits = [
        messages.Visit(
            identity=f.identity,
            weight_kg=f.patient.weight_kg,
            height_cm=f.patient.height_cm,
            measured_at=now - dt.timedelta(days=10 * number),
            accession=f.accession,
        )
        for number, f in enumerate(films, start=1)
    ]
    by_hl7, by_csv = visits[:-2], visits[-2:-1]
    frames = []
    for number, visit in enumerate(by_hl7, start=1):
        frames.append(messages.adt_a04(visit, control_id=f"A{number}", sent_at=now))
        frames.append(messages.oru_r01(visit, control_id=f"R{number}", sent_at=now))
    for answer in messages.send_mllp(mllp_port, frames):
        if b"|AA|" not in answer and b"\rMSA|AA" not in answer:
            msg = f"the HL7 listener answered {answer.split(b'MSA')[-1][:40]!r}"
            raise RuntimeError(msg)
    inbox = drop / "inbox"
    inbox.mkdir(parents=True, exist_ok=True)
    partial = inbox / "vitals.csv.part"
    partial.write_text(messages.observations_csv(by_csv), encoding="utf-8")
    partial.rename(inbox / "vitals.csv")


def _await_reports(
    films: list[PhantomFilm], pacs: Pacs, out: Path, data_dir: Path, progress: Progress, bar: TaskID
) -> list[PatientOutcome]:
    """Wait until each film's case is delivered and both objects lie in the PACS; those that did within the limit."""
    ledger = open_ledger(data_dir / "ledger.db")
    done: dict[str, PatientOutcome] = {}
    deadline = time.monotonic() + REPORTS_LIMIT
    while len(done) < len(films) and time.monotonic() < deadline:
        for made in films:
            if made.accession in done:
                continue
            with ledger.read() as c:
                case = cases.by_uid(c, made.object.sop_instance_uid)
            objects = pacs.results(made.study_uid) if isinstance(case, Delivered) else {}
            if isinstance(case, Delivered) and {"sr", "page"} <= objects.keys():
                done[made.accession] = examine(made, case, objects, out)
                progress.advance(bar)
        time.sleep(0.2)
    ledger.close()
    return [done[made.accession] for made in films if made.accession in done]


def _show(console: Console, outcomes: list[PatientOutcome], out: Path) -> int:
    for outcome in outcomes:
        stem = outcome.film.identity.identifiers[0].value
        (out / f"{stem}.page.png").write_bytes(page_png((out / f"{stem}.page.dcm").read_bytes()))
        text = report_text((out / f"{stem}.sr.dcm").read_bytes())
        (out / f"{stem}.sr.txt").write_text(text, encoding="utf-8")
        if outcome is outcomes[0]:
            console.rule(f"Structured Report of {stem}, as text")
            console.print(text, markup=False, highlight=False)
    console.print(table(outcomes))
    problems = [(o.film.accession, p) for o in outcomes for p in o.problems]
    for accession, problem in problems:
        console.print(f"{accession}: {problem}", style="bold", markup=False)
    if any(o.result.model.simulated_training for o in outcomes):
        console.print("Model TRAINED ON SIMULATED IMAGES - NOT FOR CLINICAL USE. The patients are simulated too.")
    console.print(f"Reports, pages, images and the node's log are in {out}/")
    valid = len(outcomes) - len({accession for accession, _ in problems})
    print(f"RESULT demo reports={len(outcomes)}/{PATIENTS} valid={valid}/{PATIENTS}")  # noqa: T201 - the last line
    return 0 if valid == PATIENTS else 1
