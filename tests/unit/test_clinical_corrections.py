"""Corrections and voids (OBX-11 C, D, W, X) that state another time than the value, or come before it again."""

import dataclasses
import datetime as dt

import pytest
import sqlalchemy as sa
from support.clinical import deliver, merge, weights
from support.hl7 import RULES, message, pid, when

from config.code_file import code_table
from node.facts import ChangeKind
from node.remark_views import MEANINGS
from node.store import clinical
from node.store.alerts import find as alerts
from node.store.clinical_message import OUTDATED
from node.store.clinical_schema import observation

ORDER = "OBR|1|P1|F1^LAB|X^X^L|||20250309085500+0000"
NINE, HALF_PAST_EIGHT = "20250309090000+0000", "20250309083000+0000"


@pytest.fixture
def c(ledger):
    with ledger.begin() as connection:
        yield connection


def obx(value="61.5", status="F", at=NINE, *, sub_id="", code="29463-7"):
    return f"OBX|1|NM|{code}^^LN|{sub_id}|{value}|kg|||||{status}|||{at}"


def result(*values, order=ORDER, control="1", sent="20250309113000+0000", patient=None):
    return message("ORU^R01", patient or pid(), order, *values, control=control, sent=sent)


def standing(c):
    """(value, start, reason) of the open versions, as they were written."""
    t = observation.c
    rows = c.execute(sa.select(t.value, t.start_at, t.reason).where(t.superseded_at.is_(None)).order_by(t.id))
    return [(row.value, f"{row.start_at:%H:%M}", row.reason) for row in rows]


def unclear(c):
    return [(a.subject, a.detail) for a in alerts(c) if a.kind == "CORRECTION_UNCLEAR"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [("D", ChangeKind.VOIDED), ("X", ChangeKind.VOIDED), ("W", ChangeKind.WRONG_PATIENT)],
)
@pytest.mark.parametrize("order", [ORDER, ORDER.replace("20250309085500+0000", "")])
def test_a_void_without_the_time_of_its_value_takes_it_back(c, status, kind, order):
    deliver(c, result(obx("61.5"), order=order))
    (done,) = deliver(c, result(obx("61.5", status, ""), control="2", order=order))
    assert (weights(c), [change.kind for change in done.changes], done.remarks) == ([], [kind], ())
    (again,) = deliver(c, result(obx("61.5", status, ""), control="3", order=order))
    assert (again.written, again.remarks) == (0, ())


def test_a_correction_of_the_time_too_replaces_the_value(c):
    deliver(c, result(obx("64.0")))
    deliver(c, result(obx("61.5", "C", HALF_PAST_EIGHT), control="2", sent="20250309115000+0000"))
    assert standing(c) == [(61.5, "08:30", "")]
    deliver(c, result(obx("61.5", "D", HALF_PAST_EIGHT), control="3", sent="20250309120000+0000"))
    assert [reason for _, _, reason in standing(c)] == ["VOID"]
    assert unclear(c) == []


def test_it_is_found_under_another_number_of_the_person_too(c):
    deliver(c, result(obx("64.0"), patient=pid("200002")))
    clinical.apply(c, [merge("100001", "200002")], when(10))
    deliver(c, result(obx("61.5", "C", HALF_PAST_EIGHT), control="2"))
    assert (weights(c), len(standing(c))) == ([61.5], 1)


@pytest.mark.parametrize("status", ["C", "D"])
def test_of_several_measurements_under_one_number_none_is_guessed(c, status):
    deliver(c, result(obx("60.0", at=HALF_PAST_EIGHT)), result(obx("61.5"), control="2"))
    (done,) = deliver(c, result(obx("63.0", status, "20250309081500+0000"), control="3"))
    assert {(60.0, "08:30", ""), (61.5, "09:00", "")} <= set(standing(c))
    assert (done.remarks, unclear(c)) == (("VOID_NOT_FOUND",), [("frame 3", "VOID_NOT_FOUND")])


def test_a_correction_of_one_repeat_hits_the_one_of_its_time(c):
    """Sent alone it is the first of its message, and was the second of that message."""
    deliver(c, result(obx("60.0", at=HALF_PAST_EIGHT), obx("61.5")))
    deliver(c, result(obx("63.0", "C"), control="2"))
    assert sorted(standing(c)) == [(60.0, "08:30", ""), (63.0, "09:00", "")]


