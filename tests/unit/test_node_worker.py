"""The worker: states saved under the fence, the report frozen with its deliveries, failures parked for a person."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
import sqlalchemy as sa
from support.dicom_objects import radiograph_dataset
from support.hospital import await_true
from support.node_parts import TAKEN, pipeline, receive

from dicom_io.report import write_here
from node.case import Failed, ImageScored, NotApplicable, Received, Reported, Screened
from node.dispatch.local import Dispatcher
from node.errors import FailureCode, GiveUp, Retry
from node.store import alerts, cases, image_scores, jobs, report_objects
from node.store.errors import LostLease
from node.store.schema import task as table
from node.tasks import ADVANCE, INFER_LANE
from node.worker import CaseWorker

LATE = TAKEN + dt.timedelta(seconds=601)
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}


@pytest.fixture
def worker(ledger, tmp_path):
    return CaseWorker(ledger=ledger, pipeline=pipeline(ledger, tmp_path, at=LATE, delivery={"destinations": [PACS]}))


def run(worker, *, until):
    lanes = {INFER_LANE: 1}
    dispatcher = Dispatcher(worker.ledger, {ADVANCE: worker.advance}, lanes, poll=0.02, on_dead=worker.bury)
    dispatcher.start()
    await_true(until, "the worker did its work", limit=30)
    dispatcher.stop()


def state(ledger, case_id):
    with ledger.read() as c:
        return cases.load(c, case_id)


def test_a_film_becomes_a_frozen_report_with_a_delivery_task(worker, ledger):
    case = receive(ledger, worker.pipeline.spool)
    run(worker, until=lambda: isinstance(state(ledger, case.case_id), Reported))
    with ledger.read() as c:
        reported = cases.load(c, case.case_id)
        frozen = report_objects.objects(c, case.case_id, 1)
        task = jobs.get(c, "deliver", f"{case.case_id}|1|pacs")
        visited = [event.state for event in cases.history(c, case.case_id)]
    assert [o.sop_instance_uid for o in reported.objects] == [o.sop_instance_uid for o in frozen]
    assert task.lane == "net:pacs"
    assert visited == ["Received", "ImageScored", "Matched", "Screened", "Reported"]


def test_the_way_to_a_report_is_saved_twice_and_the_network_runs_once(worker, ledger, monkeypatch):
    case = receive(ledger, worker.pipeline.spool)
    scored, saved = [], []
    screener = type(worker.pipeline.screener)
    image_part, begin = screener.image_part, type(ledger).begin
    monkeypatch.setattr(screener, "image_part", lambda *a: scored.append(1) or image_part(*a))
    monkeypatch.setattr(type(ledger), "begin", lambda *a: saved.append(state(ledger, case.case_id)) or begin(*a))
    with begin(ledger) as c:
        (task,) = jobs.claim(c, INFER_LANE, 1, owner="test", lease=60)
    last = worker.advance(task)
    assert [type(one) for one in saved] == [Received]
    assert isinstance(state(ledger, case.case_id), Screened)
    with ledger.begin() as c:
        last(c)
    assert isinstance(state(ledger, case.case_id), Reported)
    assert len(scored) == 1


def test_a_report_is_hurried_only_while_no_other_image_waits(worker, ledger):
    """By a second process that writes, and an archive that is called before the report is there."""
    orders, rung = [], []
    ledger.announce(by_notice=False, then=rung.extend)
    helped = dataclasses.replace(worker, write=lambda order: orders.append(order) or write_here(order))
    hurried = []
    for number in (1, 2):
        receive(ledger, worker.pipeline.spool, radiograph_dataset(number=number))
    for _ in range(2):
        with ledger.begin() as c:
            (task,) = jobs.claim(c, INFER_LANE, 1, owner="test", lease=60)
        rung.clear()
        last = helped.advance(task)
        hurried.append((len(orders), [lane for lane in rung if lane.startswith("soon:")]))
        with ledger.begin() as c:
            last(c)
    assert hurried == [(0, []), (1, ["soon:pacs"] if ledger.file else [])]


def test_what_was_done_before_a_wait_is_kept(worker, ledger, tmp_path):
    early = CaseWorker(
        ledger=ledger,
        pipeline=pipeline(ledger, tmp_path, at=TAKEN, delivery={"destinations": [PACS]}),
    )
    case = receive(ledger, early.pipeline.spool)
    with ledger.begin() as c:
        (task,) = jobs.claim(c, INFER_LANE, 1, owner="test", lease=60)
    with pytest.raises(Retry):
        early.advance(task)
    assert isinstance(state(ledger, case.case_id), ImageScored)
    with ledger.read() as c:
        assert image_scores.load(c, case.source.digest, early.pipeline.screener.digest) is not None


def test_a_report_that_breaks_its_own_rules_fails_the_case_with_an_alert(worker, ledger):
    case = receive(ledger, worker.pipeline.spool)
    with ledger.begin() as c:
        worker.bury(c, jobs.get(c, ADVANCE, str(case.case_id)), GiveUp(FailureCode.REPORT_INVALID, "SR-7"))
        found = [(a.kind, a.subject, a.detail) for a in alerts.find(c)]
    assert isinstance(state(ledger, case.case_id), Failed)
    assert found == [("REPORT_INVALID", f"case {case.case_id}", "REPORT-INVALID: SR-7")]


def test_the_alert_of_an_invalid_report_closes_by_itself_once_its_case_is_reported(worker, ledger):
    case = receive(ledger, worker.pipeline.spool)
    with ledger.begin() as c:
        worker.bury(c, jobs.get(c, ADVANCE, str(case.case_id)), GiveUp(FailureCode.REPORT_INVALID, "SR-7"))
        cases.reopen(c, case.case_id, kind=ADVANCE, lane=INFER_LANE)
    run(worker, until=lambda: isinstance(state(ledger, case.case_id), Reported))
    with ledger.read() as c:
        assert alerts.find(c) == ()


def test_a_report_that_cannot_be_recorded_fails_its_case(worker, ledger):
    """A UID that is frozen for another case already: no retry helps."""
    case = receive(ledger, worker.pipeline.spool)
    with ledger.begin() as c:
        (task,) = jobs.claim(c, INFER_LANE, 1, owner="test", lease=60)
    objects = worker.advance(task).keywords["steps"][-1].objects
    other = receive(ledger, worker.pipeline.spool, radiograph_dataset(number=9))
    with ledger.begin() as c:
        report_objects.freeze_once(c, other.case_id, 1, objects)
        c.execute(sa.update(table).where(table.c.id == task.id).values(state="todo", lease_until=None, attempts=7))
    run(worker, until=lambda: isinstance(state(ledger, case.case_id), Failed))
    assert state(ledger, case.case_id).code is FailureCode.UNEXPECTED


def test_every_bad_object_ends_with_a_code_and_the_next_case_goes_on(worker, ledger):
    spool = worker.pipeline.spool
    broken = receive(ledger, spool, radiograph_dataset(number=1, Rows=4000))
    hip = receive(ledger, spool, radiograph_dataset(number=2, BodyPartExamined="HIP"))
    good = receive(ledger, spool, radiograph_dataset(number=3))
    run(worker, until=lambda: isinstance(state(ledger, good.case_id), Reported))
    failed = state(ledger, broken.case_id)
    assert isinstance(failed, Failed)
    assert failed.code is FailureCode.PIXEL_DECODE
    assert isinstance(state(ledger, hip.case_id), NotApplicable)


def test_a_failed_case_is_taken_up_again_by_a_person(worker, ledger):
    case = receive(ledger, worker.pipeline.spool, radiograph_dataset(Rows=4000))
    run(worker, until=lambda: isinstance(state(ledger, case.case_id), Failed))
    with ledger.begin() as c:
        cases.reopen(c, case.case_id, kind=ADVANCE, lane=INFER_LANE)
    assert isinstance(state(ledger, case.case_id), Received)
    run(worker, until=lambda: isinstance(state(ledger, case.case_id), Failed))
    with ledger.read() as c:
        assert [e.state for e in cases.history(c, case.case_id)].count("Failed") == 2


def test_a_worker_that_lost_its_lease_leaves_nothing_behind(worker, ledger):
    case = receive(ledger, worker.pipeline.spool)
    with ledger.begin() as c:
        (stale,) = jobs.claim(c, INFER_LANE, 1, owner="slow", lease=-1)
    with ledger.begin() as c:
        (current,) = jobs.claim(c, INFER_LANE, 1, owner="other", lease=60)
    with pytest.raises(LostLease):
        worker.advance(stale)
    assert isinstance(state(ledger, case.case_id), Received)
    assert worker.advance(current) is not None


def test_a_task_that_is_run_again_for_a_reported_case_does_nothing(worker, ledger):
    case = receive(ledger, worker.pipeline.spool)
    run(worker, until=lambda: isinstance(state(ledger, case.case_id), Reported))
    with ledger.begin() as c:
        jobs.touch(c, ADVANCE, str(case.case_id), lane=INFER_LANE)
        (task,) = jobs.claim(c, INFER_LANE, 1, owner="again", lease=60)
    assert worker.advance(task) is None
