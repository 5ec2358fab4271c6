"""Order links, and many messages in one transaction."""

import datetime as dt
import shutil

import pytest
import sqlalchemy as sa
from bench.oru_processing import processing_figures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.clinical import KNOWN, count, key_of, own_key, person_fact
from support.hl7 import HOSP, OTHER, RULES, identity, message, pid, weight, when

from config.clinical import Clinical
from model.domain import Identifier
from node.facts import (
    ChangeKind,
    OrderFact,
)
from node.intake import process_frames
from node.store import clinical
from node.store import clinical_persons as persons
from node.store.alerts import find as alerts
from node.store.clinical_message import Applied
from node.store.clinical_orders import order_persons, study_persons
from node.store.clinical_schema import (
    feed_remark,
    observation,
    order_link,
    person,
    person_alias,
    person_demographics,
    person_identifier,
)
from node.store.clinical_writer import Writer
from node.store.engine import open_ledger
from node.store.inbox import StoredFrame

VALUE = "OBX|1|NM|29463-7^^LN||61.5|kg|||||F|||20250309"
VISIT = "PV1|1|I" + "|" * 17 + "V77^^^HOSP"


@pytest.fixture
def c(ledger):
    with ledger.begin() as connection:
        yield connection


def kinds(applied):
    return [change.kind for change in applied.changes]


def test_an_order_links_accession_placer_filler_and_study(c):
    order = OrderFact(accession="A1", patient=KNOWN, placer="P1")
    assert kinds(clinical.apply(c, [order], when())) == [ChangeKind.ORDER]
    assert clinical.apply(c, [order], when(11)) == Applied()
    clinical.apply(c, [OrderFact(accession="A1", patient=KNOWN, study_uid="1.2.3")], when(12))
    row = c.execute(sa.select(order_link).where(order_link.c.superseded_at.is_(None))).one()
    assert (row.accession, row.placer, row.study_uid) == ("A1", "P1", "1.2.3")
    assert order_persons(c, "A1") == study_persons(c, "1.2.3") == {key_of(c)}
    assert order_persons(c, "A2") == order_persons(c, "") == study_persons(c, "") == frozenset()


def test_one_accession_may_stand_for_several_studies(c):
    orders = [OrderFact(accession="A1", patient=KNOWN, study_uid=uid) for uid in ("1.2.3", "1.2.4")]
    clinical.apply(c, [*orders, OrderFact(accession="A1", patient=KNOWN)], when())
    assert study_persons(c, "1.2.3") == study_persons(c, "1.2.4") == {key_of(c)}


def test_a_new_statement_of_the_same_issuer_replaces_the_order_and_another_hospitals_stays(c):
    other = Identifier(value="100001", authority=OTHER)
    corrected = Identifier(value="200002", authority=HOSP)
    facts = [OrderFact(accession="A1", patient=p) for p in (KNOWN, other)]
    clinical.apply(c, facts, when())
    done = clinical.apply(c, [OrderFact(accession="A1", patient=corrected)], when(11))
    elsewhere = next(k.person_key for k in persons.find(c, "100001") if k.identifier.authority == OTHER)
    assert order_persons(c, "A1") == {key_of(c, "200002"), elsewhere}
    assert {x.person_key for x in done.changes} == {key_of(c, "200002"), own_key(c)}
    clinical.apply(c, [OrderFact(accession="A1", patient=corrected, cancelled=True)], when(12))
    assert order_persons(c, "A1") == {elsewhere}


FORMER, CORRECTED = Identifier(value="100001", authority=HOSP), Identifier(value="200002", authority=HOSP)


def links(c):
    """Every link there ever was, without its number."""
    columns = [column for column in order_link.c if column.name != "id"]
    return c.execute(sa.select(*columns).order_by(order_link.c.id)).all()


def test_a_late_replay_of_an_old_order_frame_does_not_take_an_accession_back(c):
    clinical.apply(c, [OrderFact(accession="A1", patient=FORMER, study_uid="1.2.3")], when(10), seq=5)
    clinical.apply(c, [OrderFact(accession="A1", patient=CORRECTED, study_uid="1.2.3")], when(11), seq=9)
    before = links(c)
    replayed = clinical.apply(c, [OrderFact(accession="A1", patient=FORMER, study_uid="1.2.3")], when(12), seq=5)
    assert (replayed.written, kinds(replayed), links(c)) == (0, [], before)
    assert order_persons(c, "A1") == study_persons(c, "1.2.3") == {key_of(c, "200002")}


def test_a_late_replay_does_not_bring_a_cancelled_order_back_known_or_not(c):
    for seq, accession, known in ((5, "A1", True), (6, "A2", False)):
        order = OrderFact(accession=accession, patient=FORMER)
        if known:
            clinical.apply(c, [order], when(10), seq=seq)
        clinical.apply(c, [OrderFact(accession=accession, patient=FORMER, cancelled=True)], when(11), seq=9)
        assert clinical.apply(c, [order], when(12), seq=seq) == Applied()
        assert order_persons(c, accession) == frozenset()
    clinical.apply(c, [OrderFact(accession="A2", patient=CORRECTED)], when(13), seq=12)  # ordered anew afterwards
    assert order_persons(c, "A2") == {key_of(c, "200002")}


