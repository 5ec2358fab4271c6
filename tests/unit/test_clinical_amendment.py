"""Amendments of a report by clinical data: reception-and-delivery.md acceptance 13 and clinical-data.md section 15.

Acceptance 13: data before, during, after screening, after report, twice, after the window; late image; two
associations.
"""

from __future__ import annotations

import datetime as dt
from io import BytesIO

import highdicom as hd
import pytest
import sqlalchemy as sa
from pydicom import dcmread
from support.dcmtk import errors_of
from support.dicom_objects import radiograph_dataset
from support.reporting import PACS, Desk, adt, merge, person, weight
from support.tools import require_tool

from model.domain import MatchClass, Mode
from node.case import Cause, Delivered, Reported, Screened
from node.store import cases, jobs, outbox, report_objects, report_versions
from node.store.outbox import DeliveryState
from node.store.schema import task as task_table
from node.tasks import advance_key
from node.worker import save_step

DAY = dt.timedelta(days=1)
OF_THE_SERIES = (
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "SeriesDate",
    "SeriesTime",
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "InstitutionName",
    "StudyInstanceUID",
)


@pytest.fixture
def desk(ledger, tmp_path):
    return Desk(ledger, tmp_path)


def versions(desk, case_id):
    with desk.ledger.read() as c:
        return report_versions.all_of(c, case_id)


def deliveries(desk, case_id):
    with desk.ledger.read() as c:
        found = outbox.deliveries(c, case_id=case_id)
    return {(d.version, d.destination): d.state for d in found}


def sr(desk, case_id, version):
    with desk.ledger.read() as c:
        found = report_objects.objects(c, case_id, version)
    return hd.sr.srread(BytesIO(found[-1].part10))


def predecessors(document):
    return [
        r.ReferencedSOPInstanceUID
        for study in document.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for r in series.ReferencedSOPSequence
    ]


def test_data_before_the_image_are_in_its_one_report(desk):
    desk.tell(adt(), weight())
    case_id = desk.receive(waited=0)
    desk.work()
    case = desk.case(case_id)
    assert (case.version, case.result.mode) == (1, Mode.IMAGE_AND_CLINICAL)
    assert [v.basis.cause for v in versions(desk, case_id)] == [Cause.FIRST]
    assert len(versions(desk, case_id)[0].basis.observations) == 1


def test_data_during_the_wait_end_it_with_one_report(desk):
    case_id = desk.receive(waited=0)
    desk.work()
    assert type(desk.case(case_id)).__name__ == "ImageScored"
    desk.tell(adt(), weight())
    desk.work()
    assert desk.case(case_id).result.mode is Mode.IMAGE_AND_CLINICAL
    desk.work()
    assert len(versions(desk, case_id)) == 1


def test_data_after_screening_are_not_lost_and_amend_once(desk):
    """The completion of the running step sees that news came, and the case goes round again."""
    case_id = desk.receive()
    with desk.ledger.begin() as c:
        (task,) = jobs.claim(c, "infer", 1, owner="test", lease=60)
    change = desk.worker().advance(task)  # screened and built, not yet recorded
    desk.tell(adt(), weight())
    with desk.ledger.begin() as c:
        jobs.finish(c, task)
        change(c)
    assert desk.case(case_id).result.mode is Mode.IMAGE_ONLY
    desk.work()
    assert (desk.case(case_id).version, desk.case(case_id).result.mode) == (2, Mode.IMAGE_AND_CLINICAL)


