from __future__ import annotations

import datetime as dt
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ledgers import NOON, matched, reported, scored, screened, source

from model.domain import MatchClass, Reason
from node.case import (
    Case,
    Delivered,
    Failed,
    ImageScored,
    Matched,
    NotApplicable,
    Proof,
    Received,
    ReportObject,
    Screened,
    Source,
)
from node.errors import FailureCode
from node.store import case_json, cases, duplicates, jobs
from node.store.cases import Receipt
from node.store.engine import Ledger
from node.store.errors import NoSuchCase


def receive(ledger: Ledger, image: Source | None = None) -> cases.Reception:
    with ledger.begin() as c:
        return cases.receive(c, image or source())


def failed(case_id: int) -> Failed:
    return Failed(case_id=case_id, source=source(), code=FailureCode.PIXEL_DECODE, detail="JPEG ends early")


def test_a_new_image_opens_a_case_with_its_first_event(ledger: Ledger):
    got = receive(ledger)
    assert (got.receipt, got.file) == (Receipt.NEW, source().spool_file)
    with ledger.read() as c:
        assert cases.load(c, got.case_id) == Received(case_id=got.case_id, source=source())
        assert cases.by_uid(c, "1.2.3.1.1.1") == Received(case_id=got.case_id, source=source())
        assert [(e.state, e.reason, e.detail) for e in cases.history(c, got.case_id)] == [("Received", "received", {})]


def test_the_same_bytes_again_change_nothing_and_are_counted(ledger: Ledger):
    first = receive(ledger)
    again = [receive(ledger) for _ in range(19)]
    assert {(a.receipt, a.case_id, a.file) for a in again} == {(Receipt.SAME, first.case_id, source().spool_file)}
    elsewhere = receive(ledger, source(file="second-copy.dcm"))
    assert elsewhere.file == source().spool_file
    with ledger.read() as c:
        assert len(cases.history(c, first.case_id)) == 1
        (counted,) = duplicates.listed(c, case_id=first.case_id)
        assert (counted.copies, counted.differs, counted.spool_file) == (20, False, None)
        assert cases.spool_files(c) == {source().spool_file}


def test_other_bytes_under_a_known_uid_are_kept_and_flagged(ledger: Ledger):
    first = receive(ledger)
    other = source(content=b"other film")
    got = receive(ledger, other)
    assert (got.receipt, got.case_id, got.file) == (Receipt.DIFFERS, first.case_id, other.spool_file)
    once_more = receive(ledger, source(content=b"other film", file="again.dcm"))
    assert (once_more.receipt, once_more.file) == (Receipt.DIFFERS, other.spool_file)
    with ledger.read() as c:
        case = cases.load(c, first.case_id)
        assert case.source == source()
        (kept,) = duplicates.listed(c, differing=True)
        assert (kept.digest, kept.spool_file, kept.copies, kept.last_at) == (other.digest, other.spool_file, 2, NOON)
        assert duplicates.listed(c, differing=False) == ()
        assert cases.spool_files(c) == {source().spool_file, other.spool_file}


def test_every_state_comes_back_as_it_was_saved_with_its_history(ledger: Ledger):
    number = receive(ledger).case_id
    objects = (ReportObject(kind="sr", sop_class_uid="1.2", sop_instance_uid="2.25.1", sha256="a" * 64),)
    way: list[Case] = [
        ImageScored(case_id=number, source=source(), wait_until=NOON),
        matched(number),
        screened(number),
        reported(number),
        Delivered(
            case_id=number,
            source=source(),
            match=MatchClass.MATCH_ISSUER,
            result=screened(number).result,
            objects=objects,
            proofs=(Proof(destination="pacs", kind="c-store", at=NOON),),
        ),
    ]
    for case in way:
        with ledger.begin() as c:
            cases.save(c, case, why="step", detail={"observations": [7]})
        with ledger.read() as c:
            assert cases.load(c, number) == case
    with ledger.read() as c:
        events = cases.history(c, number)
        assert [e.state for e in events] == [
            "Received",
            "ImageScored",
            "Matched",
            "Screened",
            "Reported",
            "Delivered",
        ]
        assert events[1].detail == {"observations": [7]}
        assert events[0].at.utcoffset() == dt.timedelta(0)
        assert cases.count_by_state(c) == {
            "Received": 0,
            "ImageScored": 0,
            "Matched": 0,
            "Screened": 0,
            "Reported": 0,
            "Delivered": 1,
            "NotApplicable": 0,
            "Failed": 0,
            "Withdrawn": 0,
        }


