"""`report.send_not_analysed`: a film that could not be assessed is reported as such, what is not meant for it never."""

import datetime as dt
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from support.dicom_objects import radiograph_dataset
from support.node_parts import FixedScreener, pipeline, receive

from model.domain import NotAssessed, Reason
from node.case import NotApplicable
from node.pipeline import Step
from node.store.engine import Ledger, open_ledger

AT = dt.datetime(2024, 3, 10, 12, 0, tzinfo=dt.UTC)
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}


@pytest.fixture
def book(tmp_path: Path):
    opened = open_ledger(str(tmp_path / "ledger.db"))
    yield opened
    opened.close()


def look(book: Ledger, folder: Path, *reasons: Reason, on: bool = True, **elements: object) -> Step:
    tables = {"report": {"send_not_analysed": on}, "delivery": {"destinations": [PACS]}}
    steps = pipeline(book, folder, at=AT, screener=FixedScreener(answer=NotAssessed(reasons=reasons)), **tables)
    return steps.advance(receive(book, steps.spool, radiograph_dataset(PatientName="Weber^Petra", **elements)))


def test_a_film_that_could_not_be_assessed_is_reported_so(book: Ledger, tmp_path: Path) -> None:
    step = look(book, tmp_path, Reason.SATURATED)
    assert isinstance(step.case, NotApplicable)
    assert [one.kind for one in step.objects] == ["page", "sr"]
    assert step.destinations == ("pacs",)
    document = dcmread(BytesIO(step.objects[-1].part10))
    assert document.CompletionFlag == "PARTIAL"
    assert str(document.PatientName) == "Weber^Petra"
    assert "not analysed" in step.why


@pytest.mark.parametrize("reason", [Reason.VIEW_LATERAL, Reason.AGE_UNDER, Reason.NOT_HUMAN])
def test_what_the_model_is_not_meant_for_is_never_spoken_of(book: Ledger, tmp_path: Path, reason: Reason) -> None:
    assert look(book, tmp_path, reason, Reason.SATURATED).objects == ()


def test_off_by_default_and_nothing_is_built(book: Ledger, tmp_path: Path) -> None:
    assert look(book, tmp_path, Reason.SATURATED, on=False).objects == ()