def test_data_after_the_report_make_exactly_one_amendment_and_a_second_is_logged(desk):
    """One superseding SR, not two."""
    case_id = desk.receive()
    desk.work()
    desk.deliver(case_id)
    assert isinstance(desk.case(case_id), Delivered)
    desk.tell(adt(), weight())
    desk.work()
    case = desk.case(case_id)
    assert isinstance(case, Reported)
    assert case.version == 2
    assert versions(desk, case_id)[1].basis.changed == (
        "match UNKNOWN_PATIENT -> MATCH_ISSUER; mode IMAGE_ONLY -> IMAGE_AND_CLINICAL; "
        "category ABOVE -> BETWEEN; weight new"
    )
    desk.deliver(case_id, 2)
    desk.tell(weight("70", at="20240308080000+0000"))
    desk.work()
    desk.tell(weight("71", at="20240307080000+0000"))  # older than what is known: nothing to say
    desk.work()
    assert desk.case(case_id).version == 2
    assert isinstance(desk.case(case_id), Delivered)
    logged = [line for line in desk.history(case_id) if line.startswith("logged only")]
    assert logged == ["logged only, the report was amended once: category BETWEEN -> BELOW; weight changed"]


def test_data_after_the_window_are_logged_only(desk):
    case_id = desk.receive()
    desk.work()
    desk.deliver(case_id)
    desk.made(case_id, before=DAY + dt.timedelta(seconds=1))
    desk.tell(adt(), weight())
    desk.work()
    desk.tell(adt("A31"))
    desk.work()
    assert desk.case(case_id).version == 1
    assert [line for line in desk.history(case_id) if "logged only, it came after the window" in line] == [
        desk.history(case_id)[-1]
    ]


def test_the_same_value_sent_again_is_no_news(desk):
    desk.tell(adt(), weight())
    case_id = desk.receive()
    desk.work()
    before = desk.history(case_id)
    desk.tell(weight(), adt(), weight("61.50"))
    desk.work()
    assert desk.case(case_id).version == 1
    assert desk.history(case_id) == before


def test_demographics_alone_do_not_spend_the_one_amendment(desk):
    case_id = desk.receive()
    desk.work()
    desk.tell(adt())
    desk.work()
    assert desk.case(case_id).version == 1
    desk.tell(weight())
    desk.work()
    assert desk.case(case_id).result.mode is Mode.IMAGE_AND_CLINICAL


def test_a_burst_of_messages_is_joined_into_one_amendment(desk):
    case_id = desk.receive()
    desk.work()
    desk.settle = 5.0
    for kg in ("70", "65", "61.5"):
        desk.tell(adt(), weight(kg, at=f"2024030{kg[0]}080000+0000"))
    desk.work()
    assert desk.case(case_id).version == 1
    with desk.ledger.read() as c:
        assert jobs.get(c, "advance", advance_key(case_id)).state == "todo"
    with desk.ledger.begin() as c:
        jobs.poke(c, "advance", advance_key(case_id))
    desk.work()
    assert desk.case(case_id).version == 2
    assert [i.value for i in desk.case(case_id).result.inputs if i.variable == "weight"] == [70.0]


def test_a_temporary_identifier_that_a_merge_resolves_is_evaluated_once_more(desk):
    """An A40 that says who the patient of a trauma number is."""
    desk.tell(adt(), weight())
    case_id = desk.receive(radiograph_dataset(PatientName="Weber^Petra", PatientID="TRAUMA77"))
    desk.work()
    assert desk.case(case_id).match is MatchClass.UNKNOWN_PATIENT
    desk.tell(merge("0012345", "TRAUMA77"))
    desk.work()
    case = desk.case(case_id)
    assert (case.version, case.match, case.result.mode) == (2, MatchClass.MATCH_ISSUER, Mode.IMAGE_AND_CLINICAL)
    desk.tell(adt("A31"))
    desk.work()
    assert desk.case(case_id).version == 2


