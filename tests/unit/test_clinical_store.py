import dataclasses
import datetime as dt

import pytest
import sqlalchemy as sa
from support.clinical import KNOWN, count, deliver, key_of, own_key, person_fact, weights
from support.hl7 import HOSP, OTHER, identity, message, pid, weight, when

from model.domain import AssigningAuthority, Identifier, NameGroup, PatientIdentity, PersonName, Sex
from node.facts import (
    CancelFact,
    Change,
    ChangeKind,
    Demographic,
    DxaFact,
    ExposureFact,
    PersonFact,
    TombstoneFact,
)
from node.names import UNDATED
from node.store import clinical
from node.store import clinical_persons as persons
from node.store.alerts import find as alerts
from node.store.clinical_message import Applied
from node.store.clinical_schema import (
    dxa_result,
    exposure,
    observation,
    person,
    person_demographics,
)
from node.store.clinical_writer import Writer

VALUE = "OBX|1|NM|29463-7^^LN||61.5|kg|||||F|||20250309"
VISIT = "PV1|1|I" + "|" * 17 + "V77^^^HOSP"


@pytest.fixture
def c(ledger):
    with ledger.begin() as connection:
        yield connection


def kinds(applied):
    return [change.kind for change in applied.changes]


def stated(c, value="100001"):
    return persons.demographics(c, own_key(c, value))[0]


def test_messages_become_facts_once_and_say_whom_they_touched(c):
    done = deliver(
        c,
        message("ADT^A04", pid(), control="1"),
        message("ORU^R01", pid(), VALUE, control="2"),
        message("ORU^R01", pid(), VALUE, control="3"),
    )
    assert [kinds(d) for d in done] == [[ChangeKind.DEMOGRAPHICS], [ChangeKind.NEW_VALUE], []]
    assert {x.person_key for d in done for x in d.changes} == {key_of(c)}
    assert weights(c) == [61.5]
    row = c.execute(sa.select(observation)).mappings().one()
    assert (row["seq"], row["status"], row["source"]) == (3, "F", "HL7 ORU^R01 2"), "told by 2, confirmed by 3"
    assert row["table_version"]


def test_a_frame_replayed_late_says_nothing_against_a_later_one(c):
    clinical.apply(c, [weight(61.5)], when(10), seq=5)
    clinical.apply(c, [weight(62.5)], when(12), seq=7)
    assert clinical.apply(c, [weight(99.0)], when(13), seq=6) == Applied()
    assert weights(c, known_at=when(14)) == [62.5]
    assert clinical.apply(c, [weight(63.0)], when(15)).written == 1, "a value of another feed has no such number"


def test_what_a_later_frame_confirmed_is_not_replaced_by_an_earlier_one(c):
    clinical.apply(c, [weight(70)], when(10), seq=5)
    assert clinical.apply(c, [weight(70)], when(12), seq=7) == Applied()
    assert clinical.apply(c, [weight(80)], when(13), seq=6) == Applied(), "a correction that was itself taken back"
    assert weights(c, known_at=when(14)) == [70]


def test_a_frame_is_confirmed_within_one_transaction_too(c):
    writer = Writer(c)
    for seq in (5, 7):
        writer.apply([weight(70)], when(12), seq=seq)
    writer.flush()
    assert clinical.apply(c, [weight(80)], when(13), seq=6) == Applied()
    assert weights(c, known_at=when(14)) == [70]


DIAGNOSIS = "DG1|1||M80.08XA^Fracture^I10C|||F"
NUMBERED = "OBR|1|P1|F1|X^X^L\rOBX|1|NM|29463-7^^LN||61.5|kg|||||F"


@pytest.mark.parametrize(("event", "body"), [("ADT^A08", DIAGNOSIS), ("ORU^R01", NUMBERED)])
def test_a_statement_without_a_time_is_no_later_for_being_sent_again(c, event, body):
    sent = "20250301090000+0000", "20250315090000+0000"
    deliver(c, message(event, pid(), body, control="1", sent=sent[0]), at=when(1, 9))
    (again,) = deliver(c, message(event, pid(), body, control="2", sent=sent[1]), at=when(15))
    assert again.changes == ()
    started = c.execute(sa.select(observation.c.start_at).where(observation.c.superseded_at.is_(None))).scalars()
    assert started.all() == [when(1, 9)]


