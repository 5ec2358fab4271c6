"""Withdrawal of a wrong result (structured-report.md section 6, acceptance test 8): stop, reject, supersede, verify."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json

import pytest
from support.node_parts import settings as parsed
from support.pacs import NOTE, PAGE, C, E, FakePacs
from support.post import posted, reported_once
from support.report_cases import SIMULATED_MODEL, scored
from support.reporting import adt, weight

from config.settings import Settings, Storage
from dicom_io.document_check import ReportInvalid
from node import withdrawal
from node.case import Withdrawn
from node.case_decisions import retry_case, withdraw_case
from node.errors import FailureCode, GiveUp
from node.store import alerts, cases, jobs, outbox, report_objects, report_versions, retention, reviews, sent
from node.store.errors import NoSuchCase
from node.store.outbox import DeliveryState

REASON = "joined with another patient's record"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return reported_once(tmp_path_factory.mktemp("made"), "pacs")


def site(folder, post) -> Settings:
    settings = parsed(delivery=post.desk.tables["delivery"])
    return settings.model_copy(update={"storage": Storage(data_dir=folder)})


def withdraw(folder, post, **options):
    said = withdraw_case(site(folder, post), 1, reason=REASON, by="K. Braun", **({"rejection": "safety"} | options))
    post.desk.work()
    post.settle()
    return said


def alert_kinds(post):
    with post.ledger.read() as c:
        return {(one.kind, one.subject) for one in alerts.find(c)}


def referenced(note):
    evidence = note.CurrentRequestedProcedureEvidenceSequence
    return {
        (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
        for study in evidence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


def test_note_names_all_objects_with_the_right_classes_and_wire_order_is_note_sc_sr(made, tmp_path):
    with (
        FakePacs(classes=(PAGE, NOTE, C), find=True) as pacs,
        posted(made, tmp_path, pacs.destination()) as post,
    ):
        post.settle()
        before = list(pacs.wire)
        assert withdraw(tmp_path, post).startswith("case 1 is withdrawn")
        case = post.case(1)
        assert isinstance(case, Withdrawn)
        assert (case.stated, case.version, case.by, case.rejection) == (True, 2, "K. Braun", "safety")
        assert post.delivery(1, 2).state is DeliveryState.DELIVERED
        assert post.delivery(1, 2).proof == "find"
        assert alert_kinds(post) == set()
        history = post.desk.history(1)
    assert [sop_class for sop_class, _, _ in pacs.wire[2:]] == [NOTE, PAGE, C]
    note, _page, report = (pacs.kept[uid] for _, uid, _ in pacs.wire[2:])
    assert referenced(note) == {(sop_class, uid) for sop_class, uid, _ in before}
    assert note.ConceptNameCodeSequence[0].CodeValue == "113037"
    assert report.SeriesInstanceUID == pacs.kept[before[1][1]].SeriesInstanceUID
    assert int(report.InstanceNumber) == 2
    assert f"withdrawn (safety) by K. Braun: {REASON}" in history
    assert "every destination is told: pacs (find, comprehensive)" in history
    (trail,) = (tmp_path / "audit").glob("*.jsonl")
    line = json.loads(trail.read_text())
    assert (line["event"], line["case"], line["by"], line["kind"]) == ("report.withdrawn", 1, "K. Braun", "safety")


def test_queued_objects_are_cancelled_and_nothing_is_said_where_nothing_was(made, tmp_path):
    with FakePacs() as pacs, posted(made, tmp_path, pacs.destination()) as post:
        withdraw(tmp_path, post)
        assert post.delivery(1).state is DeliveryState.CANCELLED
        case = post.case(1)
        assert isinstance(case, Withdrawn)
        assert case.stated
        with post.ledger.read() as c:
            assert report_versions.newest(c, 1) == 1
    assert pacs.wire == []


def test_withdrawing_twice_changes_nothing_and_it_is_final(made, tmp_path):
    with FakePacs() as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.settle()
        withdraw(tmp_path, post)
        sends = len(pacs.wire)
        assert "withdrawn already" in withdraw(tmp_path, post)
        post.desk.tell(adt(), weight())
        post.desk.work()
        post.settle()
        with pytest.raises(NoSuchCase, match="there is nothing to retry"):
            retry_case(site(tmp_path, post), 1)
        assert len(pacs.wire) == sends
        with post.ledger.read() as c:
            assert report_versions.newest(c, 1) == 2
            assert cases.find(c, state="Withdrawn")[0].reason == "safety"
            assert reviews.pending(c, 1).review == ""


def test_every_version_that_is_there_is_rejected(made, tmp_path):
    with FakePacs() as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.settle()
        post.desk.tell(adt(), weight())
        post.desk.work()
        post.settle()
        there = {(sop_class, uid) for sop_class, uid, _ in pacs.wire}
        withdraw(tmp_path, post, rejection="quality")
    note = next(one for one in pacs.kept.values() if one.SOPClassUID == NOTE)
    assert len(there) == 4
    assert referenced(note) == there
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"


@pytest.mark.parametrize("status", [0xA770, 0xA774])
def test_a_note_that_was_received_before_is_success(made, tmp_path, status):
    answer = lambda sop_class, _: status if sop_class == NOTE else 0  # noqa: E731
    with FakePacs(answer=answer) as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.settle()
        withdraw(tmp_path, post)
        assert post.delivery(1, 2).state is DeliveryState.DELIVERED
        assert alert_kinds(post) == set()
    assert pacs.order == [PAGE, E, NOTE, PAGE, E]


def test_a772_where_it_was_delivered_is_an_alert_and_the_superseding_report_goes_all_the_same(made, tmp_path):
    answer = lambda sop_class, _: 0xA772 if sop_class == NOTE else 0  # noqa: E731
    with FakePacs(answer=answer) as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.settle()
        withdraw(tmp_path, post)
        assert post.delivery(1, 2).state is DeliveryState.DELIVERED
        assert alert_kinds(post) == {("WITHDRAWAL_BY_HAND", "case 1 at pacs")}
    assert pacs.order == [PAGE, E, NOTE, PAGE, E]


def test_a772_where_it_was_never_delivered_is_success(made, tmp_path):
    """The page's answer was lost: it may be there, so it is named; it was not, so there is nothing to reject."""
    lost = [True]
    answer = lambda sop_class, _: -1 if lost[0] else 0xA772 if sop_class == NOTE else 0  # noqa: E731
    with FakePacs(answer=answer) as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.settle()
        lost[0] = False
        withdraw(tmp_path, post)
        assert post.delivery(1, 2).state is DeliveryState.DELIVERED
        assert alert_kinds(post) == set()


