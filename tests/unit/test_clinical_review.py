"""Corrections, deletions, merges and their reversal that touch a report: correction flags review (section 15).

And what a person does about it: `osteon cases --review`, `osteon case`, `osteon review`, `osteon alerts`.
"""

from __future__ import annotations

import datetime as dt
import json
import threading

import pytest
import sqlalchemy as sa
from support.hospital import await_true
from support.node_parts import settings
from support.reporting import Desk, EvidenceScreener, adt, merge, person, weight

from config.settings import parse
from model.domain import MatchClass, Mode, NotAssessed, Reason
from node import film, remark_views
from node.alert_views import MEANINGS, clear_alert, show_alerts
from node.case import Cause, Delivered, Reported
from node.case_decisions import amend_case, keep_case
from node.case_views import show_case, show_cases
from node.facts import Unusable
from node.store import alerts, cases, clinical_merges, jobs, report_objects, report_versions, reviews
from node.store.alerts import AlertKind
from node.store.errors import LedgerUnavailable, NoSuchCase
from node.store.installation import installation_identity
from node.store.schema import screening_case
from node.store.version_schema import used_observation, used_person
from node.waking import Waking

CHANGED_TO_80 = weight("80", status="C")


@pytest.fixture
def desk(ledger, tmp_path):
    return Desk(ledger, tmp_path)


def reported(desk, *, name: str = "0012345") -> int:
    """A delivered case that rests on a weight of 61.5 kg."""
    desk.tell(adt(pid=person(name)), weight(pid=person(name)))
    case_id = desk.receive()
    desk.work()
    desk.deliver(case_id)
    return case_id


def state(desk, case_id):
    """(version, review code, what the open REVIEW alerts are about)."""
    with desk.ledger.read() as c:
        found = alerts.find(c)
        review = reviews.pending(c, case_id).review
        version = report_versions.newest(c, case_id)
    return version, review, [(a.subject, a.detail, a.count) for a in found if a.kind == AlertKind.REVIEW]


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([weight("80", status="C")], "CORRECTED"),
        ([weight("61.5", status="D")], "CORRECTED"),
        ([weight("61.5", status="W")], "CORRECTED"),
        ([merge("7001", "0012345")], "PERSON-CHANGED"),
        ([adt("A29")], "PERSON-CHANGED"),
    ],
    ids=["C other value", "D", "W", "merge", "tombstone"],
)
def test_correction_flags_review(desk, messages, code):
    case_id = reported(desk)
    desk.tell(*messages)
    desk.work()
    assert state(desk, case_id) == (1, code, [(f"case {case_id}", code, 1)])
    assert isinstance(desk.case(case_id), Delivered)
    assert desk.history(case_id)[-1].startswith(f"for review: {code}")
    desk.tell(adt("A31"))  # the same evidence flags it once
    desk.work()
    assert state(desk, case_id) == (1, code, [(f"case {case_id}", code, 1)])
    with desk.ledger.read() as c:
        assert [line.case_id for line in cases.find(c, review=True)] == [case_id]


def test_a_merge_reversal_flags_what_was_joined_through_the_merge(desk):
    desk.tell(adt(pid=person("7001")), weight(pid=person("7001")), merge("7001", "0012345"))
    case_id = desk.receive()
    desk.work()
    desk.deliver(case_id)
    assert desk.case(case_id).result.mode is Mode.IMAGE_AND_CLINICAL
    with desk.ledger.begin() as c:
        (edge,) = clinical_merges.merges(c)
        changes = clinical_merges.undo_merge(c, edge.id, dt.datetime.now(dt.UTC))
        Waking(settle=0.0).by_changes(c, changes)
    desk.work()
    assert state(desk, case_id)[:2] == (1, "PERSON-CHANGED")


def test_a_correction_to_the_same_value_is_no_correction(desk):
    case_id = reported(desk)
    desk.tell(weight("61.50", status="C"))
    desk.work()
    assert state(desk, case_id) == (1, "", [])


def test_a_correction_of_a_value_the_report_does_not_rest_on_flags_nothing(desk):
    desk.tell(adt(), weight("90", at="20230401080000+0000"))
    case_id = reported(desk)
    desk.tell(weight("91", status="C", at="20230401080000+0000"))
    desk.work()
    assert state(desk, case_id) == (1, "", [])


def test_a_correction_after_the_window_still_flags(desk):
    case_id = reported(desk)
    desk.made(case_id, before=dt.timedelta(days=400))
    desk.tell(CHANGED_TO_80)
    desk.work()
    assert state(desk, case_id)[:2] == (1, "CORRECTED")