def test_a_statement_without_a_time_that_says_something_new_counts_from_then(c):
    deliver(c, message("ORU^R01", pid(), NUMBERED, control="1", sent="20250301090000+0000"), at=when(1, 9))
    other = NUMBERED.replace("61.5", "62")
    (done,) = deliver(c, message("ORU^R01", pid(), other, control="2", sent="20250315090000+0000"), at=when(15))
    assert done.written == 1
    assert weights(c) == [62]


def test_identical_content_writes_nothing(c):
    assert clinical.apply(c, [person_fact(), weight()], when(2)).written == 3
    resent = dataclasses.replace(weight(), source="HL7 ORU^R01 2", available_at=when(15))
    assert clinical.apply(c, [person_fact(), resent], when(3)) == Applied()


def test_a_correction_closes_the_old_version_and_both_can_be_asked_for(c):
    clinical.apply(c, [weight(61.5)], when(10))
    first = c.execute(sa.select(observation.c.id)).scalar_one()
    applied = clinical.apply(c, [weight(81.5)], when(12))
    assert applied.changes == (Change(kind=ChangeKind.CORRECTED, person_key=key_of(c), observation_id=first),)
    assert weights(c, known_at=when(11)) == [61.5]
    assert weights(c, known_at=when(12)) == [81.5]
    assert weights(c, known_at=when(9)) == []
    rows = c.execute(sa.select(observation.c.value, observation.c.superseded_at).order_by(observation.c.id)).all()
    assert [(r.value, r.superseded_at) for r in rows] == [(61.5, when(12)), (81.5, None)]


def test_a_value_corrected_within_one_batch_keeps_both_versions(c):
    done = deliver(
        c,
        message("ORU^R01", pid(), VALUE, control="1"),
        message("ORU^R01", pid(), VALUE.replace("61.5", "62.5"), control="2"),
        message("ORU^R01", pid(), VALUE.replace("|F|", "|D|"), control="3"),
    )
    assert [d.written for d in done][1:] == [1, 1]
    assert weights(c) == []
    rows = c.execute(sa.select(observation.c.value, observation.c.reason, observation.c.superseded_at)).all()
    assert [(r.value, r.reason, r.superseded_at is None) for r in rows] == [
        (61.5, "", False),
        (62.5, "", False),
        (None, "VOID", True),
    ]


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [("D", ChangeKind.VOIDED, []), ("W", ChangeKind.WRONG_PATIENT, ["WRONG_PATIENT"])],
)
def test_d_w_void_and_a_wrong_patient_raises_an_alert(c, status, kind, raised):
    deliver(c, message("ORU^R01", pid(), VALUE), at=when(10))
    taken = c.execute(sa.select(observation.c.id)).scalar_one()
    (done,) = deliver(c, message("ORU^R01", pid(), VALUE.replace("|F|", f"|{status}|"), control="2"), at=when(12))
    assert done.changes == (Change(kind=kind, person_key=key_of(c), observation_id=taken),)
    assert weights(c) == []
    assert weights(c, known_at=when(11)) == [61.5]
    assert [a.kind for a in alerts(c)] == raised


@pytest.mark.parametrize(("status", "reason"), [("X", "WITHDRAWN"), ("C", "VOID")])
def test_x_and_a_correction_to_nothing_after_f_leave_nothing_in_use(c, status, reason):
    deliver(c, message("ORU^R01", pid(), VALUE), at=when(10))
    taken = c.execute(sa.select(observation.c.id)).scalar_one()
    gone = VALUE.replace("61.5", "").replace("|F|", f"|{status}|")
    first, again = (deliver(c, message("ORU^R01", pid(), gone, control=n), at=when(12))[0] for n in "23")
    assert first.changes == (Change(kind=ChangeKind.VOIDED, person_key=key_of(c), observation_id=taken),)
    assert (first.remarks, again.written, again.remarks) == ((), 0, ())
    assert weights(c) == []
    open_reasons = sa.select(observation.c.reason).where(observation.c.superseded_at.is_(None))
    assert c.execute(open_reasons).scalars().all() == [reason]


def test_x_of_a_value_that_was_never_sent_is_counted_and_not_kept(c):
    (done,) = deliver(c, message("ORU^R01", pid(), VALUE.replace("61.5", "").replace("|F|", "|X|")))
    assert (done.remarks, count(c, observation)) == (("NO_RESULT",), 0)


