import dataclasses
import datetime as dt

import pytest
import sqlalchemy as sa
from support.hl7 import HOSP, OTHER, RULES, identity, message, pid, weight, when

from model.asof import Question
from model.domain import AssigningAuthority, Identifier, NameGroup, PatientIdentity, PersonName, Sex
from node.facts import DxaFact, MergeFact, OrderFact, PersonFact
from node.feeds.inbox import accept
from node.intake import process_frame, store_frame
from node.names import UNDATED
from node.store import clinical
from node.store import clinical_persons as persons
from node.store.clinical_schema import dxa_result, hl7_frame, observation, person

KNOWN = Identifier(value="100001", authority=HOSP)


@pytest.fixture
def c(ledger):
    with ledger.begin() as connection:
        yield connection


def person_fact(who=None, since=None):
    return PersonFact(identity=who or identity(), valid_since=since or when(1))


def key_of(c, value="100001"):
    return persons.root(c, persons.find(c, value)[0].person_key)


def weights(c, *, t0=None, known_at=None, days=365.0):
    question = Question(t0=t0 or when(20), known_at=known_at or when(20), lookback_days={"weight": days})
    keys = persons.group(c, key_of(c))
    return [o.value for o in clinical.observations_as_of(c, keys, question)]


def count(c, table):
    return c.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def deliver(c, *frames, at=None):
    for frame in frames:
        store_frame(c, frame, accept(frame, at=when()), peer="127.0.0.1", at=at or when(11))
    return [process_frame(c, f, RULES, at=at or when(11)) for f in clinical.unprocessed_frames(c)]


def test_a_frame_is_stored_once(c):
    frame = message("ADT^A08", pid())
    taken = accept(frame, at=when())
    assert store_frame(c, frame, taken, peer="p", at=when()) is not None
    assert store_frame(c, frame, taken, peer="p", at=when()) is None
    other = message("ADT^A08", pid(sex="M"))
    assert store_frame(c, other, accept(other, at=when()), peer="p", at=when()) is not None, "same MSH-10, other bytes"
    assert [f.body for f in clinical.unprocessed_frames(c)] == [frame, other]


def test_a_refused_frame_is_kept_and_not_processed(c):
    frame = b"hello"
    store_frame(c, frame, accept(frame, at=when()), peer="p", at=when())
    assert clinical.unprocessed_frames(c) == ()
    assert c.execute(sa.select(hl7_frame.c.state, hl7_frame.c.ack_code)).one() == ("refused", "AR")


def test_frames_become_facts_and_name_the_patients_to_wake(c):
    touched = deliver(
        c,
        message("ADT^A04", pid(), control="1"),
        message("ORU^R01", pid(), "OBX|1|NM|29463-7^^LN||61.5|kg|||||F|||20250309", control="2"),
        message("ORU^R01", pid(), "OBX|1|NM|29463-7^^LN||61.5|kg|||||F|||20250309", control="3"),
    )
    assert touched == [(KNOWN,), (KNOWN,), ()]
    assert weights(c) == [61.5]
    assert c.execute(sa.select(hl7_frame.c.state)).scalars().all() == ["done"] * 3


def test_identical_content_writes_nothing(c):
    assert clinical.apply(c, [person_fact(), weight()], when(2)).written == 3
    resent = dataclasses.replace(weight(), source="HL7 ORU^R01 2", available_at=when(15))
    assert clinical.apply(c, [person_fact(), resent], when(3)).written == 0


def test_a_correction_closes_the_old_version_and_both_can_be_asked_for(c):
    clinical.apply(c, [weight(61.5)], when(10))
    clinical.apply(c, [weight(81.5)], when(12))
    assert weights(c, known_at=when(11)) == [61.5]
    assert weights(c, known_at=when(12)) == [81.5]
    assert weights(c, known_at=when(9)) == []
    rows = c.execute(sa.select(observation.c.value, observation.c.superseded_at).order_by(observation.c.id)).all()
    assert [(r.value, r.superseded_at) for r in rows] == [(61.5, when(12)), (81.5, None)]


