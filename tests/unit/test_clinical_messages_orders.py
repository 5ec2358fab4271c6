"""Orders, drugs and diagnoses in HL7 messages, and the types that the node does not use."""

import dataclasses

import pytest
from support.hl7 import RULES, message, pid, when

from config.code_file import code_table
from node.facts import (
    ExposureFact,
    MergeFact,
    ObservationFact,
    OrderFact,
)
from node.feeds.er7 import parse
from node.feeds.hl7_messages import UNUSED_TYPE, read_message

OBR = "OBR|1||F77^LAB|34565-2^Vital signs^LN|||20250309100000+0000|||||||||||||||20250309110000+0000|||F"
WEIGHT = "OBX|1|NM|29463-7^Body weight^LN||61.5|kg^^UCUM|||||F|||20250309100500+0000"


def read(kind, *segments, **options):
    return read_message(parse(message(kind, *segments, **options)), RULES, received_at=when())


def of(kind, reading):
    return [f for f in reading.facts if isinstance(f, kind)]


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


def test_orm_o01_with_zds_and_omg_o19_link_the_order():
    order = "OBR|1|P1^RIS|F1|XR" + "|" * 14 + "ACC1"
    for kind in ("ORM^O01", "OMG^O19"):
        (link,) = of(OrderFact, read(kind, pid(), "ORC|NW", order, "ZDS|1.2.840.1^RIS^Application^DICOM"))
        assert (link.accession, link.placer, link.filler, link.study_uid) == ("ACC1", "P1^RIS", "F1", "1.2.840.1")
    (cancelled,) = of(OrderFact, read("ORM^O01", pid(), "ORC|CA", order))
    assert cancelled.cancelled
    assert of(OrderFact, read("ORM^O01", pid(), "ORC|UC", order)) == [], "a failure report orders nothing"


def test_omi_o23_links_by_its_own_segment():
    segments = ("ORC|NW|P1|F1", "OBR|1|P1|F1|XR", "IPC|ACC1^RIS|RP1^RIS|1.2.3|SPS1^RIS", "IPC|ACC2|RP2|1.2.4|SPS2")
    links = of(OrderFact, read("OMI^O23", pid(), *segments))
    assert [(x.accession, x.study_uid, x.placer, x.filler) for x in links] == [
        ("ACC1", "1.2.3", "P1", "F1"),
        ("ACC2", "1.2.4", "P1", "F1"),
    ]
    assert of(OrderFact, read("ORM^O01", pid(), "ORC|NW", "OBR|1|P1|F1|XR")) == [], "nothing to look an image up by"


RXE = "RXE|^^^20250301||10||mg"


def test_rde_o11_anti_osteoporotic_drugs_are_kept_apart_from_every_variable():
    drug = RXE.replace("||10", "|M05BA04^Alendronate^WC|10")
    reading = read("RDE^O11", pid(), "ORC|NW|P7", drug)
    assert of(ObservationFact, reading) == []
    (fact,) = of(ExposureFact, reading)
    assert (fact.code, fact.cancelled) == ("M05BA04", False)
    (stopped,) = of(ExposureFact, read("RDE^O11", pid(), "ORC|CA|P7", drug, control="C2"))
    assert (stopped.key, stopped.cancelled) == (fact.key, True)


def test_rde_o11_glucocorticoid_by_its_supplementary_code_is_a_variable_once_the_site_confirms_it(tmp_path):
    segment = "RXE|1|X1^Prednisolone^L|10||mg" + "|" * 26 + "H02AB06^Prednisolone^WC"
    reading = read("RDE^O11", pid(), "ORC|NW|P7" + "|" * 7 + "20250301080000+0000", segment)
    assert of(ExposureFact, reading) == []
    assert reading.remarks == (("CODE_UNCONFIRMED", 1),)
    site = tmp_path / "codes.toml"
    site.write_text('[[codes]]\ncode = "H02AB*"\nsystem = "WC"\nconfirmed = true\n')
    rules = dataclasses.replace(RULES, codes=code_table(site))
    frame = parse(message("RDE^O11", pid(), "ORC|NW|P7" + "|" * 7 + "20250301080000+0000", segment))
    (fact,) = of(ObservationFact, read_message(frame, rules, received_at=when()))
    assert (fact.variable, fact.usable, fact.observed_start) == ("glucocorticoid_systemic", True, when(1, 8))


def test_ras_drugs_not_given_are_cancelled_and_unknown_ones_not_stored():
    given = "RXA|0|1|20250301080000+0000|20250301080000+0000|M05BX04^Denosumab^WC|60|mg"
    (fact,) = of(ExposureFact, read("RAS^O17", pid(), "ORC|RE|P7", given))
    assert (fact.cancelled, fact.observed_start) == (False, when(1, 8))
    refused = given + "|" * 13 + "RE"
    assert of(ExposureFact, read("RAS^O17", pid(), "ORC|RE|P7", refused))[0].cancelled
    other = read("RAS^O17", pid(), "ORC|RE|P7", given.replace("M05BX04", "N02BE01"))
    assert (of(ExposureFact, other), other.remarks) == ([], (("DRUG_UNUSED", 1),))


def test_dg1_of_the_code_table_is_a_value_and_any_other_diagnosis_is_not_stored():
    reading = read("ADT^A08", pid(), "DG1|1||M80.08XA^x^I10C||20240501|F", "DG1|2||F32.9^x^I10C||20240501|F")
    (fact,) = of(ObservationFact, reading)
    assert (fact.variable, fact.usable, fact.raw_value) == ("fragility_fracture", True, "M80.08XA")
    assert reading.remarks == (), "what other diagnoses a patient has is not even counted by code"
    (suspected,) = of(ObservationFact, read("ADT^A08", pid(), "DG1|1||M80.08XA^x^I10C||20240501|W"))
    assert (suspected.usable, suspected.reason) == (False, "STATUS")


@pytest.mark.parametrize("kind", ["MDM^T02", "SIU^S12", "ADT^A02", "ADT^A60", "BAR^P01", "ORU^W01", "DFT^P03", "X"])
def test_the_rest_is_counted(kind):
    reading = read(kind, pid())
    assert (reading.facts, reading.quarantine, reading.remarks) == ((), "", ((UNUSED_TYPE, 1),))