def test_a772_of_a_note_that_names_several_objects_is_an_alert_since_one_of_them_may_be_there(made, tmp_path):
    """The node died in the send: page and SR are noted, and nobody knows whether the archive has the page."""
    answer = lambda sop_class, _: 0xA772 if sop_class == NOTE else 0  # noqa: E731
    with FakePacs(answer=answer) as pacs, posted(made, tmp_path, pacs.destination()) as post:
        with post.ledger.begin() as c:
            outbox.begin_send(c, 1, 1, "pacs")
            sent.begin(
                c,
                [
                    sent.SentObject(
                        destination="pacs",
                        case_id=1,
                        version=1,
                        kind=one.kind,
                        sop_class_uid=one.sop_class_uid,
                        sop_instance_uid=one.sop_instance_uid,
                    )
                    for one in report_objects.frozen(c, 1, 1)
                ],
            )
        withdraw(tmp_path, post)
        assert alert_kinds(post) == {("WITHDRAWAL_BY_HAND", "case 1 at pacs")}


def test_a_note_names_only_what_a_broken_send_had_come_to(made, tmp_path):
    lost = [True]
    answer = lambda *_: -1 if lost[0] else 0  # noqa: E731
    with FakePacs(answer=answer) as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.settle()
        lost[0] = False
        ((_, page, _),) = pacs.wire
        withdraw(tmp_path, post)
    note = next(one for one in pacs.kept.values() if one.SOPClassUID == NOTE)
    assert referenced(note) == {(PAGE, page)}


def test_a_report_is_withdrawn_after_its_page_was_let_go(made, tmp_path):
    with FakePacs() as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.settle()
        there = {(sop_class, uid) for sop_class, uid, _ in pacs.wire}
        with post.ledger.begin() as c:
            later = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
            assert retention.empty_reports(c, [1], ended_before=later) == 1
            assert not report_objects.whole(c, 1, 1)
        withdraw(tmp_path, post)
        assert post.delivery(1, 2).state is DeliveryState.DELIVERED
    note = next(one for one in pacs.kept.values() if one.SOPClassUID == NOTE)
    assert referenced(note) == there