def test_where_the_site_says_so_a_correction_amends_once_per_cause(desk):
    desk.tables = {"clinical": {"on_correction": "amend"}}
    case_id = reported(desk)
    desk.tell(CHANGED_TO_80)
    desk.work()
    assert state(desk, case_id) == (2, "", [])
    desk.tell(CHANGED_TO_80, adt("A31"))
    desk.work()
    assert state(desk, case_id) == (2, "", [])
    desk.deliver(case_id, 2)
    desk.tell(weight("80", status="D"))
    desk.work()
    case = desk.case(case_id)
    assert (case.version, case.result.mode) == (3, Mode.IMAGE_ONLY)
    with desk.ledger.read() as c:
        assert [v.basis.cause for v in report_versions.all_of(c, case_id)] == [
            Cause.FIRST,
            Cause.CORRECTION,
            Cause.CORRECTION,
        ]
        assert report_versions.released(c, case_id) == (1, 2)


def test_a_merge_that_changes_no_value_amends_nothing(desk):
    """Same inputs -> same UIDs -> no new report, also where corrections amend."""
    desk.tables = {"clinical": {"on_correction": "amend"}}
    case_id = reported(desk)
    desk.tell(adt(pid=person("7001")), merge("7001", "0012345"))
    desk.work()
    assert state(desk, case_id) == (1, "", [])
    assert "logged only, the evidence is the same" in desk.history(case_id)[-1]


def test_a_person_keeps_a_report_and_the_same_evidence_does_not_flag_it_again(desk, ledger_url):
    case_id = reported(desk)
    desk.tell(CHANGED_TO_80)
    desk.work()
    site = at(ledger_url)
    assert keep_case(site, case_id, reason="typing error at the ward") == f"case {case_id} keeps its report"
    assert state(desk, case_id) == (1, "", [])
    assert desk.history(case_id)[-1] == "reviewed, kept by a person: typing error at the ward"
    desk.tell(adt("A31"))
    desk.work()
    assert state(desk, case_id) == (1, "", [])
    desk.tell(weight("82", status="C"))  # another cause
    desk.work()
    assert state(desk, case_id)[1] == "CORRECTED"
    with pytest.raises(NoSuchCase, match="does not exist"):
        keep_case(site, 999, reason="x")


def test_a_person_has_a_report_amended(desk, ledger_url):
    case_id = reported(desk)
    desk.tell(CHANGED_TO_80)
    desk.work()
    amend_case(at(ledger_url), case_id, reason="the scale was wrong")
    desk.work()
    assert state(desk, case_id) == (2, "", [])
    case = desk.case(case_id)
    assert isinstance(case, Reported)
    assert case.match is MatchClass.MATCH_ISSUER
    with desk.ledger.read() as c:
        assert report_versions.all_of(c, case_id)[-1].basis.cause is Cause.PERSON
        assert report_versions.released(c, case_id) == (1,)
    assert "reviewed, to be amended by a person: the scale was wrong" in desk.history(case_id)
    amend_case(at(ledger_url), case_id, reason="again")
    desk.work()
    assert state(desk, case_id)[0] == 2
    assert desk.history(case_id)[-1] == "asked to amend: the evidence is the same, no new report"


def weighed_while(desk, happens) -> None:
    """A worker weighs what is due; something happens before what it found is saved."""
    with desk.ledger.begin() as c:
        (task,) = jobs.claim(c, "infer", 1, owner="test", lease=60)
    change = desk.worker().advance(task)
    happens()
    with desk.ledger.begin() as c:
        assert jobs.finish(c, task)
        change(c)


def test_a_correction_that_comes_while_earlier_news_are_weighed_is_weighed_too(desk):
    case_id = reported(desk)
    desk.tell(weight("60", at="20240215080000+0000"))
    weighed_while(desk, lambda: desk.tell(CHANGED_TO_80))
    assert state(desk, case_id) == (1, "", [])
    desk.work()
    assert state(desk, case_id)[:2] == (1, "CORRECTED")
    with desk.ledger.read() as c:
        assert reviews.pending(c, case_id).stirred_at is None


def test_a_request_that_comes_while_news_are_weighed_is_not_lost(desk, ledger_url):
    case_id = reported(desk)
    desk.tell(CHANGED_TO_80)
    weighed_while(desk, lambda: amend_case(at(ledger_url), case_id, reason="the scale was wrong"))
    desk.work()
    assert state(desk, case_id) == (2, "", [])


