import dataclasses
import datetime as dt

import pytest
from support.hl7 import HOSP, RULES, message, pid, when

from config.clinical import Issuer
from model.domain import AssigningAuthority, Identifier, NameGroup, Sex
from node.facts import (
    VOID_REASONS,
    CancelFact,
    Demographic,
    DxaFact,
    MergeFact,
    MergeKind,
    ObservationFact,
    PersonFact,
    TombstoneFact,
)
from node.feeds.er7 import parse
from node.feeds.hl7_messages import read_message
from node.issuers import Issuers
from node.names import UNDATED

OBR = "OBR|1||F77^LAB|34565-2^Vital signs^LN|||20250309100000+0000|||||||||||||||20250309110000+0000|||F"
WEIGHT = "OBX|1|NM|29463-7^Body weight^LN||61.5|kg^^UCUM|||||F|||20250309100500+0000"


def read(kind, *segments, **options):
    return read_message(parse(message(kind, *segments, **options)), RULES, received_at=when())


def of(kind, reading):
    return [f for f in reading.facts if isinstance(f, kind)]


def test_adt_gives_the_person_with_every_usable_identifier():
    segments = [
        "EVN|A08|20250310080000+0000",
        "PID|1||100001^^^HOSP&1.2.3&ISO^MR~55^^^NAT^SS~V9^^^HOSP^VN~7||ALIAS^X^^^^^A~MÜLLER^ANNA^^^^^L~山田^花^^^^^L^I||1948031210|F",
    ]
    (fact,) = of(PersonFact, read("ADT^A08^ADT_A01", *segments))
    hosp = AssigningAuthority(namespace="HOSP", universal_id="1.2.3", universal_id_type="ISO")
    assert fact.identity.identifiers == (
        Identifier(value="100001", authority=hosp),
        Identifier(value="55", authority=AssigningAuthority(namespace="NAT")),
    )
    assert fact.identity.name.alphabetic == NameGroup(family="MÜLLER", given="ANNA")
    assert fact.identity.name.ideographic == NameGroup(family="山田", given="花")
    assert fact.identity.birth_date == dt.date(1948, 3, 12)
    assert fact.identity.sex is Sex.FEMALE
    assert fact.valid_since == dt.datetime(2025, 3, 10, 8, tzinfo=dt.UTC)


def test_leading_zeros_are_part_of_an_identifier():
    (fact,) = of(PersonFact, read("ADT^A04", pid("007123")))
    assert fact.identity.identifiers[0].value == "007123"


def test_an_identifier_without_issuer_is_not_used():
    reading = read("ADT^A08", "PID|1||100001||M^A")
    assert (reading.facts, reading.quarantine) == ((), "NO_ID")


def test_oru_gives_observations_and_an_undated_person():
    reading = read("ORU^R01^ORU_R01", pid(), OBR, WEIGHT, "OBX|2|NM|17861-6^Ca^LN||9.5|mg/dl|||||F")
    assert of(PersonFact, reading)[0].valid_since == UNDATED
    weight, calcium = of(ObservationFact, reading)
    assert (weight.variable, weight.value, weight.unit, weight.usable) == ("weight", 61.5, "kg", True)
    assert weight.patient == Identifier(value="100001", authority=HOSP)
    assert weight.observed_start == dt.datetime(2025, 3, 9, 10, 5, tzinfo=dt.UTC)
    assert weight.available_at == dt.datetime(2025, 3, 9, 11, tzinfo=dt.UTC)
    assert weight.source == "HL7 ORU^R01 C1"
    assert weight.code == "29463-7"
    assert calcium.value == 9.5 * 0.2495
    assert calcium.observed_start == dt.datetime(2025, 3, 9, 10, tzinfo=dt.UTC), "OBX-14 empty: OBR-7"


def test_each_value_belongs_to_the_patient_it_stands_under():
    other = pid("200002", "SCHMIDT^EVA^^^^^L")
    facts = of(ObservationFact, read("ORU^R01", pid(), OBR, WEIGHT, other, OBR, WEIGHT.replace("61.5", "80")))
    assert [(f.patient.value, f.value) for f in facts] == [("100001", 61.5), ("200002", 80.0)]
    nameless = read("ORU^R01", pid(), OBR, WEIGHT, "PID|2||||X^Y", OBR, WEIGHT.replace("61.5", "80"))
    assert [f.value for f in of(ObservationFact, nameless)] == [61.5]
    assert nameless.quarantine == "NO_ID"


