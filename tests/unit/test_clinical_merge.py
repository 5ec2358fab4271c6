"""Merges: aliases that are followed, refused when they would be a guess, and taken back."""

import dataclasses
import datetime as dt
import shutil

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.clinical import count, deliver, key_of, merge, own_key, person_fact, weights
from support.hl7 import HOSP, identity, message, pid, weight, when

from model.domain import AssigningAuthority, Identifier
from node.facts import Change, ChangeKind, DxaFact, MergeKind, OrderFact, TombstoneFact
from node.store import clinical
from node.store import clinical_persons as persons
from node.store.alerts import find as alerts
from node.store.clinical_merges import BIRTH_DATE_DIFFERS, merges, undo_merge
from node.store.clinical_message import Applied
from node.store.clinical_orders import order_persons
from node.store.clinical_schema import observation, person, person_alias, person_demographics, person_identifier
from node.store.engine import open_ledger


@pytest.fixture
def c(ledger):
    with ledger.begin() as connection:
        yield connection


def raised(c):
    return sorted((a.kind, a.subject, a.detail) for a in alerts(c))


def everything(c):
    tables = (person, person_identifier, person_demographics, observation)
    return [c.execute(sa.select(t).order_by(t.c.id)).all() for t in tables]


def test_merge_self_1086(c):
    clinical.apply(c, [person_fact(), weight()], when(1))
    before = everything(c)
    assert clinical.apply(c, [merge("100001", "100001")], when(2), seq=7).refused == ("SELF_MERGE",)
    (message_form,) = deliver(c, message("ADT^A40", pid(), "MRG|100001^^^HOSP&1.2.3&ISO^MR"))
    assert message_form.refused == ("SELF_MERGE",), "also where the two forms of one issuer hide it"
    assert (everything(c)[0], count(c, person_alias)) == (before[0], 0)
    assert ("MERGE_REFUSED", "frame 7", "SELF_MERGE") in raised(c)


def test_merge_cycle_4697(c):
    clinical.apply(c, [merge("2002", "1001"), merge("3003", "2002")], when())
    edges = c.execute(sa.select(person_alias)).all()
    refused = clinical.apply(c, [merge("1001", "3003")], when(11), seq=9)
    assert refused == Applied(refused=("MERGE_CYCLE",))
    assert c.execute(sa.select(person_alias)).all() == edges
    assert raised(c) == [("MERGE_REFUSED", "frame 9", "MERGE_CYCLE")]


def test_merge_chain(c):
    clinical.apply(c, [person_fact(identity("1001")), weight(patient="1001")], when(1))
    clinical.apply(c, [merge("2002", "1001"), merge("3003", "2002")], when(2))
    assert {key_of(c, v) for v in ("1001", "2002", "3003")} == {own_key(c, "3003")}
    assert set(persons.group(c, key_of(c, "3003"))) == {own_key(c, v) for v in ("1001", "2002", "3003")}
    assert weights(c, "3003", known_at=when(20)) == [61.5]
    assert clinical.apply(c, [merge("2002", "1001")], when(3)) == Applied(), "a merge that is known writes nothing"


def test_merge_of_a_prior_that_was_merged_into_someone_else_is_refused(c):
    clinical.apply(c, [merge("2002", "1001")], when())
    assert clinical.apply(c, [merge("4004", "1001")], when(), seq=3).refused == ("MERGE_CONFLICT",)
    assert key_of(c, "1001") == own_key(c, "2002")
    assert raised(c) == [("MERGE_REFUSED", "frame 3", "MERGE_CONFLICT")]


def test_merge_unknown_prior(c):
    clinical.apply(c, [person_fact()], when(1))
    done = clinical.apply(c, [merge("100001", "99")], when(2))
    assert done.refused == ()
    assert key_of(c, "99") == key_of(c), "aliased all the same"
    clinical.apply(c, [weight(patient="99")], when(3))
    assert weights(c) == [61.5], "what comes for it later is the survivor's"


def test_late_oru_for_the_prior(c):
    clinical.apply(c, [person_fact(identity("1001")), person_fact(identity("2002"))], when(1))
    clinical.apply(c, [merge("1001", "2002")], when(2))
    value = "OBX|1|NM|29463-7^^LN||62.5|kg|||||F|||20250309"
    (late,) = deliver(c, message("ORU^R01", pid("2002"), value), at=when(12))
    assert late.refused == ()
    assert late.warnings == ("PRIOR_ID",), "accepted and redirected with a warning"
    assert weights(c, "1001") == [62.5]
    assert [(x.kind, x.person_key) for x in late.changes] == [(ChangeKind.NEW_VALUE, own_key(c, "2002"))]


def test_late_news_of_the_prior_leave_the_survivor_as_it_is(c):
    clinical.apply(c, [person_fact(identity("1001", family="SURVIVOR")), person_fact(identity("2002"))], when(1))
    clinical.apply(c, [merge("1001", "2002")], when(2))
    clinical.apply(c, [person_fact(identity("2002", family="STALE"), when(9))], when(9))
    assert persons.demographics(c, key_of(c, "2002"))[0].name.alphabetic.family == "SURVIVOR"


