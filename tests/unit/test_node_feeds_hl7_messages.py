import datetime as dt

from support.hl7 import HOSP, RULES, message, pid, when

from model.domain import AssigningAuthority, Identifier, NameGroup, Sex
from node.facts import DxaFact, MergeFact, ObservationFact, OrderFact, PersonFact
from node.feeds.er7 import parse
from node.feeds.hl7_messages import read_message
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
    (fact,) = of(DxaFact, reading)
    assert (fact.region, fact.t_score) == ("lumbar", -2.7)
    assert ("CODE_UNUSED", 1) in reading.remarks


def test_adt_observations_and_structured_numbers():
    reading = read("ADT^A01", pid(), "OBX|1|NM|8302-2^^LN||1.64|m|||||F", "OBX|2|SN|2160-0^^LN||<^0.2|mg/dL|||||F")
    height, creatinine = of(ObservationFact, reading)
    assert height.value == 164.0
    assert (creatinine.usable, creatinine.reason, creatinine.raw_value) == (False, "COMPARATOR", "<0.2")
    assert ("TIME_WEAK", 2) in reading.remarks


def test_merge_and_order():
    (fact,) = of(MergeFact, read("ADT^A40^ADT_A39", pid("1234"), "MRG|99^^^HOSP^MR"))
    assert (fact.survivor.value, fact.prior.value) == ("1234", "99")
    order = "OBR|1|P1|F1|XR" + "|" * 14 + "ACC0000001"
    (link,) = of(OrderFact, read("ORM^O01", pid(), "ORC|NW|P1", order))
    assert (link.accession, link.patient.value) == ("ACC0000001", "100001")


def test_other_types_are_counted():
    reading = read("SIU^S12", pid())
    assert reading.facts == ()
    assert reading.remarks == (("UNUSED_TYPE", 1),)