def test_a_withdrawal_whose_statement_was_given_up_is_taken_up_again_by_a_person(made, tmp_path):
    with FakePacs() as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.settle()
        withdraw_case(site(tmp_path, post), 1, reason=REASON, rejection="safety", by="K. Braun")
        with post.ledger.begin() as c:
            (task,) = jobs.claim(c, "infer", 1, owner="test", lease=60)
            why = GiveUp(FailureCode.UNEXPECTED, "too many errors")
            assert jobs.bury(c, task, error=str(why))
            post.desk.worker().bury(c, task, why)
        assert alert_kinds(post) == {("WITHDRAWAL_FAILED", "case 1")}
        assert "will be stated" in retry_case(site(tmp_path, post), 1)
        post.desk.work()
        assert alert_kinds(post) == set()
        post.settle()
        assert post.delivery(1, 2).state is DeliveryState.DELIVERED
    assert pacs.order == [PAGE, E, NOTE, PAGE, E]


def test_a_pilots_report_by_a_simulated_model_is_withdrawn_after_the_site_wrote_product(tmp_path, monkeypatch):
    monkeypatch.setattr("support.reporting.scored", functools.partial(scored, model=SIMULATED_MODEL))
    piloted = reported_once(tmp_path / "piloted", "pacs")
    monkeypatch.undo()
    with FakePacs() as pacs, posted(piloted, tmp_path, pacs.destination()) as post:
        post.settle()
        post.desk.tables["report"] = {"content_qualification": "PRODUCT", "product_reason": "CE 0123"}
        withdraw(tmp_path, post)
        assert post.delivery(1, 2).state is DeliveryState.DELIVERED
        assert alert_kinds(post) == set()
    assert pacs.order == [PAGE, E, NOTE, PAGE, E]
    assert {one.ContentQualification for one in pacs.kept.values()} == {"RESEARCH"}


def test_a_statement_that_cannot_be_made_does_not_hold_back_the_rejection_note(made, tmp_path, monkeypatch):
    def broken(*_):
        raise ReportInvalid(["I4 disclaimer missing"])

    with FakePacs() as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.settle()
        monkeypatch.setattr(withdrawal, "build_withdrawal", broken)
        withdraw(tmp_path, post)
        assert pacs.order == [PAGE, E, NOTE]
        with post.ledger.read() as c:
            assert [(a.kind, a.subject, a.detail) for a in alerts.find(c)] == [
                ("WITHDRAWAL_FAILED", "case 1", "I4 disclaimer missing")
            ]
        assert not any("every destination is told" in line for line in post.desk.history(1))
        retry_case(site(tmp_path, post), 1)
        with post.ledger.begin() as c:
            (task,) = jobs.claim(c, "infer", 1, owner="test", lease=0)
        with pytest.raises(GiveUp, match="I4 disclaimer missing"):
            post.desk.worker().advance(task)
        monkeypatch.undo()
        post.desk.work()
        post.settle()
        assert alert_kinds(post) == set()
        assert post.case(1).stated
        assert any("every destination is told" in line for line in post.desk.history(1))
    assert pacs.order == [PAGE, E, NOTE, PAGE, E], "the note is not sent a second time"