def test_merge_undo(c):
    clinical.apply(c, [person_fact(identity("1001")), person_fact(identity("2002")), weight(patient="2002")], when(1))
    before = everything(c)
    done = clinical.apply(c, [merge("1001", "2002")], when(2), seq=5)
    both = {own_key(c, "1001"), own_key(c, "2002")}
    assert {(x.kind, x.person_key) for x in done.changes} == {(ChangeKind.MERGED, key) for key in both}
    assert everything(c) == before, "a merge rewrites no row"
    assert weights(c, "1001", known_at=when(2)) == [61.5]
    (edge,) = merges(c)
    assert (edge.kind, edge.seq, edge.remark, edge.undone_at) == (MergeKind.MERGE, 5, "", None)
    undone = undo_merge(c, edge.id, when(3))
    assert {(x.kind, x.person_key) for x in undone} == {(ChangeKind.UNMERGED, key) for key in both}
    assert everything(c) == before
    assert (key_of(c, "1001"), key_of(c, "2002")) == (own_key(c, "1001"), own_key(c, "2002"))
    assert (weights(c, "1001"), weights(c, "2002")) == ([], [61.5])
    assert persons.root(c, own_key(c, "2002"), when(2)) == own_key(c, "1001"), "as it was known at the time"
    assert raised(c) == [("MERGE_UNDONE", f"person {own_key(c, '1001')}", f"merge {edge.id}")]
    assert undo_merge(c, edge.id, when(4)) == (), "once"
    assert (merges(c), len(merges(c, include_undone=True))) == ((), 1)
    again = clinical.apply(c, [merge("1001", "2002")], when(5))
    assert (again.written, again.refused) == (1, ())


def test_undoing_the_middle_of_a_chain_parts_it_there(c):
    clinical.apply(c, [merge("2002", "1001"), merge("3003", "2002"), merge("4004", "3003")], when())
    middle = next(m for m in merges(c) if m.prior_person_id == own_key(c, "2002"))
    undo_merge(c, middle.id, when(11))
    assert key_of(c, "1001") == own_key(c, "2002")
    assert key_of(c, "3003") == own_key(c, "4004")
    assert clinical.apply(c, [merge("1001", "4004")], when(12)).refused == (), "no circle any more"
    assert key_of(c, "3003") == own_key(c, "2002")


def test_merged_id_inside_pid_3_4968(c):
    clinical.apply(c, [person_fact(identity("1001")), person_fact(identity("2002")), merge("1001", "2002")], when(1))
    listed = "PID|1||1001^^^HOSP^MR~2002^^^HOSP^MR||NEW^ANNA^^^^^L||19480312|F"
    (done,) = deliver(c, message("ADT^A08", listed, sent="20250310090000+0000"))
    assert done.refused == ()
    assert persons.demographics(c, own_key(c, "1001"))[0].name.alphabetic.family == "NEW"
    assert persons.demographics(c, own_key(c, "2002"))[0].name.alphabetic.family == "MÜLLER", "the survivor's news"
    assert count(c, person) == 2


def test_a_merge_resolves_the_list_that_names_both_4968(c):
    national = Identifier(value="55", authority=AssigningAuthority(namespace="NAT"))
    prior = dataclasses.replace(identity("2002"), identifiers=(Identifier(value="2002", authority=HOSP), national))
    clinical.apply(c, [person_fact(identity("1001")), person_fact(prior)], when(1))
    survivor = "PID|1||1001^^^HOSP^MR~55^^^NAT^SS||MÜLLER^ANNA^^^^^L||19480312|F"
    (done,) = deliver(c, message("ADT^A40", survivor, "MRG|2002^^^HOSP^MR"))
    assert done.refused == ()
    assert key_of(c, "2002") == key_of(c, "55") == own_key(c, "1001")


def test_a_merge_of_an_untrusted_issuer_is_refused_4233(c):
    alien = Identifier(value="9", authority=AssigningAuthority(namespace="ALIEN"))
    fact = dataclasses.replace(merge("1001", "2002"), prior=alien)
    assert clinical.apply(c, [fact], when(), trusted=("HOSP",)).refused == ("UNTRUSTED_ISSUER",)
    assert count(c, person_alias) == 0


def test_birth_dates_differ_merge_accepted_and_marked(c):
    other = identity("2002", born=dt.date(1950, 1, 1))
    clinical.apply(c, [person_fact(identity("1001")), person_fact(other)], when(1))
    done = clinical.apply(c, [merge("1001", "2002")], when(2))
    assert (done.refused, done.warnings) == ((), (BIRTH_DATE_DIFFERS,))
    assert [m.remark for m in merges(c)] == [BIRTH_DATE_DIFFERS]
    assert key_of(c, "2002") == own_key(c, "1001")