@pytest.mark.parametrize("why", ["its image is gone", "the code table is not confirmed"])
def test_an_amendment_a_person_asked_for_is_never_dropped_silently(desk, ledger_url, why):
    case_id = reported(desk)
    desk.tell(CHANGED_TO_80)
    desk.work()
    if why == "its image is gone":
        desk.worker().pipeline.spool.path(desk.case(case_id).source.spool_file).unlink()
    else:
        desk.tables = {"clinical": {"codes": {"confirmed_version": "another"}}}
    for _ in range(2):
        amend_case(at(ledger_url), case_id, reason="the scale was wrong")
        desk.work()
        assert state(desk, case_id)[:2] == (1, "AMENDMENT-FAILED")
        assert desk.history(case_id)[-1] == f"for review: AMENDMENT-FAILED (not amended: {why})"


def test_an_amendment_to_what_cannot_be_assessed_leaves_the_report_flagged(desk, ledger_url, monkeypatch):
    case_id = reported(desk)
    refused = NotAssessed(reasons=(Reason.AGE_UNDER,), measurements=())
    monkeypatch.setattr(EvidenceScreener, "combine", lambda *_: refused)
    desk.tell(CHANGED_TO_80)
    desk.work()
    assert state(desk, case_id)[:2] == (1, "NOT-ASSESSABLE")
    amend_case(at(ledger_url), case_id, reason="the birth date was wrong")
    desk.work()
    assert state(desk, case_id)[:2] == (1, "NOT-ASSESSABLE")


def test_without_its_image_a_report_is_still_flagged(desk):
    """Images are removed after their retention; what a report rests on may be corrected years later."""
    case_id = reported(desk)
    desk.worker().pipeline.spool.path(desk.case(case_id).source.spool_file).unlink()
    desk.tell(CHANGED_TO_80)
    desk.work()
    assert state(desk, case_id)[:2] == (1, "CORRECTED")


def test_an_amendment_that_cannot_be_made_leaves_the_report_and_asks_for_a_person(desk, ledger_url):
    case_id = reported(desk)
    source = desk.case(case_id).source
    desk.tell(CHANGED_TO_80)
    desk.work()
    path = desk.worker().pipeline.spool.path(source.spool_file)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # the header can be read, the pixels are not what was received
    path.write_bytes(content)
    film._decode.cache_clear()
    amend_case(at(ledger_url), case_id, reason="corrected")
    desk.work()
    assert state(desk, case_id)[:2] == (1, "AMENDMENT-FAILED")
    assert isinstance(desk.case(case_id), Delivered)
    assert "SPOOL-MISSING" in desk.history(case_id)[-1]


def test_a_report_of_an_older_release_is_flagged_since_nobody_knows_what_it_rests_on(desk):
    case_id = reported(desk)
    with desk.ledger.begin() as c:
        for table in (used_observation, used_person):
            c.execute(sa.delete(table))
    desk.tell(weight("70", at="20240305080000+0000"))
    desk.work()
    assert state(desk, case_id)[:2] == (1, "CORRECTED")


def at(ledger_url):
    """Settings of an operator's command over the same ledger."""
    if ledger_url.startswith("postgresql"):
        return parse({"storage": {"database_url": ledger_url}}, origin="test")
    return parse({"storage": {"data_dir": ledger_url.rpartition("/")[0]}}, origin="test")


def test_osteon_case_shows_every_version_with_its_uids_and_deliveries(desk, ledger_url, capsys):
    case_id = reported(desk)
    desk.tell(weight("70", at="20240305080000+0000"))
    desk.work()
    capsys.readouterr()
    show_case(at(ledger_url), case_id, as_json=True)
    first, second = json.loads(capsys.readouterr().out)["versions"]
    assert (first["fate"], second["fate"]) == ("superseded", "current")
    assert (first["cause"], second["cause"]) == ("first", "late-data")
    assert second["changed"] == "category BETWEEN -> BELOW; weight changed"
    with desk.ledger.read() as c:
        frozen = [[o.sop_instance_uid for o in report_objects.frozen(c, case_id, v)] for v in (1, 2)]
    assert [[o["sop_instance_uid"] for o in v["objects"]] for v in (first, second)] == frozen
    assert [v["deliveries"][0]["state"] for v in (first, second)] == ["delivered", "waiting"]
    show_case(at(ledger_url), case_id, as_json=False)
    shown = capsys.readouterr().out
    assert "version 2 (current)" in shown
    assert frozen[1][1] in shown


