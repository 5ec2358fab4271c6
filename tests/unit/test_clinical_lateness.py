"""Waiting for clinical data: the image part at arrival, the deadline, its early end (clinical-data.md 12 and 15)."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from support.dicom_objects import radiograph_dataset
from support.reporting import Desk, EvidenceScreener, adt, weight

from model.domain import ImageScore, Mode, NotAssessed, Reason, Sex
from node import film
from node.case import ImageScored, NotApplicable, Reported
from node.store import image_scores, jobs, report_versions
from node.store.engine import open_ledger
from node.tasks import advance_key


@pytest.fixture
def desk(ledger, tmp_path):
    return Desk(ledger, tmp_path)


class NetworkRan(Exception):
    """The costly part was run where its result should have been at hand."""


class NoNetwork(EvidenceScreener):
    """A screener that may only fuse."""

    def image_part(self, radiograph):  # noqa: ARG002 - the port's signature
        raise NetworkRan


def with_screener(desk, screener):
    worker = desk.worker()
    return dataclasses.replace(worker, pipeline=dataclasses.replace(worker.pipeline, screener=screener))


def task_of(desk, case_id):
    with desk.ledger.read() as c:
        return jobs.get(c, "advance", advance_key(case_id))


def test_deadline_survives_restart(ledger_url, tmp_path):
    """Neither a restart nor another setting moves the deadline of an image that waits."""
    ledger = open_ledger(ledger_url)
    desk = Desk(ledger, tmp_path, tables={"clinical": {"wait": 300.0}})
    case_id = desk.receive(waited=100)
    desk.work()
    waiting, due = desk.case(case_id), task_of(desk, case_id).due_at
    assert isinstance(waiting, ImageScored)
    assert waiting.wait_until - waiting.source.received_at == dt.timedelta(seconds=300)
    assert due == pytest.approx(waiting.wait_until.timestamp(), abs=1.0)
    ledger.close()

    ledger = open_ledger(ledger_url)
    again = Desk(ledger, tmp_path, tables={"clinical": {"wait": 86_400.0}})
    again.work()
    assert again.case(case_id) == waiting
    assert task_of(again, case_id).due_at == due
    past = dataclasses.replace(again.worker().pipeline, now=lambda: waiting.wait_until)
    matched = past.match(waiting)
    assert matched.case.record.observations == ()
    ledger.close()


def test_wait_zero_reports_from_the_image_at_once_and_amends_later(desk):
    desk.tables = {"clinical": {"wait": 0.0}}
    case_id = desk.receive(waited=0)
    desk.work()
    assert isinstance(desk.case(case_id), Reported)
    assert desk.case(case_id).result.mode is Mode.IMAGE_ONLY
    desk.tell(adt(), weight())
    desk.work()
    assert (desk.case(case_id).version, desk.case(case_id).result.mode) == (2, Mode.IMAGE_AND_CLINICAL)


@pytest.mark.parametrize(
    ("attributes", "answer", "reason"),
    [
        ({"BodyPartExamined": "HIP"}, None, Reason.BODY_PART),
        ({}, NotAssessed(reasons=(Reason.NOT_CHEST,), measurements=(("distance_ratio", 1.5),)), Reason.NOT_CHEST),
    ],
)
def test_an_image_the_model_is_not_meant_for_ends_at_once_without_waiting(desk, attributes, answer, reason):
    case_id = desk.receive(radiograph_dataset(PatientName="Weber^Petra", **attributes), waited=0)
    with desk.ledger.begin() as c:
        (task,) = jobs.claim(c, "infer", 1, owner="test", lease=60)
    change = with_screener(desk, EvidenceScreener(answer)).advance(task)
    with desk.ledger.begin() as c:
        jobs.finish(c, task)
        change(c)
    case = desk.case(case_id)
    assert isinstance(case, NotApplicable)
    assert reason in case.reasons


def test_the_wait_ends_when_the_variables_the_bundle_requires_are_there(desk):
    """Early end: the manifest decides, not this code."""
    case_id = desk.receive(waited=0)
    desk.work()
    waiting = desk.case(case_id)
    undemanding = EvidenceScreener(required=("age", "sex"))
    assert with_screener(desk, undemanding).pipeline.match(waiting).case.record.observations == ()
    desk.tell(adt(), weight())
    desk.work()
    assert desk.case(case_id).result.mode is Mode.IMAGE_AND_CLINICAL


def test_a_wait_and_an_amendment_cost_only_the_fusion(desk):
    case_id = desk.receive(waited=0)
    desk.work()
    desk.tell(adt(), weight())
    film._decode.cache_clear()  # as after a restart
    with desk.ledger.begin() as c:
        (task,) = jobs.claim(c, "infer", 1, owner="test", lease=60)
    change = with_screener(desk, NoNetwork()).advance(task)
    with desk.ledger.begin() as c:
        jobs.finish(c, task)
        change(c)
    desk.tell(weight("70", at="20240305080000+0000"))
    with desk.ledger.begin() as c:
        (task,) = jobs.claim(c, "infer", 1, owner="test", lease=60)
    change = with_screener(desk, NoNetwork()).advance(task)
    with desk.ledger.begin() as c:
        jobs.finish(c, task)
        change(c)
    assert desk.case(case_id).version == 2


def test_a_new_bundle_scores_the_image_anew_and_keeps_both(desk):
    case_id = desk.receive(waited=0)
    desk.work()
    desk.tell(adt(), weight())
    with desk.ledger.begin() as c:
        (task,) = jobs.claim(c, "infer", 1, owner="test", lease=60)
    change = with_screener(desk, EvidenceScreener(digest="d2")).advance(task)
    with desk.ledger.begin() as c:
        jobs.finish(c, task)
        change(c)
    digest = desk.case(case_id).source.digest
    with desk.ledger.read() as c:
        assert image_scores.load(c, digest, "d1") == image_scores.load(c, digest, "d2") is not None
        assert image_scores.load(c, digest, "d3") is None


def test_a_new_bundle_alone_never_issues_an_old_result_again(desk):
    desk.tell(adt(), weight())
    case_id = desk.receive()
    desk.work()
    desk.tell(adt("A31"))
    with desk.ledger.begin() as c:
        jobs.touch(c, "advance", advance_key(case_id), lane="infer")
        (task,) = jobs.claim(c, "infer", 1, owner="test", lease=60)
    other = EvidenceScreener(digest="d2")
    change = with_screener(desk, other).advance(task)
    with desk.ledger.begin() as c:
        jobs.finish(c, task)
        if change:
            change(c)
    with desk.ledger.read() as c:
        assert report_versions.newest(c, case_id) == 1


def test_an_image_score_comes_back_bit_for_bit(ledger):
    score = ImageScore(
        logit=0.1 + 0.2,
        attention=((0.1, 0.2), (0.3, 0.4)),
        region=(1, 2, 300, 400),
        limitations=(Reason.AP_VIEW, Reason.LOSSY),
        age_years=None,
        sex=Sex.UNKNOWN,
    )
    entry = image_scores.Entry(digest="blake3:" + "a" * 64, model="m" * 64, score=score)
    with ledger.begin() as c:
        image_scores.keep(c, entry)
        image_scores.keep(c, entry)
    with ledger.read() as c:
        assert image_scores.load(c, entry.digest, entry.model) == score