def test_a_void_takes_the_value_away(c):
    clinical.apply(c, [weight(61.5)], when(10))
    clinical.apply(c, [weight(None)], when(12))
    assert weights(c) == []
    assert weights(c, known_at=when(11)) == [61.5]


def test_nothing_after_the_image_and_nothing_too_old(c):
    clinical.apply(c, [weight(61, key="a", at=when(5)), weight(99, key="b", at=when(10, 10))], when(10))
    assert weights(c, t0=when(10, 9)) == [61]
    assert weights(c, t0=when(10, 10)) == [99]
    assert weights(c, t0=when(10, 9), days=4) == []


def test_a_row_corrected_to_another_patient_leaves_the_first(c):
    clinical.apply(c, [weight(61, key="CSV|7")], when(10))
    clinical.apply(c, [weight(61, key="CSV|7", patient="200002")], when(11))
    assert weights(c) == []


def test_older_demographics_never_replace_newer_ones(c):
    clinical.apply(c, [person_fact(identity(family="NEW"), when(5))], when(5))
    clinical.apply(c, [person_fact(identity(family="OLD"), when(4))], when(6))
    clinical.apply(c, [person_fact(identity(family="LAB"), UNDATED)], when(7))
    stated, since = persons.demographics(c, key_of(c))
    assert (stated.name.alphabetic.family, since) == ("NEW", when(5))


def test_what_was_not_sent_stays_and_versions_can_be_asked_for(c):
    clinical.apply(c, [person_fact(identity(), when(1))], when(1))
    bare = PatientIdentity(identifiers=(KNOWN,), name=PersonName(alphabetic=NameGroup(family="SCHMIDT", given="ANNA")))
    clinical.apply(c, [person_fact(bare, when(5))], when(5))
    now, _ = persons.demographics(c, key_of(c))
    assert (now.name.alphabetic.family, now.birth_date, now.sex) == ("SCHMIDT", dt.date(1948, 3, 12), Sex.FEMALE)
    assert persons.demographics(c, key_of(c), when(4))[0].name.alphabetic.family == "MÜLLER"


def test_untrusted_issuers_are_not_inserted(c):
    facts = [person_fact(identity(authority=OTHER)), weight(authority=OTHER)]
    applied = clinical.apply(c, facts, when(), trusted=("HOSP",))
    assert applied == clinical.Applied(written=0, refused=("UNTRUSTED_ISSUER",))
    assert count(c, person) == 0
    assert clinical.apply(c, [person_fact(), weight()], when(), trusted=("HOSP",)).refused == ()


def test_a_more_qualified_issuer_is_the_same_person(c):
    full = AssigningAuthority(namespace="HOSP", universal_id="1.2.3", universal_id_type="ISO")
    clinical.apply(c, [person_fact(identity(authority=full))], when(1))
    clinical.apply(c, [person_fact(since=when(2)), weight()], when(2))
    assert count(c, person) == 1
    assert {i.authority for i in persons.identifiers_of(c, (key_of(c),))} == {full, HOSP}


def test_a_list_that_names_two_persons_is_for_a_human(c):
    clinical.apply(c, [person_fact(), person_fact(identity("200002", family="SCHMIDT"))], when(1))
    both = dataclasses.replace(identity(), identifiers=(KNOWN, Identifier(value="200002", authority=HOSP)))
    applied = clinical.apply(c, [person_fact(both, when(3)), weight()], when(3))
    assert applied == clinical.Applied(written=0, refused=("IDENTIFIER_CONFLICT",))


def merge(survivor, prior):
    ends = [Identifier(value=v, authority=HOSP) for v in (survivor, prior)]
    return MergeFact(survivor=ends[0], prior=ends[1])