def test_a_void_and_a_correction_keep_the_key_of_what_they_replace():
    first = of(ObservationFact, read("ORU^R01", pid(), OBR, WEIGHT))[0]
    for changed in (WEIGHT.replace("|F|", "|C|").replace("61.5", "62.5"), WEIGHT.replace("|F|", "|D|")):
        later = of(ObservationFact, read("ORU^R01", pid(), OBR, changed, control="C2"))[0]
        assert later.key == first.key
    assert (later.usable, later.reason, later.value) == (False, "VOID", None)
    bare = "OBX|1|NM|29463-7^^LN||61.5|kg|||||F"
    group = "OBR|1||F77|x"
    keys = {
        of(ObservationFact, read("ORU^R01", pid(), group, bare, sent=f"2025031{d}090000+0000"))[0].key for d in (0, 1)
    }
    assert len(keys) == 1, "the time of sending is no part of the key"


@pytest.mark.parametrize(
    ("obx", "status"),
    [
        ("OBX|1|FT|29463-7^^LN||wrong scale||||||D|||20250309100500+0000", "D"),
        ("OBX|1||29463-7^^LN||61.5|kg|||||W|||20250309100500+0000", "W"),
        ("OBX|1|FT|29463-7^^LN||see note||||||C|||20250309100500+0000", "D"),
        ("OBX|1|FT|29463-7^^LN||haemolysed||||||X|||20250309100500+0000", "X"),
    ],
)
def test_a_void_or_correction_holds_whatever_the_type_of_its_value(obx, status):
    (sent,) = of(ObservationFact, read("ORU^R01", pid(), OBR, WEIGHT))
    reading = read("ORU^R01", pid(), OBR, obx)
    (taken_back,) = of(ObservationFact, reading)
    assert (taken_back.key, taken_back.status, taken_back.usable) == (sent.key, status, False)
    assert dict(reading.remarks)["VALUE_TYPE"] == 1
    assert of(ObservationFact, read("ORU^R01", pid(), OBR, obx.replace(f"||{obx.split('|')[11]}||", "||F||"))) == []


@pytest.mark.parametrize("status", ["X", "C"])
@pytest.mark.parametrize("group", ["F", "P"])
def test_x_and_an_empty_c_hold_also_in_a_group_that_is_not_final(status, group):
    (sent,) = of(ObservationFact, read("ORU^R01", pid(), OBR, WEIGHT))
    obx = WEIGHT.replace("61.5", "").replace("|F|", f"|{status}|")
    (taken_back,) = of(ObservationFact, read("ORU^R01", pid(), OBR[:-1] + group, obx))
    assert (taken_back.key, taken_back.status) == (sent.key, status)
    assert taken_back.reason in VOID_REASONS


def test_repeats_without_sub_id_stay_apart():
    reading = read("ORU^R01", pid(), OBR, WEIGHT, WEIGHT.replace("61.5", "62"))
    assert len({f.key for f in of(ObservationFact, reading)}) == 2
    assert ("REPEAT_WITHOUT_SUB_ID", 1) in reading.remarks


def test_a_group_that_is_not_final_is_kept_and_not_used():
    (fact,) = of(ObservationFact, read("ORU^R01", pid(), OBR[:-1] + "P", WEIGHT))
    assert (fact.usable, fact.reason, fact.raw_value) == (False, "STATUS", "61.5")


def test_dxa_is_never_an_observation():
    segment = "OBX|1|NM|38267-1^T-score^LN||-2.7|{T-score}|||||F"
    reading = read("ORU^R01", pid(), OBR, segment, segment.replace("38267-1", "24966-4"))
    assert of(ObservationFact, reading) == []
    score, density = of(DxaFact, reading)
    assert (score.region, score.t_score, score.bmd) == ("lumbar", -2.7, None)
    assert density.t_score is None, "a BMD is no T-score"


def test_adt_observations_and_structured_numbers():
    reading = read("ADT^A01", pid(), "OBX|1|NM|8302-2^^LN||1.64|m|||||F", "OBX|2|SN|2160-0^^LN||<^0.2|mg/dL|||||F")
    height, creatinine = of(ObservationFact, reading)
    assert height.value == 164.0
    assert (creatinine.usable, creatinine.reason, creatinine.raw_value) == (False, "COMPARATOR", "<0.2")
    assert ("TIME_WEAK", 2) in reading.remarks