@pytest.mark.parametrize("status", ["D", "W", "C"])
def test_d_w_c_that_find_nothing_to_replace_are_counted_and_w_raises_an_alert(c, status):
    unknown = VALUE.replace("|F|", f"|{status}|")
    first, again = (deliver(c, message("ORU^R01", pid(), unknown, control=n))[0] for n in "12")
    assert (first.remarks, again.remarks) == (("VOID_NOT_FOUND",), ())
    raised = [(a.kind, a.subject, a.detail) for a in alerts(c)]
    assert raised == ([("WRONG_PATIENT", "frame 1", "VOID_NOT_FOUND")] if status == "W" else [])


def test_two_hospitals_of_one_namespace_do_not_close_each_others_rows(c):
    ours, theirs = (pid().replace("HOSP", f"HOSP&{oid}&ISO") for oid in ("1.2.3", "9.9.9"))
    other = theirs.replace("19480312", "19600101").replace("MÜLLER^ANNA", "SCHMIDT^KARL")
    deliver(c, message("ORU^R01", ours, VALUE), message("ORU^R01", other, VALUE.replace("61.5", "80"), control="2"))
    standing = sa.select(observation.c.value).where(observation.c.superseded_at.is_(None)).order_by(observation.c.id)
    assert c.execute(standing).scalars().all() == [61.5, 80.0]
    assert len(set(c.execute(sa.select(observation.c.key)).scalars())) == 1, "as ledgers hold them: no migration"
    done = deliver(c, message("ORU^R01", other, VALUE.replace("|F|", "|D|"), control="3"))
    assert (kinds(done[0]), c.execute(standing).scalars().all()) == ([ChangeKind.VOIDED], [61.5, None])
    held = VALUE.replace("|F|", "|P|").replace("20250309", "20250308")
    final = held.replace("61.5", "").replace("|P|", "|U|")
    deliver(c, *(message("ORU^R01", p, held, control=n) for n, p in (("4", ours), ("5", other))))
    (made_final,) = deliver(c, message("ORU^R01", other, final, control="6"))
    assert made_final.written == 1, "nor make each other's preliminary values final"


def test_an_issuer_stated_with_and_without_its_oid_names_the_same_value(c):
    full = pid().replace("HOSP", "HOSP&1.2.3&ISO")
    for n, (first, second) in enumerate(((pid(), full), (full, pid()))):
        value = VALUE.replace("20250309", f"2025030{n + 1}")
        deliver(c, message("ORU^R01", first, value, control=f"a{n}"))
        (done,) = deliver(c, message("ORU^R01", second, value.replace("|F|", "|D|"), control=f"b{n}"))
        assert kinds(done)[-1] is ChangeKind.VOIDED
    assert weights(c) == []


def test_a_row_corrected_to_another_patient_leaves_the_first(c):
    clinical.apply(c, [weight(61, key="CSV|7")], when(10))
    moved = clinical.apply(c, [weight(61, key="CSV|7", patient="200002")], when(11))
    assert weights(c) == []
    assert [(x.kind, x.person_key) for x in moved.changes] == [
        (ChangeKind.CORRECTED, key_of(c)),
        (ChangeKind.NEW_VALUE, key_of(c, "200002")),
    ]


def test_nothing_after_the_image(c):
    clinical.apply(c, [weight(61, key="a", at=when(5)), weight(62, key="b", at=when(10, 10))], when(10))
    assert weights(c, t0=when(10, 9)) == [61]
    assert weights(c, t0=when(10, 10)) == [62]


def test_older_evn_2_ignored(c):
    clinical.apply(c, [person_fact(identity(family="NEW"), when(5))], when(5))
    late = clinical.apply(c, [person_fact(identity(family="OLD"), when(4))], when(6))
    lab = clinical.apply(c, [person_fact(identity(family="LAB"), UNDATED)], when(7))
    assert (late, lab) == (Applied(), Applied())
    assert stated(c).name.alphabetic.family == "NEW"


def test_a_newer_statement_of_the_same_moves_the_date_and_changes_nothing(c):
    clinical.apply(c, [person_fact(since=when(1))], when(1))
    same = clinical.apply(c, [person_fact(since=when(5))], when(5))
    assert (same.written, same.changes) == (1, ())
    assert clinical.apply(c, [person_fact(identity(family="OLD"), when(4))], when(6)) == Applied()