def test_values_that_cannot_be_used_are_named_by_reason_for_the_case_and_for_the_feed(desk, ledger_url, capsys):
    stones = weight("70").replace(b"|kg^^UCUM|", b"|stones|")
    late = "20240302080000+0000"
    desk.tell(adt(), stones, weight("abc", at=late), weight("9", at="20240303080000+0000", status="D"))
    case_id = desk.receive()
    desk.work()
    capsys.readouterr()
    show_case(at(ledger_url), case_id, as_json=False)
    assert "weight: not known (2 values received, not usable: NUMBER, UNIT)" in capsys.readouterr().out
    show_case(at(ledger_url), case_id, as_json=True)
    assert json.loads(capsys.readouterr().out)["unusable"] == {"weight": {"NUMBER": 1, "UNIT": 1}}
    remark_views.show_remarks(at(ledger_url), as_json=True)
    counted = {one["code"]: one["count"] for one in json.loads(capsys.readouterr().out)}
    assert {code: counted.get(code, 0) for code in ("NUMBER", "UNIT", "VOID")} == {"NUMBER": 1, "UNIT": 1, "VOID": 0}
    desk.tell(weight("61.5", status="C"), weight("61.5", at=late, status="C"))
    capsys.readouterr()
    remark_views.show_remarks(at(ledger_url), as_json=True)
    assert not {"NUMBER", "UNIT"} & {one["code"] for one in json.loads(capsys.readouterr().out)}


def test_every_reason_not_to_use_a_value_has_its_meaning():
    assert {*Unusable} - {*remark_views.MEANINGS} == {Unusable.VOID, Unusable.WRONG_PATIENT, Unusable.WITHDRAWN}


def test_osteon_cases_review_and_alerts_say_what_is_open(desk, ledger_url, capsys):
    flagged, other = reported(desk), desk.receive(_other_film())
    desk.work()
    desk.tell(CHANGED_TO_80)
    desk.work()
    site = at(ledger_url)
    capsys.readouterr()
    show_cases(site, state="", review=True, limit=50, as_json=True)
    listed = json.loads(capsys.readouterr().out)["cases"]
    assert [(line["case"], line["review"]) for line in listed] == [(flagged, "CORRECTED")]
    assert other != flagged
    show_alerts(site, include_cleared=False, as_json=True)
    (alert,) = [a for a in json.loads(capsys.readouterr().out) if a["kind"] == "REVIEW"]
    assert (alert["subject"], alert["detail"]) == (f"case {flagged}", "CORRECTED")
    assert "osteon review" in alert["next_step"]
    show_alerts(site, include_cleared=False, as_json=False)
    assert "next: " in capsys.readouterr().out
    assert clear_alert(site, alert["id"]) == f"alert {alert['id']} is cleared"
    with pytest.raises(NoSuchCase):
        clear_alert(site, alert["id"])
    show_alerts(site, include_cleared=True, as_json=True)
    assert alert["id"] in [a["id"] for a in json.loads(capsys.readouterr().out) if a["cleared_at"]]


def _other_film():
    from support.dicom_objects import radiograph_dataset  # noqa: PLC0415

    return radiograph_dataset(number=7, PatientName="Other^Anna", PatientID="99")


def test_every_kind_of_alert_has_a_meaning_and_a_next_step():
    assert set(MEANINGS) == set(AlertKind)
    assert all(text.endswith(".") for texts in MEANINGS.values() for text in texts)


def test_a_conflict_raises_its_alert_with_the_match_that_found_it(desk):
    desk.tell(adt(pid=person(name="MEYER^KARL^^^^^L", born="19301212")))
    case_id = desk.receive()
    desk.work()
    assert desk.case(case_id).match is MatchClass.CONFLICT
    with desk.ledger.read() as c:
        (alert,) = [a for a in alerts.find(c) if a.kind == AlertKind.MATCH_CONFLICT]
        stirred = c.execute(sa.select(screening_case.c.stirred_at)).scalar_one()
    assert alert.subject == f"case {case_id}"
    assert stirred is None


def test_a_report_that_turns_into_a_conflict_raises_the_alert(desk):
    case_id = desk.receive()
    desk.work()
    assert desk.case(case_id).match is MatchClass.UNKNOWN_PATIENT
    desk.tell(adt(pid=person(name="MEYER^KARL^^^^^L", born="19301212")))
    desk.work()
    (alert,) = conflicts(desk)
    assert alert.subject == f"case {case_id}"
    assert alert.detail.startswith("BIRTH_DATE,FAMILY_NAME")
    assert desk.case(case_id).version == 1