def quarantine(*segments, **options):
    return read(*segments, **options).quarantine


@pytest.mark.parametrize("event", ["A01", "A04", "A05", "A08", "A28", "A31"])
def test_every_person_event_states_the_person(event):
    (fact,) = of(PersonFact, read(f"ADT^{event}", pid()))
    assert fact.valid_since == when(), "EVN-2 empty: MSH-7"


@pytest.mark.parametrize(
    ("event", "kind"),
    [*((e, MergeKind.MERGE) for e in ("A40", "A34", "A35", "A36", "A18")), ("A47", MergeKind.CHANGE)],
)
def test_a40_a34_to_a36_a18_merge_and_a47_changes(event, kind):
    (fact,) = of(MergeFact, read(f"ADT^{event}", pid("1234"), "MRG|99^^^HOSP^MR"))
    assert (fact.survivor.value, fact.prior.value, fact.kind) == ("1234", "99", kind)


def test_a_merge_pairs_identifiers_by_issuer_and_leaves_out_what_both_sides_share():
    both = "PID|1||1234^^^HOSP^MR~55^^^NAT^SS~7^^^LAB||M^A"
    facts = of(MergeFact, read("ADT^A40", both, "MRG|8^^^LAB~99^^^HOSP^MR~55^^^NAT^SS"))
    assert [(f.survivor.value, f.prior.value) for f in facts] == [("1234", "99"), ("7", "8")]


def test_an_account_merge_of_one_patient_is_no_self_merge():
    reading = read("ADT^A35", pid("1234"), "MRG|1234^^^HOSP^MR||A77")
    assert (of(MergeFact, reading), reading.quarantine) == ([], "")
    assert quarantine("ADT^A40", pid("1234"), "MRG|1234^^^HOSP&1.2.3&ISO^MR") == "SELF_MERGE"


def test_several_merges_in_one_a40_keep_their_pairs():
    facts = of(MergeFact, read("ADT^A40", pid("1001"), "MRG|2002^^^HOSP", pid("3003"), "MRG|4004^^^HOSP"))
    assert [(f.survivor.value, f.prior.value) for f in facts] == [("1001", "2002"), ("3003", "4004")]


@pytest.mark.parametrize("event", ["A42", "A43", "A45", "A30", "A39", "A46"])
def test_a42_a43_a45_are_no_person_merges_but_for_review(event):
    reading = read(f"ADT^{event}", pid("1234"), "MRG|99^^^HOSP^MR")
    assert (reading.facts, reading.quarantine) == ((), f"REVIEW_{event}")


@pytest.mark.parametrize("event", ["A24", "A37"])
def test_a24_a37_are_noted_and_do_nothing(event):
    reading = read(f"ADT^{event}", pid("1234"), pid("99"))
    assert (reading.facts, reading.quarantine, reading.remarks) == ((), "", (("LINK", 1),))


@pytest.mark.parametrize("event", ["A11", "A38", "A23"])
def test_a_cancelled_visit_takes_back_its_values_and_leaves_the_person(event):
    reading = read(f"ADT^{event}", pid(), "PV1|1|I" + "|" * 17 + "V77^^^HOSP", WEIGHT)
    assert of(CancelFact, reading)[0].visit == "V77^HOSP"
    (value,) = of(ObservationFact, reading)
    assert (value.reason, value.value) == ("VOID", None)
    assert of(PersonFact, reading)[0].valid_since == UNDATED, "the person is known as before"
    nameless = read(f"ADT^{event}", pid())
    assert of(CancelFact, nameless) == []
    assert ("NO_VISIT", 1) in nameless.remarks


def test_values_of_an_adt_carry_their_visit_and_those_of_an_oru_do_not():
    visit = "PV1|1|I" + "|" * 17 + "V77"
    assert of(ObservationFact, read("ADT^A01", pid(), visit, WEIGHT))[0].visit == "V77"
    assert of(ObservationFact, read("ORU^R01", pid(), visit, OBR, WEIGHT))[0].visit == ""


def test_a29_is_a_tombstone_and_says_nothing_else():
    reading = read("ADT^A29", pid())
    assert reading.facts == (TombstoneFact(patient=Identifier(value="100001", authority=HOSP)),)