def test_what_was_not_sent_stays_and_versions_can_be_asked_for(c):
    clinical.apply(c, [person_fact(identity(), when(1))], when(1))
    bare = PatientIdentity(identifiers=(KNOWN,), name=PersonName(alphabetic=NameGroup(family="SCHMIDT", given="ANNA")))
    clinical.apply(c, [person_fact(bare, when(5))], when(5))
    now = stated(c)
    assert (now.name.alphabetic.family, now.birth_date, now.sex) == ("SCHMIDT", dt.date(1948, 3, 12), Sex.FEMALE)
    assert persons.demographics(c, key_of(c), when(4))[0].name.alphabetic.family == "MÜLLER"


def test_an_explicit_delete_clears_and_empty_leaves(c):
    deliver(c, message("ADT^A08", pid(), control="1", sent="20250310090000+0000"))
    deliver(c, message("ADT^A08", "PID|1||100001^^^HOSP||||", control="2", sent="20250310091500+0000"))
    assert stated(c).birth_date == dt.date(1948, 3, 12)
    deliver(c, message("ADT^A08", 'PID|1||100001^^^HOSP||""||""|""', control="3", sent="20250310093000+0000"))
    assert stated(c) == PatientIdentity()


def test_pid_30_29_death_is_kept_and_taken_back(c):
    fact = dataclasses.replace(person_fact(since=when(2)), dead=True, died_at=when(1))
    clinical.apply(c, [fact], when(2))
    dead = c.execute(sa.select(person_demographics.c.dead, person_demographics.c.died_at)).one()
    assert (dead.dead, dead.died_at) == (True, when(1))
    alive = dataclasses.replace(person_fact(since=when(3)), dead=False, cleared=frozenset({Demographic.DEATH}))
    clinical.apply(c, [alive], when(3))
    now = c.execute(sa.select(person_demographics).where(person_demographics.c.superseded_at.is_(None))).one()
    assert (now.dead, now.died_at, now.birth_date) == (False, None, dt.date(1948, 3, 12))


def test_untrusted_issuer_is_not_inserted_4233(c):
    facts = [person_fact(identity(authority=OTHER)), weight(authority=OTHER)]
    applied = clinical.apply(c, facts, when(), trusted=("HOSP",))
    assert applied == Applied(written=0, refused=("UNTRUSTED_ISSUER",))
    assert count(c, person) == 0
    assert clinical.apply(c, [person_fact(), weight()], when(), trusted=("HOSP",)).refused == ()


def test_values_filed_under_an_untrusted_number_count_for_the_trusted_one_beside_it_4233(c):
    both = dataclasses.replace(identity(), identifiers=(Identifier(value="X9", authority=OTHER), KNOWN))
    applied = clinical.apply(c, [person_fact(both), weight(patient="X9", authority=OTHER)], when(), trusted=("HOSP",))
    assert applied.refused == ()
    assert weights(c) == [61.5]
    assert persons.find(c, "X9") == ()


def test_less_qualified_issuer_never_overwrites_3153(c):
    full = AssigningAuthority(namespace="HOSP", universal_id="1.2.3", universal_id_type="ISO")
    clinical.apply(c, [person_fact(identity(authority=full))], when(1))
    clinical.apply(c, [person_fact(since=when(2)), weight()], when(2))
    assert count(c, person) == 1
    assert {i.authority for i in persons.identifiers_of(c, (key_of(c),))} == {full, HOSP}
    alien = AssigningAuthority(namespace="HOSP", universal_id="9.9.9", universal_id_type="ISO")
    clinical.apply(c, [person_fact(identity(authority=alien, family="OTHER"))], when(3))
    assert count(c, person) == 2, "another universal ID is another issuer, whatever the namespace"
    assert clinical.apply(c, [weight(62, key="x")], when(4)).refused == ("IDENTIFIER_CONFLICT",), "HOSP now fits two"


def test_one_study_two_issuers_4508(c):
    national = Identifier(value="55", authority=AssigningAuthority(namespace="NAT"))
    both = dataclasses.replace(identity(), identifiers=(KNOWN, national))
    clinical.apply(c, [person_fact(both), weight()], when(1))
    assert key_of(c, "55") == key_of(c)
    assert weights(c, "55") == [61.5]
    clinical.apply(c, [weight(62.5, patient="55", key="nat", authority=national.authority, at=when(10))], when(2))
    assert weights(c) == [62.5], "filed under either number, it is one patient's value"