def test_a_note_that_cannot_be_made_is_a_persons_matter_and_the_statement_goes(made, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ReportInvalid(["I7 the note names an object that the report does not know"])

    with FakePacs() as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.settle()
        monkeypatch.setattr(withdrawal, "build_rejection_note", broken)
        withdraw(tmp_path, post)
        assert alert_kinds(post) == {("WITHDRAWAL_BY_HAND", "case 1 at pacs")}
    assert pacs.order == [PAGE, E, PAGE, E]


@pytest.mark.parametrize("status", [0xA771, 0xA773])
def test_a_conflict_stops_at_once_and_stands_for_a_person(made, tmp_path, status):
    answer = lambda sop_class, _: status if sop_class == NOTE else 0  # noqa: E731
    with FakePacs(answer=answer) as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.settle()
        withdraw(tmp_path, post)
        post.until(3600)
        assert post.delivery(1, 2).state is DeliveryState.REFUSED
        assert alert_kinds(post) == {("DELIVERY_REFUSED", "destination pacs")}
    assert pacs.order == [PAGE, E, NOTE]


@pytest.mark.parametrize("way", ["iocm is off", "the class is not taken"])
def test_a_destination_that_does_not_act_on_notes_is_a_persons_matter(made, tmp_path, way):
    off = way == "iocm is off"
    classes = (PAGE, E, NOTE) if off else (PAGE, E)
    with (
        FakePacs(classes=classes) as pacs,
        posted(made, tmp_path, pacs.destination(iocm="off" if off else "auto")) as post,
    ):
        post.settle()
        withdraw(tmp_path, post)
        assert ("WITHDRAWAL_BY_HAND", "case 1 at pacs") in alert_kinds(post)
    assert pacs.order == [PAGE, E, PAGE, E], "the superseding report goes there all the same"


def test_a_withdrawal_waits_for_an_archive_that_is_away_and_goes_first(made, tmp_path):
    busy = [False]
    with (
        FakePacs(answer=lambda *_: 0xA700 if busy[0] else 0) as pacs,
        posted(made, tmp_path, pacs.destination()) as post,
    ):
        post.settle()
        busy[0] = True
        waiting = post.report(dataset=_other_film())
        withdraw(tmp_path, post)
        busy[0] = False
        del pacs.wire[:]
        from node import breaker  # noqa: PLC0415

        with post.ledger.begin() as c:
            breaker.release(c, "pacs", dt.datetime.now(dt.UTC))
        post.settle()
        assert post.delivery(waiting).state is DeliveryState.DELIVERED
    assert pacs.order[:1] == [NOTE], "ahead of the ordinary report"


def test_a_reason_that_reads_as_a_diagnosis_or_a_case_without_a_report_is_refused(made, tmp_path):
    with posted(made, tmp_path) as post:
        with pytest.raises(ReportInvalid):
            withdraw_case(site(tmp_path, post), 1, reason=" ", rejection="safety", by="b")
        with pytest.raises(NoSuchCase, match="does not exist"):
            withdraw_case(site(tmp_path, post), 99, reason=REASON, rejection="safety", by="b")
        fresh = post.desk.receive(_other_film(), waited=0)
        with pytest.raises(NoSuchCase, match="it has no report"):
            withdraw_case(site(tmp_path, post), fresh, reason=REASON, rejection="safety", by="b")


def test_an_amendment_that_is_being_weighed_does_not_bring_the_report_back(made, tmp_path):
    with FakePacs() as pacs, posted(made, tmp_path, pacs.destination()) as post:
        post.settle()
        post.desk.tell(adt(), weight())
        worker = post.desk.worker()
        with post.ledger.begin() as c:
            (task,) = jobs.claim(c, "infer", 1, owner="test", lease=60)
        change = worker.advance(task)
        withdraw_case(site(tmp_path, post), 1, reason=REASON, rejection="safety", by="K. Braun")
        with post.ledger.begin() as c:
            assert jobs.finish(c, task)
            change(c)
        post.desk.work()
        post.settle()
        case = post.case(1)
        assert isinstance(case, Withdrawn)
        assert case.version == 2
        with post.ledger.read() as c:
            assert {d.version: d.state for d in outbox.deliveries(c, case_id=1)} == {
                1: DeliveryState.DELIVERED,
                2: DeliveryState.DELIVERED,
            }
            assert {one.kind for one in sent.of_case(c, 1) if one.version == 2} == {"note", "page", "sr"}
    assert pacs.order == [PAGE, E, NOTE, PAGE, E]


def _other_film():
    from support.dicom_objects import radiograph_dataset  # noqa: PLC0415

    return radiograph_dataset(number=7, PatientName="Weber^Petra")


def test_withdrawn_is_a_value_like_every_state():
    from support.ledgers import NOON, source  # noqa: PLC0415

    from node.store import case_json  # noqa: PLC0415

    case = Withdrawn(
        case_id=1, source=source(), version=2, reason=REASON, rejection="safety", by="K. Braun", at=NOON, stated=True
    )
    assert case_json.parse("Withdrawn", case_json.dump(case)) == case
    assert case_json.words_of(case) == "withdrawn"
    assert "Withdrawn" in case_json.FINAL_STATES
    assert dataclasses.replace(case, stated=False) != case