def test_the_codes_of_an_end_are_found_again(ledger: Ledger):
    numbers = [receive(ledger, source(n, study=n)).case_id for n in (1, 2, 3)]
    ended = NotApplicable(case_id=numbers[0], source=source(), reasons=(Reason.VIEW_LATERAL, Reason.TOO_SMALL))
    with ledger.begin() as c:
        cases.save(c, ended)
        cases.save(c, failed(numbers[1]))
    with ledger.read() as c:
        assert [line.case_id for line in cases.find(c)] == numbers[::-1]
        assert [line.case_id for line in cases.find(c, before=numbers[2], limit=1)] == [numbers[1]]
        assert [line.case_id for line in cases.find(c, state="Received")] == [numbers[2]]
        assert [line.case_id for line in cases.find(c, reason="TOO_SMALL")] == [numbers[0]]
        assert cases.find(c, reason="TOO%") == cases.find(c, reason="SMALL") == ()
        (line,) = cases.find(c, study_uid="1.2.3.2")
        assert (line.reason, line.state, line.received_at, line.calling_ae) == (
            "PIXEL-DECODE",
            "Failed",
            NOON,
            "MODALITY1",
        )
        event = cases.history(c, numbers[1])[-1]
        assert (event.reason, event.detail) == ("PIXEL-DECODE", {"detail": "JPEG ends early"})


def test_a_failed_case_is_taken_up_again_with_event_and_task(ledger: Ledger):
    number = receive(ledger).case_id
    with ledger.begin() as c:
        jobs.enqueue(c, "advance", str(number), lane="infer")
        (task,) = jobs.claim(c, "infer", 1, owner="o", lease=60)
        cases.save(c, failed(number))
        jobs.bury(c, task, error="e")
    with ledger.begin() as c:
        assert cases.reopen(c, number, kind="advance", lane="infer") == Received(case_id=number, source=source())
    with ledger.begin() as c:
        assert [t.key for t in jobs.claim(c, "infer", 1, owner="o", lease=60)] == [str(number)]
        last = cases.history(c, number)[-1]
    assert (last.state, last.detail) == ("Received", {"was": "PIXEL-DECODE"})


def test_only_a_failed_case_is_reopened(ledger: Ledger):
    number = receive(ledger).case_id
    with pytest.raises(NoSuchCase, match="is Received, not Failed"), ledger.begin() as c:
        cases.reopen(c, number, kind="advance", lane="infer")


def test_an_unknown_case_is_said_to_be_unknown(ledger: Ledger):
    with pytest.raises(NoSuchCase), ledger.begin() as c:
        cases.save(c, matched(404))
    with ledger.read() as c:
        with pytest.raises(NoSuchCase):
            cases.load(c, 404)
        assert cases.by_uid(c, "1.2") is None


def test_a_naive_time_is_no_instant(ledger: Ledger):
    naive = dt.datetime(2026, 3, 1)  # noqa: DTZ001 - the mistake under test
    image = source()
    with pytest.raises(Exception, match="naive datetime"):
        receive(
            ledger,
            Source(
                reference=image.reference,
                spool_file=image.spool_file,
                digest=image.digest,
                calling_ae=image.calling_ae,
                received_at=naive,
            ),
        )


@pytest.mark.parametrize("state", sorted(case_json.STATES))
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_json_round_trip_of_every_state(state: str, data: st.DataObject):
    case = data.draw(drawn(case_json.STATES[state]))
    back = case_json.parse(state, case_json.dump(case))
    # By repr, which shows every bit of a number and lets NaN equal NaN; `fold` means nothing for a time in UTC.
    same = repr(back) == repr(case).replace(", fold=1", "")
    assert same, back


def drawn(state: type[Case]) -> st.SearchStrategy[Case]:
    """Cases with any number, text and time; a Scored is made from a valid one, since it refuses what is not."""
    if "result" not in state.__dataclass_fields__:
        return st.builds(state)
    probability = st.floats(min_value=0, max_value=1)
    square = st.lists(st.tuples(probability, probability), max_size=3).map(tuple)
    return st.builds(state, result=st.builds(scored, p_image=probability, t_high=probability, attention=square))


def test_measurements_without_a_number_in_json_survive():
    case = NotApplicable(
        case_id=1, source=source(), reasons=(Reason.OUT_OF_DIST,), measurements=(("a", math.inf), ("b", math.nan))
    )
    back = case_json.parse("NotApplicable", case_json.dump(case))
    assert isinstance(back, NotApplicable)
    assert back.measurements[0] == ("a", math.inf)
    assert math.isnan(back.measurements[1][1])


def test_final_states_and_codes():
    assert case_json.FINAL_STATES == ("Delivered", "NotApplicable", "Failed", "Withdrawn")
    assert case_json.codes_of(matched(1)) == ""
    assert {case_json.state_of(case) for case in (matched(1), screened(1), failed(1))} == {
        Matched.__name__,
        Screened.__name__,
        Failed.__name__,
    }


@pytest.mark.parametrize("state", ["Matched", "Screened", "Reported", "Delivered"])
def test_documents_of_older_releases_are_read(state: str):
    """Cases saved before there were versions: nobody knows whom they were joined with, and they are version 1."""
    cases_now = {"Matched": matched(1), "Screened": screened(1), "Reported": reported(1)}
    delivered = Delivered(
        case_id=1, source=source(), match=MatchClass.MATCH_ISSUER, result=screened(1).result, objects=(), proofs=()
    )
    case = cases_now.get(state, delivered)
    (document,) = json.loads(case_json.dump(case))
    for added in ("version", "persons"):
        document.pop(added, None)
    assert case_json.parse(state, json.dumps([document])) == case