def test_version_two_is_a_later_document_of_the_same_series_that_names_the_first(desk, tmp_path):
    case_id = desk.receive()
    desk.work()
    desk.deliver(case_id)
    desk.tell(adt(), weight())
    desk.work()
    first, second = sr(desk, case_id, 1), sr(desk, case_id, 2)
    assert predecessors(second) == [first.SOPInstanceUID]
    assert predecessors(first) == []
    assert (first.InstanceNumber, second.InstanceNumber) == (1, 2)
    moments = [d.ContentDate + d.ContentTime for d in (first, second)]
    assert moments[0] < moments[1]
    for keyword in OF_THE_SERIES:
        assert first[keyword].value == second[keyword].value, keyword
    with desk.ledger.read() as c:
        pages = [dcmread(BytesIO(report_objects.objects(c, case_id, v)[0].part10)) for v in (1, 2)]
    assert pages[0].SeriesInstanceUID != pages[1].SeriesInstanceUID
    assert pages[1].SeriesDescription == f"v2 {pages[0].SeriesDescription}"
    require_tool("dciodvfy")
    for version in (1, 2):
        with desk.ledger.read() as c:
            for item in report_objects.objects(c, case_id, version):
                path = tmp_path / f"{version}.{item.kind}.dcm"
                path.write_bytes(item.part10)
                assert errors_of("dciodvfy", "-new", str(path), marks=("Error",)) == []


def test_a_first_version_that_never_left_is_dropped_and_not_named(desk):
    """v1 unsent -> no predecessor."""
    case_id = desk.receive()
    desk.work()
    desk.tell(adt(), weight())
    desk.work()
    assert predecessors(sr(desk, case_id, 2)) == []
    assert sr(desk, case_id, 2).InstanceNumber == 2
    assert deliveries(desk, case_id) == {
        (1, "pacs"): DeliveryState.CANCELLED,
        (2, "pacs"): DeliveryState.WAITING,
    }
    with desk.ledger.begin() as c:
        assert outbox.begin_send(c, case_id, 1, "pacs") is None
        assert report_versions.fate(c, case_id, 1) == "dropped"


def test_a_version_whose_send_ended_without_an_answer_counts_as_released(desk):
    case_id = desk.receive()
    desk.work()
    with desk.ledger.begin() as c:
        outbox.begin_send(c, case_id, 1, "pacs")  # and the sender dies here
    desk.tell(adt(), weight())
    desk.work()
    assert predecessors(sr(desk, case_id, 2)) == [sr(desk, case_id, 1).SOPInstanceUID]


def test_a_version_that_leaves_while_the_next_is_built_is_named_by_building_anew(desk):
    case_id = desk.receive()
    desk.work()
    desk.tell(adt(), weight())
    with desk.ledger.begin() as c:
        (task,) = jobs.claim(c, "infer", 1, owner="test", lease=60)
    change = desk.worker().advance(task)  # built while nothing had left
    desk.deliver(case_id)
    with desk.ledger.begin() as c:
        jobs.finish(c, task)
        change(c)
    assert desk.case(case_id).version == 1
    desk.work()
    assert predecessors(sr(desk, case_id, 2)) == [sr(desk, case_id, 1).SOPInstanceUID]


def test_an_amendment_that_is_run_again_after_a_crash_names_the_same_objects(desk):
    """Same inputs -> same UIDs; nothing of the first run is kept."""
    case_id = desk.receive()
    desk.work()
    desk.deliver(case_id)
    desk.tell(adt(), weight())
    made = []
    for lease in (-1.0, 60.0):
        with desk.ledger.begin() as c:
            (task,) = jobs.claim(c, "infer", 1, owner="test", lease=lease)
        change = desk.worker().advance(task)
        made.append([o.sop_instance_uid for o in change.keywords["weighed"].amended.objects])
        assert desk.case(case_id).version == 1
    with desk.ledger.begin() as c:
        jobs.finish(c, task)
        change(c)
    assert made[0] == made[1] == [o.sop_instance_uid for o in desk.case(case_id).objects]


def test_a_send_that_runs_while_a_newer_version_is_made_does_not_bring_its_own_back(desk):
    vna = {**PACS, "name": "vna"}
    desk.tables = {"delivery": {"destinations": [PACS, vna]}}
    case_id = desk.receive()
    desk.work()
    desk.deliver(case_id, 1, "pacs")
    desk.tell(adt(), weight())
    desk.work()
    with desk.ledger.begin() as c:
        outbox.mark_tried(c, case_id, 1, "vna", error="no answer")
    assert deliveries(desk, case_id) == {
        (1, "pacs"): DeliveryState.DELIVERED,
        (1, "vna"): DeliveryState.CANCELLED,
        (2, "pacs"): DeliveryState.WAITING,
        (2, "vna"): DeliveryState.WAITING,
    }
    with desk.ledger.read() as c:
        assert report_versions.fate(c, case_id, 1) == "superseded"


