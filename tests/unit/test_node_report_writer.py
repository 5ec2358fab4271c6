"""The process that writes SRs: the same bytes as the worker's own, never another report's, and never needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from support.hospital import await_true
from support.report_cases import context, header, radiograph, scored

from dicom_io import page
from dicom_io.envelope import Companion
from dicom_io.results import BuiltObject, ReportInvalid, build_results
from model.domain import Category, ClinicalInput
from node import report_writer
from node.report_writer import ReportWriter

PARENT = """
import time
from multiprocessing import active_children
from node.report_writer import ReportWriter
writer = ReportWriter()
print(active_children()[0].pid, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def writer() -> Iterator[ReportWriter]:
    started = ready_writer()
    yield started
    started.close()


def ready_writer() -> ReportWriter:
    started = ReportWriter()
    await_true(started._is_ready, "the writer is ready", limit=60)
    return started


def built(writer: ReportWriter | None, patient: str = "P1", **changes: object) -> tuple[BuiltObject, ...]:
    write = {} if writer is None else {"write": writer.write}
    return build_results(header(PatientID=patient), radiograph(), scored(), context(**changes), **write)


def patient_of(objects: tuple[BuiltObject, ...]) -> str:
    return str(dcmread(BytesIO(objects[-1].part10)).PatientID)


@pytest.mark.parametrize(
    "changes",
    [{}, {"with_page": False}, {"companions": tuple(Companion)}, {"attention_regions": True}],
    ids=["page", "no page", "companions", "regions"],
)
def test_both_processes_write_the_same_bytes(writer: ReportWriter, changes: dict[str, object]) -> None:
    before = writer._orders
    assert built(writer, **changes) == built(None, **changes)
    assert writer._orders == before + 1


def test_an_answer_left_lying_is_never_taken_for_the_next_report(writer: ReportWriter, monkeypatch) -> None:
    # The answer is there when the page fails, and nobody has read it.
    with monkeypatch.context() as broken:
        broken.setattr(page, "draw_page", lambda *_: int("no page") if writer._link.poll(10) else None)
        with pytest.raises(ReportInvalid):
            built(writer, "P1")
    assert patient_of(built(writer, "P2")) == "P2"
    assert patient_of(built(writer, "P3")) == "P3"


def test_what_cannot_be_written_fails_as_it_does_here_and_the_next_can(writer: ReportWriter) -> None:
    endless = (ClinicalInput(variable="weight", value=float("inf"), unit="kg"),)
    with pytest.raises(ReportInvalid, match="cannot be built"):
        build_results(header(), radiograph(), scored(inputs=endless), context(with_page=False), writer.write)
    assert built(writer) == built(None)
    assert writer._is_ready()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_writer_that_is_gone_or_hangs_costs_no_report(number: int, monkeypatch, capsys) -> None:
    monkeypatch.setattr(report_writer, "_ANSWER_SECONDS", 0.2)
    lost = ready_writer()
    process = lost._process
    os.kill(process.pid, number)
    for patient in ("P1", "P2"):
        assert built(lost, patient) == built(None, patient)
    assert "report.writer_lost" in "".join(capsys.readouterr())
    assert process.exitcode is not None
    assert not lost._is_ready()


def test_until_it_is_ready_and_after_its_end_reports_are_written_here() -> None:
    early = ReportWriter()
    assert built(early) == built(None)
    early.close()
    early.close()
    assert built(early) == built(None)


def test_it_ends_with_a_worker_that_was_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    orphan = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    await_true(lambda: not Path(f"/proc/{orphan}").exists(), "the writer ended with its worker", limit=30)


def test_every_category_can_be_ordered(writer: ReportWriter) -> None:
    for category in Category:
        here = build_results(header(), radiograph(), scored(category), context())
        assert build_results(header(), radiograph(), scored(category), context(), writer.write) == here