def test_a_list_that_names_two_persons_is_for_a_human(c):
    clinical.apply(c, [person_fact(), person_fact(identity("200002", family="SCHMIDT"))], when(1))
    both = dataclasses.replace(identity(), identifiers=(KNOWN, Identifier(value="200002", authority=HOSP)))
    applied = clinical.apply(c, [person_fact(both, when(3)), weight()], when(3))
    assert applied == Applied(written=0, refused=("IDENTIFIER_CONFLICT",))


def test_a_half_stated_issuer_that_fits_two_persons_is_for_a_human(c):
    for oid in ("1.2.3", "9.9.9"):
        authority = AssigningAuthority(namespace="HOSP", universal_id=oid, universal_id_type="ISO")
        clinical.apply(c, [person_fact(identity(authority=authority))], when(1))
    assert clinical.apply(c, [weight()], when(2)).refused == ("IDENTIFIER_CONFLICT",)
    assert count(c, observation) == 0


def test_results_with_somebody_elses_demographics_are_not_taken(c):
    stranger = pid("100001", "SCHMIDT^KARL^^^^^L", "19600101", "M")
    _, foreign = deliver(c, message("ADT^A04", pid(), control="1"), message("ORU^R01", stranger, VALUE, control="2"))
    assert foreign == Applied(refused=("IDENTITY_CONFLICT",))
    assert count(c, observation) == 0


def test_results_that_contradict_the_person_of_their_second_identifier_are_not_taken(c):
    known = "PID|1||900^^^NAT^NI||MÜLLER^ANNA^^^^^L||19480312|F"
    stranger = "PID|1||77^^^OTHER^MR~900^^^NAT^NI||SCHMIDT^KARL^^^^^L||19600101|M"
    _, foreign = deliver(c, message("ADT^A04", known, control="1"), message("ORU^R01", stranger, VALUE, control="2"))
    assert foreign == Applied(refused=("IDENTITY_CONFLICT",))
    assert count(c, observation) == 0


def shared(number, name, born, *, shared="A12345^^^INS^PI"):
    return f"PID|1||{number}^^^HOSP^MR~{shared}||{name}||{born}|F"


@pytest.mark.parametrize("event", ["ADT^A04", "ORU^R01"])
@pytest.mark.parametrize(
    ("name", "born"),
    [
        ("MÜLLER^BERTA^^^^^L", "19480312"),  # a twin
        ("MÜLLER^ANNA^^^^^L", "19800601"),  # a daughter with her mother's name
        ("BAUER^KLARA^^^^^L", "19600101"),
        ("", ""),
    ],
)
def test_a_number_that_two_patients_share_does_not_make_them_one(c, event, name, born):
    known = shared("100001", "MÜLLER^ANNA^^^^^L", "19480312")
    deliver(c, message("ADT^A04", known, control="1"), message("ORU^R01", known, VALUE, control="2"))
    (other,) = deliver(c, message(event, shared("200002", name, born), VALUE.replace("61.5", "88"), control="3"))
    assert set(other.refused) <= {"IDENTIFIER_CONFLICT", "IDENTITY_CONFLICT"}
    assert other.refused
    assert persons.find(c, "200002") == ()
    assert weights(c) == [61.5]


@pytest.mark.parametrize(
    ("second", "name"),
    [
        ("200002^^^HOSP^MR~A12345^^^INS^PI", "MÜLLER^ANNA^^^^^L"),  # registered twice
        ("200002^^^OTHER^MR~A12345^^^INS^PI", "SCHMIDT^ANNA^^^^^L"),  # married, another hospital
        ("100001^^^HOSP^MR~B99999^^^INS^PI", "SCHMIDT^ANNA^^^^^L"),  # married, another insurance
        ("100001^^^HOSP^MR~B99999^^^INS^PI", ""),
    ],
)
def test_who_fits_what_is_known_gains_a_number(c, second, name):
    deliver(c, message("ADT^A04", shared("100001", "MÜLLER^ANNA^^^^^L", "19480312"), control="1"))
    born = "19480312" if name else ""
    (again,) = deliver(c, message("ADT^A08", f"PID|1||{second}||{name}||{born}|F", control="2"), at=when(12))
    assert again.refused == ()
    assert key_of(c, second.split("^")[0]) == key_of(c)
    assert count(c, person) == 1