def test_a47_is_an_identifier_change_and_tells_the_operator(c):
    clinical.apply(c, [person_fact(identity("1001")), weight(patient="1001")], when(1))
    changed = message("ADT^A47", pid("2002"), "MRG|1001^^^HOSP^MR")
    (done,) = deliver(c, changed)
    assert done.refused == ()
    assert [m.kind for m in merges(c)] == [MergeKind.CHANGE]
    assert weights(c, "2002") == [61.5]
    assert raised(c) == [("IDENTIFIER_CHANGED", f"person {own_key(c, '2002')}", f"person {own_key(c, '1001')}")]
    deliver(c, changed)
    assert [a.count for a in alerts(c)] == [1], "resent: nothing happened again"


def test_orders_follow_the_alias(c):
    clinical.apply(c, [OrderFact(accession="A1", patient=Identifier(value="2002", authority=HOSP))], when(1))
    clinical.apply(c, [merge("1001", "2002")], when(2))
    assert order_persons(c, "A1") == {key_of(c, "1001")}


def test_a29_of_a_merged_away_number_is_housekeeping_and_of_the_survivor_blocks_both(c):
    clinical.apply(c, [merge("1001", "2002")], when(1))
    clinical.apply(c, [TombstoneFact(patient=Identifier(value="2002", authority=HOSP))], when(2))
    assert not persons.blocked(c, key_of(c, "2002"))
    clinical.apply(c, [TombstoneFact(patient=Identifier(value="1001", authority=HOSP))], when(3))
    assert persons.blocked(c, key_of(c, "2002"))


def test_changes_name_both_ends_of_a_merge_and_a_repeated_one_names_nobody(c):
    first = clinical.apply(c, [merge("1001", "2002")], when(1))
    assert first.changes == tuple(Change(kind=ChangeKind.MERGED, person_key=own_key(c, v)) for v in ("2002", "1001"))
    assert clinical.apply(c, [merge("1001", "2002")], when(2)).changes == ()


def test_a_merge_moves_no_dxa(c):
    truth = DxaFact(
        patient=Identifier(value="2002", authority=HOSP),
        key="d",
        region="lumbar",
        t_score=-2.7,
        observed_at=when(),
        source="HL7 ORU^R01 1",
    )
    clinical.apply(c, [truth, merge("1001", "2002")], when(1))
    assert weights(c, "1001") == []


_NUMBERS = ("1001", "1002", "1003", "1004", "1005")
_STEP = st.tuples(st.sampled_from(_NUMBERS), st.sampled_from(_NUMBERS), st.booleans())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(_STEP, max_size=12))
def test_any_row_of_merges_and_undoings_leaves_a_forest_without_circles(migrated_file, tmp_path_factory, steps):
    ledger = open_ledger(shutil.copy(migrated_file, tmp_path_factory.mktemp("merges")))
    with ledger.begin() as c:
        clinical.apply(c, [person_fact(identity(v)) for v in _NUMBERS], when(1))
        before = everything(c)
        for hour, (survivor, prior, undo) in enumerate(steps):
            at = when(2) + dt.timedelta(hours=hour)
            standing = merges(c)
            if undo and standing:
                undo_merge(c, standing[0].id, at)
            else:
                clinical.apply(c, [merge(survivor, prior)], at)
        edges = {m.prior_person_id: m.survivor_person_id for m in merges(c)}
        assert len(edges) == len(merges(c)), "nobody is merged into two"
        for start in edges:
            seen, here = set(), start
            while here in edges:
                assert here not in seen
                seen.add(here)
                here = edges[here]
            assert persons.root(c, start) == here
        assert everything(c) == before
    ledger.close()


OBR = "OBR|1||V1|34565-2^^LN"
WEIGHT = "OBX|1|NM|29463-7^^LN||{}|kg|||||{}|||20250309"


@pytest.mark.parametrize(("status", "value", "left"), [("D", "61.5", []), ("W", "61.5", []), ("C", "<60", [])])
def test_a_void_under_the_survivor_finds_the_value_that_came_for_the_prior(c, status, value, left):
    deliver(c, message("ORU^R01", pid("1001"), OBR, WEIGHT.format("61.5", "F"), control="1"))
    deliver(c, message("ADT^A40", pid("2002"), "MRG|1001^^^HOSP", control="2"))
    assert weights(c, "2002") == [61.5]
    (done,) = deliver(c, message("ORU^R01", pid("2002"), OBR, WEIGHT.format(value, status), control="3"))
    assert weights(c, "2002") == left
    assert [change.person_key for change in done.changes] == [own_key(c, "1001")], "the cases that used it look again"
    assert deliver(c, message("ORU^R01", pid("2002"), OBR, WEIGHT.format(value, status), control="4"))[0].written == 0


def test_a_void_finds_the_value_that_came_under_another_identifier_of_the_person(c):
    deliver(c, message("ORU^R01", "PID|1||900^^^NAT^NI||MÜLLER^ANNA||19480312|F", OBR, WEIGHT.format("61.5", "F")))
    both = "PID|1||900^^^NAT^NI~1001^^^HOSP^MR||MÜLLER^ANNA||19480312|F"
    deliver(c, message("ORU^R01", both, OBR, WEIGHT.format("61.5", "D"), control="2"))
    assert weights(c, "900") == []