def test_merges_form_chains_and_refuse_self_and_cycle(c):
    apply = clinical.apply
    assert apply(c, [merge("1001", "1001")], when()).refused == ("SELF_MERGE",)
    assert apply(c, [merge("2002", "1001"), merge("3003", "2002")], when()).refused == ()
    assert {key_of(c, v) for v in ("1001", "2002", "3003")} == {key_of(c, "3003")}
    assert len(persons.group(c, key_of(c, "3003"))) == 3
    assert apply(c, [merge("1001", "3003")], when()).refused == ("MERGE_CYCLE",)
    assert apply(c, [merge("2002", "1001")], when()) == clinical.Applied()
    assert apply(c, [merge("4004", "1001")], when()).refused == ("MERGE_CONFLICT",)


def test_a_merge_rewrites_no_row(c):
    clinical.apply(c, [person_fact(), person_fact(identity("200002")), weight()], when(1))
    before = c.execute(sa.select(observation)).all()
    clinical.apply(c, [merge("200002", "100001")], when(2))
    assert c.execute(sa.select(observation)).all() == before
    assert key_of(c) == key_of(c, "200002")
    assert weights(c) == [61.5]
    clinical.apply(c, [weight(62, key="late")], when(3))
    assert weights(c, known_at=when(4)) == [62], "a late result for the prior identifier"


def test_late_news_of_the_prior_leave_the_survivor_as_it_is(c):
    clinical.apply(c, [person_fact(identity("1001", family="SURVIVOR")), person_fact(identity("2002"))], when(1))
    clinical.apply(c, [merge("1001", "2002")], when(2))
    clinical.apply(c, [person_fact(identity("2002", family="STALE"), when(9))], when(9))
    assert persons.demographics(c, key_of(c, "2002"))[0].name.alphabetic.family == "SURVIVOR"


def test_dxa_never_reaches_the_observations(c):
    fact = DxaFact(patient=KNOWN, key="d", region="lumbar", t_score=-2.7, observed_at=when(), source="HL7 ORU^R01 1")
    assert clinical.apply(c, [fact, fact], when()).written == 1
    assert (count(c, dxa_result), count(c, observation)) == (1, 0)


def test_orders(c):
    clinical.apply(c, [OrderFact(accession="A1", patient=KNOWN)], when())
    assert clinical.order_persons(c, "A1") == {key_of(c)}
    assert clinical.order_persons(c, "A2") == frozenset()


def test_results_with_somebody_elses_demographics_are_not_taken(c):
    stranger = pid("100001", "SCHMIDT^KARL^^^^^L", "19600101", "M")
    deliver(
        c,
        message("ADT^A04", pid(), control="1"),
        message("ORU^R01", stranger, "OBX|1|NM|29463-7^^LN||99|kg|||||F|||20250309", control="2"),
    )
    assert count(c, observation) == 0
    assert c.execute(sa.select(hl7_frame.c.state, hl7_frame.c.reason).order_by(hl7_frame.c.seq)).all() == [
        ("done", ""),
        ("quarantined", "IDENTITY_CONFLICT"),
    ]


def test_a_merge_message_wakes_both_identifiers(c):
    adts = [message("ADT^A04", pid(v), control=v) for v in ("100001", "200002")]
    touched = deliver(c, *adts, message("ADT^A40^ADT_A39", pid("200002"), "MRG|100001^^^HOSP^MR", control="m"))
    assert {i.value for i in touched[2]} == {"100001", "200002"}


def test_logs_and_reasons_hold_no_patient_data(c, capsys):
    deliver(c, message("ORU^R01", pid(), "OBX|1|NM|29463-7^^LN||61.5|kg|||||F|||20250309"))
    deliver(c, message("ADT^A08", "PID|1||7654321||MÜLLER^ANNA", control="n"))
    logged = "".join(capsys.readouterr()) + str(c.execute(sa.select(hl7_frame.c.reason)).all())
    for secret in ("100001", "7654321", "MÜLLER", "61.5", "1948"):
        assert secret not in logged