@pytest.mark.parametrize("stand_in", ["999-99-9999^^^SSA^SS", "000 00 0000^^^SSA^SS", "A12345^^^INS^SN"])
def test_stand_ins_and_family_numbers_tie_nobody_together(c, stand_in):
    first, second = (
        shared("100001", "MÜLLER^ANNA^^^^^L", "19480312", shared=stand_in),
        shared("200002", "MÜLLER^BERTA^^^^^L", "19480312", shared=stand_in),
    )
    done = deliver(c, message("ADT^A04", first, control="1"), message("ADT^A04", second, control="2"))
    assert [d.refused for d in done] == [(), ()]
    assert key_of(c) != key_of(c, "200002")


def test_a11_leaves_demographics(c):
    deliver(
        c,
        message("ADT^A01", pid(), VISIT, VALUE, control="1"),
        message("ORU^R01", pid(), VALUE.replace("29463-7", "8302-2").replace("61.5|kg", "164|cm"), control="2"),
    )
    voided = c.execute(sa.select(observation.c.id).where(observation.c.variable == "weight")).scalar_one()
    (done,) = deliver(c, message("ADT^A11", pid("100001", "ANDERS^ANNA"), VISIT, control="3"), at=when(12))
    assert done.changes == (Change(kind=ChangeKind.VOIDED, person_key=key_of(c), observation_id=voided),)
    assert weights(c) == []
    open_rows = c.execute(
        sa.select(observation.c.variable).where(observation.c.superseded_at.is_(None), observation.c.usable)
    )
    assert open_rows.scalars().all() == ["height"], "what the laboratory sent is no part of the visit's message"
    assert stated(c).name.alphabetic.family == "MÜLLER"


def test_a_cancelled_visit_is_one_visit_of_one_patient(c):
    other_visit = VISIT.replace("V77", "V78")
    deliver(
        c,
        message("ADT^A01", pid(), other_visit, VALUE, control="1"),
        message("ADT^A01", pid("200002", "SCHMIDT^EVA"), VISIT, VALUE, control="2"),
    )
    assert clinical.apply(c, [CancelFact(patient=KNOWN, visit="V77^HOSP")], when(12)).written == 0
    assert (weights(c), weights(c, "200002")) == ([61.5], [61.5])


def test_a29_blocks(c):
    clinical.apply(c, [person_fact(), weight()], when(1))
    done = clinical.apply(c, [TombstoneFact(patient=KNOWN)], when(2))
    assert done.changes == (Change(kind=ChangeKind.TOMBSTONE, person_key=key_of(c)),)
    assert persons.blocked(c, key_of(c))
    assert clinical.apply(c, [TombstoneFact(patient=KNOWN)], when(3)) == Applied()
    clinical.apply(c, [person_fact(since=when(4))], when(4))
    assert persons.blocked(c, key_of(c)), "later news do not raise the dead"


def test_a29_of_a_person_whom_nobody_knows_blocks_too(c):
    deliver(c, message("ADT^A29", pid("300003")))
    assert persons.blocked(c, key_of(c, "300003"))


def test_dxa_never_reaches_the_observations_and_is_voided(c):
    fact = DxaFact(patient=KNOWN, key="d", region="lumbar", t_score=-2.7, observed_at=when(), source="HL7 ORU^R01 1")
    assert clinical.apply(c, [fact, fact], when()).written == 1
    assert (count(c, dxa_result), count(c, observation)) == (1, 0)
    void = dataclasses.replace(fact, t_score=None, usable=False, reason="VOID")
    assert clinical.apply(c, [void], when(11)).changes == ()
    rows = c.execute(sa.select(dxa_result.c.t_score, dxa_result.c.superseded_at).order_by(dxa_result.c.id)).all()
    assert [(r.t_score, r.superseded_at) for r in rows] == [(-2.7, when(11)), (None, None)]


def test_an_anti_osteoporotic_drug_never_reaches_the_observations(c):
    fact = ExposureFact(
        patient=KNOWN,
        key="rx",
        code="M05BA04",
        observed_start=when(1),
        observed_end=when(2),
        available_at=when(1),
        cancelled=False,
        source="HL7 RDE^O11 1",
    )
    assert clinical.apply(c, [fact], when()).written == 1
    assert clinical.apply(c, [dataclasses.replace(fact, cancelled=True)], when(11)).written == 1
    assert (count(c, exposure), count(c, observation)) == (2, 0)


def test_person_facts_without_any_identifier_are_refused(c):
    nobody = PersonFact(identity=PatientIdentity(), valid_since=when(1))
    assert clinical.apply(c, [nobody], when(1)).refused == ("NO_ID",)