def test_death_and_its_correction():
    late = "|" * 21
    (dead,) = of(PersonFact, read("ADT^A08", pid() + late + "20250301|Y"))
    assert (dead.dead, dead.died_at) == (True, dt.datetime(2025, 2, 28, 23, tzinfo=dt.UTC))
    (alive,) = of(PersonFact, read("ADT^A08", pid() + late + "|N"))
    assert (alive.dead, alive.cleared) == (False, {Demographic.DEATH})


def test_an_explicit_delete_is_not_an_empty_field():
    (fact,) = of(PersonFact, read("ADT^A08", 'PID|1||100001^^^HOSP||""||""|'))
    assert fact.cleared == {Demographic.NAME, Demographic.BIRTH_DATE}
    assert of(PersonFact, read("ADT^A08", "PID|1||100001^^^HOSP||||"))[0].cleared == frozenset()


def test_evn_2_dates_the_person_and_the_future_never_does():
    def since(evn, **options):
        return of(PersonFact, read("ADT^A08", evn, pid(), **options))[0].valid_since

    assert since("EVN|A08|20250310080000+0000") == when(10, 8)
    assert since("EVN|A08|20250310") == when(), "a day only: the time of sending orders the day's messages"
    assert since("EVN|A08|20250308") == dt.datetime(2025, 3, 7, 23, tzinfo=dt.UTC), "another day stays that day"
    assert since("EVN|A08|20990101000000") == when(), "receipt is the latest moment"


def test_numbers_with_a_decimal_comma_only_where_the_feed_declares_it():
    comma = WEIGHT.replace("61.5", "61,5")
    frame = parse(message("ORU^R01", pid(), OBR, comma))
    (strict,) = of(ObservationFact, read("ORU^R01", pid(), OBR, comma))
    (declared,) = of(
        ObservationFact, read_message(frame, dataclasses.replace(RULES, decimal_comma=True), received_at=when())
    )
    assert (strict.usable, strict.reason) == (False, "NUMBER")
    assert (declared.value, declared.raw_value) == (61.5, "61,5")


def test_an_identifier_is_stored_in_the_spelling_of_the_site():
    issuers = Issuers(listed=(Issuer(namespace="HOSP", universal_id="1.2.3", aliases=("OLDNAME",)),))
    frame = parse(message("ADT^A08", "PID|1||7^^^OLDNAME||M^A"))
    reading = read_message(frame, dataclasses.replace(RULES, issuers=issuers), received_at=when())
    assert of(PersonFact, reading)[0].identity.identifiers[0].authority.universal_id == "1.2.3"


def test_the_specimen_dates_values_of_an_order_without_time():
    spm = "SPM|1" + "|" * 16 + "20250308070000+0000"
    first, second = "OBR|1||F1^LAB|x", "OBR|2||F2^LAB|x"
    undated = WEIGHT.replace("20250309100500+0000", "")
    reading = read("ORU^R01", pid(), first, undated, spm, second, undated.replace("61.5", "62"))
    facts = of(ObservationFact, reading)
    assert [f.observed_start for f in facts] == [when(8, 7), when(10, 9)]
    assert ("TIME_WEAK", 1) in reading.remarks, "the specimen of one order says nothing about the next"


@pytest.mark.parametrize(("status", "reason"), [("D", "VOID"), ("W", "WRONG_PATIENT")])
def test_d_w_void(status, reason):
    (value,) = of(ObservationFact, read("ORU^R01", pid(), OBR, WEIGHT.replace("|F|", f"|{status}|")))
    assert (value.reason, value.usable) == (reason, False)
    (of_group,) = of(ObservationFact, read("ORU^R01", pid(), OBR[:-1] + status, WEIGHT))
    assert of_group.reason == reason, "OBR-25 likewise for the group"


def test_a_dxa_is_voided_like_any_value():
    segment = "OBX|1|NM|38267-1^T-score^LN||-2.7|{T-score}|||||F"
    (first,) = of(DxaFact, read("ORU^R01", pid(), OBR, segment))
    (later,) = of(DxaFact, read("ORU^R01", pid(), OBR, segment.replace("|F", "|D"), control="C2"))
    assert later.key == first.key
    assert (later.t_score, later.usable, later.reason) == (None, False, "VOID")