@pytest.mark.parametrize("other", [{"sub_id": "2"}, {"code": "3141-9"}])
def test_another_sub_id_or_code_is_another_value(c, other):
    deliver(c, result(obx("60.0", sub_id="1")))
    deliver(c, result(obx("61.5", "C", HALF_PAST_EIGHT, **({"sub_id": "1"} | other)), control="2"))
    assert (60.0, "09:00", "") in standing(c)


@pytest.mark.parametrize("order", [("F", "C"), ("C", "F")])
def test_a_value_that_the_message_states_itself_is_not_what_its_correction_means(c, order):
    """The first F of the second measurement never came."""
    deliver(c, result(obx("60.0", at=HALF_PAST_EIGHT, sub_id="1")))
    both = {"F": obx("60.0", at=HALF_PAST_EIGHT, sub_id="1"), "C": obx("61.5", "C", sub_id="1")}
    deliver(c, result(*(both[one] for one in order), control="2"))
    assert standing(c) == [(60.0, "08:30", ""), (61.5, "09:00", "")]


def test_a_correction_whose_value_never_came_is_a_new_value(c):
    deliver(c, result(obx("60.0", at="20250308090000+0000"), order=ORDER.replace("F1", "F0")))
    (done,) = deliver(c, result(obx("61.5", "C"), control="2"))
    assert (weights(c), done.refused, unclear(c)) == ([61.5], (), [])
    assert [value for value, _, _ in standing(c)] == [60.0, 61.5]


def test_a_void_of_an_unknown_order_is_for_a_person_where_such_a_value_is_in_use(c):
    (nobodys,) = deliver(c, result(obx("61.5", "D")))
    assert (nobodys.remarks, unclear(c)) == (("VOID_NOT_FOUND",), [])
    deliver(c, result(obx("61.5"), order=ORDER.replace("F1", "F2"), control="2"))
    deliver(c, result(obx("61.5", "D"), order=ORDER.replace("F1", "F3"), control="3"))
    assert unclear(c) == [("frame 3", "VOID_NOT_FOUND")]


def test_a_dose_that_was_not_given_takes_no_other_dose_back(c, tmp_path, monkeypatch):
    site = tmp_path / "site.toml"
    site.write_text('[[codes]]\ncode = "H02AB*"\nsystem = "WC"\nconfirmed = true\n')
    monkeypatch.setattr("support.clinical.RULES", dataclasses.replace(RULES, codes=code_table(site)))
    given, other = (
        message("RAS^O17", pid(), "ORC|RE|P1|F1", f"RXA|0|1|{at}|{at}|H02AB06^Prednisolone^WC|5|mg{rest}", control=n)
        for at, rest, n in ((NINE, "", "1"), ("20250309130000+0000", "|" * 13 + "NA", "2"))
    )
    deliver(c, given, other)
    assert [(at, reason) for _, at, reason in standing(c)] == [("09:00", ""), ("13:00", "VOID")]
    assert unclear(c) == []


@pytest.mark.parametrize(("status", "left"), [("C", [62.5]), ("D", []), ("W", []), ("X", [])])
@pytest.mark.parametrize("together", [True, False])
def test_a_value_that_comes_again_after_its_correction_says_nothing_against_it(c, status, left, together):
    """An interface engine that plays its queue again stamps a control ID of its own, and leaves MSH-7."""
    first, mended = result(obx()), result(obx("62.5", status), control="2", sent="20250309115000+0000")
    again = result(obx(), control="3")
    if together:
        *_, done = deliver(c, first, mended, again)
    else:
        done = [deliver(c, frame)[0] for frame in (first, mended, again)][-1]
    assert (weights(c), done.written, done.remarks) == (left, 0, (OUTDATED,))
    assert OUTDATED in MEANINGS


def test_a_value_sent_after_its_deletion_counts(c):
    deliver(c, result(obx()), result(obx(status="D"), control="2", sent="20250309115000+0000"))
    deliver(c, result(obx("62.0"), control="3", sent="20250309120000+0000"))
    assert weights(c) == [62.0]


def test_a_correction_was_known_when_it_was_reported_not_when_the_sample_was_analysed(c):
    analysed = "|||||20250309093000+0000"
    deliver(c, result(obx() + analysed), result(obx("62.5", "C") + analysed, control="2", sent="20250309115000+0000"))
    t = observation.c
    known = c.execute(sa.select(t.available_at).order_by(t.id)).scalars().all()
    assert known == [dt.datetime(2025, 3, 9, *at, tzinfo=dt.UTC) for at in ((9, 30), (11, 50))]
    deliver(c, result(obx() + analysed, control="3"))
    assert weights(c) == [62.5]