def test_a_late_replay_of_a_cancellation_does_not_close_a_newer_order(c):
    clinical.apply(c, [OrderFact(accession="A1", patient=FORMER)], when(11), seq=9)
    assert clinical.apply(c, [OrderFact(accession="A1", patient=FORMER, cancelled=True)], when(12), seq=5) == Applied()
    assert order_persons(c, "A1") == {key_of(c)}


def test_a_late_frame_about_another_study_of_the_accession_still_counts(c):
    clinical.apply(c, [OrderFact(accession="A1", patient=FORMER, study_uid="1.2.4")], when(11), seq=9)
    clinical.apply(c, [OrderFact(accession="A1", patient=FORMER, study_uid="1.2.3")], when(12), seq=5)
    assert study_persons(c, "1.2.3") == study_persons(c, "1.2.4") == {key_of(c)}


@given(
    said=st.lists(
        st.tuples(st.sampled_from((FORMER, CORRECTED)), st.sampled_from(("", "1.2.3", "1.2.4")), st.booleans()),
        min_size=1,
        max_size=8,
    ),
    again=st.lists(st.integers(0, 7), max_size=6),
)
@settings(max_examples=12, deadline=None)
def test_replays_of_orders_change_nothing_whatever_they_are(migrated_file, tmp_path_factory, said, again):
    ledger = open_ledger(shutil.copy(migrated_file, tmp_path_factory.mktemp("orders")))

    def take(number, day):
        patient, study, cancelled = said[number]
        order = OrderFact(accession="A1", patient=patient, study_uid=study, cancelled=cancelled)
        clinical.apply(c, [order], when(day), seq=number + 1)

    with ledger.begin() as c:
        for number in range(len(said)):
            take(number, 10)
        before = links(c)
        for number in again:
            take(number % len(said), 11)
        assert links(c) == before
    ledger.close()


_KINDS = ("61.5", "62.5", "void", "wrong", "none", "merge", "cancel", "person", "other", "bmi")


def _frame(kind, number):
    """One message of each sort that can meet another one of the same batch."""
    patient, control = ("100001", "200002")[number % 2], str(number)
    sent = f"202503{10 + number % 10:02d}090000+0000"
    value = VALUE if kind in ("void", "wrong", "61.5") else VALUE.replace("61.5", "62.5")
    value = value.replace("|F|", {"void": "|D|", "wrong": "|W|", "none": "|X|"}.get(kind, "|F|"))
    if kind == "merge":
        return message("ADT^A40", pid("200002"), "MRG|100001^^^HOSP", control=control, sent=sent)
    if kind == "cancel":
        return message("ADT^A11", pid(patient), VISIT, control=control, sent=sent)
    if kind == "person":
        return message("ADT^A01", pid(patient), VISIT, VALUE, control=control, sent=sent)
    if kind == "other":
        return message("ORU^R01", pid(patient), VALUE.replace("29463-7", "2160-0"), control=control, sent=sent)
    if kind == "bmi":
        height = VALUE.replace("29463-7", "8302-2").replace("61.5|kg", "120|cm")
        return message("ORU^R01", pid(patient), height, control=control, sent=sent)
    return message("ORU^R01", pid(patient), value, control=control, sent=sent)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.sampled_from(_KINDS), min_size=2, max_size=12), size=st.integers(2, 12))
def test_replay_of_the_inbox_gives_identical_tables_however_it_was_batched(
    migrated_file, tmp_path_factory, kinds, size
):
    frames = [
        StoredFrame(seq=n, received_at=when(11) + dt.timedelta(minutes=n), body=_frame(kind, n))
        for n, kind in enumerate(kinds, 1)
    ]
    tables = (person, person_identifier, person_demographics, person_alias, observation, order_link, feed_remark)

    def worked_off(by):
        ledger = open_ledger(shutil.copy(migrated_file, tmp_path_factory.mktemp("replay")))
        for start in range(0, len(frames), by):
            with ledger.begin() as c:
                process_frames(c, frames[start : start + by], RULES, settings=Clinical())
        with ledger.read() as c:
            found = [c.execute(sa.select(t).order_by(*t.primary_key.columns)).all() for t in tables]
            raised = [(a.kind, a.subject, a.detail, a.count) for a in alerts(c)]
        ledger.close()
        return found, sorted(raised)

    assert worked_off(size) == worked_off(1)


def test_a_writer_that_is_told_ahead_asks_once_per_table(c):
    clinical.apply(c, [person_fact(), person_fact(identity("200002", family="SCHMIDT"))], when(1))
    facts = [[weight(60 + i / 10, patient=p, key=f"{p}|{i}") for i in range(25)] for p in ("100001", "200002")]
    statements = []
    listener = lambda *args: statements.append(args[2])  # noqa: E731
    sa.event.listen(c.engine, "before_cursor_execute", listener)
    try:
        writer = Writer(c)
        writer.prepare(f for batch in facts for f in batch)
        for batch in facts:
            writer.apply(batch, when(2))
        before = len(statements)
        writer.flush()
    finally:
        sa.event.remove(c.engine, "before_cursor_execute", listener)
    locks = c.dialect.name == "postgresql"
    assert before <= 4 + locks, "identifiers, merges, demographics, open versions: not one of them per value"
    assert count(c, observation) >= 50
    assert sum(s.startswith("INSERT INTO observation") for s in statements) <= 2


def test_the_measurement_of_processing_runs_in_its_short_form(tmp_path):
    figures = processing_figures(tmp_path / "ledger.db", 2)
    assert figures.keys() == {"oru25-new-per-cpu-second", "oru25-again-per-cpu-second"}