def test_what_was_reported_is_amended_also_to_a_category_the_site_wants_no_report_of(desk):
    """Nobody may be left with a result that no longer holds."""
    desk.tables = {"report": {"report_on": ["above"]}}
    case_id = desk.receive()
    desk.work()
    desk.deliver(case_id)
    desk.tell(adt(), weight("80"))
    desk.work()
    assert desk.case(case_id).result.category == "BELOW"
    assert predecessors(sr(desk, case_id, 2)) == [sr(desk, case_id, 1).SOPInstanceUID]


def test_an_unsent_report_of_a_category_no_longer_wanted_is_not_sent_at_all(desk):
    desk.tables = {"report": {"report_on": ["above"]}}
    case_id = desk.receive()
    desk.work()
    desk.tell(adt(), weight("80"))
    desk.work()
    case = desk.case(case_id)
    assert isinstance(case, Delivered)
    assert (case.version, case.objects) == (2, ())
    assert deliveries(desk, case_id) == {(1, "pacs"): DeliveryState.CANCELLED}


def test_a_late_image_of_the_study_is_a_case_of_its_own_and_changes_no_other(desk):
    first = desk.receive()
    desk.work()
    late = desk.receive(radiograph_dataset(number=2, PatientName="Weber^Petra"))
    desk.work()
    assert desk.case(first).version == desk.case(late).version == 1
    assert sr(desk, first, 1).SeriesInstanceUID != sr(desk, late, 1).SeriesInstanceUID


def test_two_associations_with_the_same_image_make_one_case_and_one_report(desk):
    case_id = desk.receive()
    desk.work()
    with desk.ledger.begin() as c:
        again = cases.receive(c, desk.case(case_id).source)
    assert again.case_id == case_id
    desk.work()
    assert len(versions(desk, case_id)) == 1


def test_data_of_another_patient_wake_nobody(desk):
    case_id = desk.receive()
    desk.work()
    other = person("99", "OTHER^ANNA^^^^^L", "19400101")
    desk.tell(adt(pid=other), weight(pid=other))
    with desk.ledger.read() as c:
        assert jobs.get(c, "advance", advance_key(case_id)).state == "done"


def test_data_that_come_after_a_worker_died_behind_the_match_amend_its_report(desk):
    case_id = desk.receive()
    worker = desk.worker()
    with desk.ledger.begin() as c:
        (task,) = jobs.claim(c, "infer", 1, owner="dead", lease=60)
    while not isinstance(case := desk.case(case_id), Screened):
        step = worker.pipeline.advance(case)
        with desk.ledger.begin() as c:
            save_step(c, task=task, step=step)
    desk.tell(adt(), weight())  # it is nobody's now: the next worker claims it after this
    with desk.ledger.begin() as c:
        c.execute(sa.update(task_table).values(lease_until=None))
    desk.work()
    assert desk.case(case_id).result.mode is Mode.IMAGE_AND_CLINICAL
    assert [v.basis.cause for v in versions(desk, case_id)] == [Cause.FIRST, Cause.LATE_DATA]


def test_many_films_of_a_patient_are_woken_by_as_many_statements_as_one(desk):
    """The feed's transaction, for which workers and other feeds wait, must not last longer with every film."""
    desk.tell(adt(), weight("61"))
    desk.receive()
    for_one = statements_of(lambda: desk.tell(weight("62")))
    for number in range(100, 120):
        desk.receive(radiograph_dataset(PatientName="Weber^Petra", number=number))
    assert statements_of(lambda: desk.tell(weight("63"))) == for_one


def statements_of(work):
    """How many statements the database was asked to run."""
    seen = []

    def note(*_):
        seen.append(1)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    return len(seen)