def test_a_delivered_report_whose_patient_no_longer_fits_is_flagged_and_raises_the_alert_once(desk, ledger_url):
    case_id = reported(desk)
    stranger = person("7001", name="MEYER^KARL^^^^^L", born="19301212")
    desk.tell(adt(pid=stranger), adt("A40", "MRG|0012345^^^HOSP^MR", pid=stranger))
    desk.work()
    assert state(desk, case_id)[:2] == (1, "PERSON-CHANGED")
    (alert,) = conflicts(desk)
    assert alert.subject == f"case {case_id}"
    keep_case(at(ledger_url), case_id, reason="seen")
    clear_alert(at(ledger_url), alert.id)
    desk.tell(adt("A31", pid=stranger))
    desk.work()
    assert conflicts(desk) == []


def conflicts(desk):
    with desk.ledger.read() as c:
        return [a for a in alerts.find(c) if a.kind == AlertKind.MATCH_CONFLICT]


def test_values_that_came_while_no_code_table_was_confirmed_amend_once_one_is(desk):
    confirmed = settings().clinical
    unconfirmed = settings(clinical={"codes": {"confirmed_version": "another"}}).clinical
    assert started(desk, confirmed) == 0  # no report yet
    case_id, old = desk.receive(), desk.receive(_other_film())
    desk.work()
    desk.made(old, before=dt.timedelta(days=2))
    desk.tables = {"clinical": {"codes": {"confirmed_version": "another"}}}
    assert started(desk, unconfirmed) == 0
    desk.tell(adt(), weight())
    desk.work()
    assert state(desk, case_id) == (1, "", [])
    desk.tables = {}
    assert started(desk, confirmed) == 1  # the older one is out of the window
    desk.work()
    assert desk.case(case_id).result.mode is Mode.IMAGE_AND_CLINICAL
    assert desk.case(old).version == 1
    assert started(desk, confirmed) == 0  # a second worker, or a restart


def test_an_image_reported_while_no_code_table_was_confirmed_is_amended_once_one_is(desk):
    desk.tables = {"clinical": {"codes": {"confirmed_version": "another"}}}
    desk.tell(adt(), weight())
    case_id = desk.receive()
    desk.work()
    assert desk.case(case_id).match is MatchClass.CODES_UNCONFIRMED
    desk.tables = {}
    assert started(desk, settings().clinical) == 1
    desk.work()
    assert (desk.case(case_id).version, desk.case(case_id).match) == (2, MatchClass.MATCH_ISSUER)


def started(desk, clinical):
    """What a worker does of it at its start."""
    with desk.ledger.begin() as c:
        installation_identity(c)
        return Waking(settle=0.0).by_code_table(c, clinical)


def test_a_feed_and_a_worker_lock_task_and_case_in_one_order(desk):
    """PostgreSQL would end one of them with a deadlock."""
    case_id = reported(desk)
    desk.tell(weight("62", at="20240305080000+0000"))
    failed = []

    def feed() -> None:
        try:
            desk.tell(CHANGED_TO_80)
        except LedgerUnavailable as error:
            failed.append(str(error))

    with desk.ledger.begin() as c:
        (task,) = jobs.claim(c, "infer", 1, owner="test", lease=60)
    telling = threading.Thread(target=feed)
    with desk.ledger.begin() as c:
        jobs.checkpoint(c, task)
        telling.start()
        if c.dialect.name == "postgresql":
            await_true(lambda: waits_for_a_lock(desk), "the feed waits for the worker", limit=30)
        reviews.flag(c, case_id, "CORRECTED")
    telling.join()
    assert failed == []
    with desk.ledger.read() as c:
        assert reviews.pending(c, case_id).stirred_at is not None


def waits_for_a_lock(desk) -> bool:
    with desk.ledger.read() as c:
        return bool(c.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one())


def test_a_code_table_that_is_no_longer_confirmed_takes_no_report_back(desk):
    """After an upgrade nothing joins until somebody signs the new table; older reports stand, corrections count."""
    case_id = reported(desk)
    desk.tables = {"clinical": {"codes": {"confirmed_version": "another"}}}
    desk.tell(adt("A31"), weight("70", at="20240305080000+0000"))
    desk.work()
    assert state(desk, case_id) == (1, "", [])
    desk.tell(CHANGED_TO_80)
    desk.work()
    assert state(desk, case_id)[:2] == (1, "CORRECTED")
