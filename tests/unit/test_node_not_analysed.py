"""`report.send_not_analysed`: a film that could not be assessed is reported as such, what is not meant for it never."""

import datetime as dt
import re
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from support.dicom_objects import radiograph_dataset
from support.node_parts import FixedScreener, pipeline, receive, settings

import node
from config.settings import Storage
from dicom_io.wording import reason as in_words
from model.domain import NotAssessed, Reason
from node.case import NotApplicable
from node.case_views import show_case
from node.pipeline import Step
from node.screen_file import FileOutcome
from node.store import cases
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


def test_a_person_reads_what_a_reason_means(book: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = look(book, tmp_path, Reason.INVERTED, Reason.OUT_OF_DIST)
    with book.begin() as c:
        cases.save(c, step.case, why=step.why)
    capsys.readouterr()
    show_case(settings().model_copy(update={"storage": Storage(data_dir=tmp_path)}), 1, as_json=False)
    ended = FileOutcome(state="not-applicable", reason="INVERTED,OUT_OF_DIST").as_text()
    for shown in (capsys.readouterr().out, ended):
        assert "INVERTED,OUT_OF_DIST" in shown
        assert in_words(Reason.INVERTED) in shown
        assert in_words(Reason.OUT_OF_DIST) in shown


def test_every_reason_stands_in_the_operations_guide_with_its_meaning_and_what_to_do() -> None:
    guide = (Path(node.__file__).parents[1] / "deploy/docs/operate.md").read_text(encoding="utf-8")
    chapter = guide.partition("\n## States and failures\n")[2].partition("\n## ")[0]
    rows = {
        code: (meaning, step)
        for code, meaning, step in re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", chapter, re.MULTILINE)
    }
    assert {code: rows.get(code, ("", ""))[0] for code in Reason} == {code: in_words(code) for code in Reason}


def test_off_by_default_and_nothing_is_built(book: Ledger, tmp_path: Path) -> None:
    assert look(book, tmp_path, Reason.SATURATED, on=False).objects == ()
