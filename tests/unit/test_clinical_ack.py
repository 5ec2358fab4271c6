"""The acceptance lines "ACK" of clinical-data.md section 15, each quoted by a test's name; what section 4 asks for."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hl7_samples import adt, header

from model.domain import AssigningAuthority
from node.feeds.er7 import HL7Error, parse
from node.feeds.hl7_ack import acknowledge, answer_code, recognise
from node.feeds.hl7_check import Checks, check

USED_WITH = {"ORU^R01": "OBR", "OMG^O19": "OBR", "OMI^O23": "IPC", "RDE^O11": "RXE", "RAS^O17": "RXA"}
AT = dt.datetime(2025, 3, 10, 9, tzinfo=dt.UTC)
ADT = adt()
SENDER, NODE = HL7Error(101, "PID-3"), HL7Error(207, "message")
HOSP = AssigningAuthority(namespace="HOSP")


def message(kind, *segments, modes="|", charset="UNICODE UTF-8", codec="utf-8"):
    return "\r".join([header(kind, modes=modes, charset=charset), *segments, ""]).encode(codec)


def fields(ack):
    return [line.split("|") for line in ack.decode().split("\r") if line]


def answered(frame, checks=Checks()):  # noqa: B008 - frozen
    """(MSA-1, code of ERR-3 or "") as the listener would answer it."""
    error = None
    try:
        check(parse(frame), checks)
    except HL7Error as found:
        error = found
    lines = fields(acknowledge(recognise(frame), error, AT))
    return lines[1][1], lines[2][3].partition("^")[0] if len(lines) > 2 else ""


# "modes x outcomes"

FULL = {
    # (MSH-15, MSH-16): answers to (accepted, sender's error, node's error)
    ("", ""): ("AA", "AE", "AR"),
    ("AL", ""): ("CA", "CE", "CR"),
    ("AL", "NE"): ("CA", "CE", "CR"),
    ("AL", "AL"): ("CA", "CE", "CR"),
    ("SU", ""): ("CA", None, None),
    ("SU", "NE"): ("CA", None, None),
    ("ER", ""): (None, "CE", "CR"),
    ("ER", "NE"): (None, "CE", "CR"),
    ("NE", "NE"): (None, None, None),
    ("NE", ""): (None, None, None),
    ("", "NE"): (None, None, None),
    # MSH-15 asks for nothing but MSH-16 does: the sender must not be left waiting.
    ("NE", "AL"): ("AA", "AE", "AR"),
    ("", "AL"): ("AA", "AE", "AR"),
    ("", "ER"): (None, "AE", "AR"),
    ("", "SU"): ("AA", None, None),
    ("NE", "ER"): (None, "AE", "AR"),
    ("SU", "ER"): ("CA", "AE", "AR"),
    ("ER", "AL"): ("AA", "CE", "CR"),
}


@pytest.mark.parametrize("modes", FULL)
def test_ack_modes_x_outcomes(modes):
    found = recognise(message("ADT^A08", modes="|".join(modes)))
    answers = [acknowledge(found, error, AT) for error in (None, SENDER, NODE)]
    assert tuple(ack and fields(ack)[1][1] for ack in answers) == FULL[modes]
    assert tuple(answer_code(found, error) for error in (None, SENDER, NODE)) == FULL[modes]


def test_ack_ne_ne_silent():
    assert acknowledge(recognise(message("ADT^A08", modes="NE|NE")), None, AT) is None
    assert acknowledge(recognise(message("ADT^A08", modes="NE|NE")), SENDER, AT) is None


def test_ack_a_condition_that_is_none_of_table_0155_is_answered():
    assert answer_code(recognise(message("ADT^A08", modes="al|")), None) == "CA"
    assert answer_code(recognise(message("ADT^A08", modes="XX|NE")), SENDER) == "CE"
    assert answer_code(recognise(message("ADT^A08", modes='""|""')), None) == "AA"


@pytest.mark.parametrize(
    ("code", "letter"),
    [*((code, "E") for code in (100, 101, 102, 103, 205)), *((code, "R") for code in (200, 201, 202, 203, 204, 207))],
)
def test_ack_what_the_sender_can_mend_is_ae_everything_else_ar(code, letter):
    assert answer_code(recognise(ADT), HL7Error(code, "MSH-9")) == f"A{letter}"
    assert answer_code(recognise(message("ADT^A08", modes="AL|")), HL7Error(code, "MSH-9")) == f"C{letter}"


def test_ack_err_has_location_code_and_severity_and_no_value():
    lines = fields(acknowledge(recognise(ADT), HL7Error(205, "MRG-1", sequence=2), AT))
    assert lines[1] == ["MSA", "AE", "00C1"]
    assert lines[2] == ["ERR", "", "MRG^2^1", "205^Duplicate key identifier^HL70357", "E"]
    assert fields(acknowledge(recognise(ADT), HL7Error(100, "PID"), AT))[2][2] == "PID^1"
    assert fields(acknowledge(recognise(ADT), HL7Error(207, "message"), AT))[2][2] == ""


def test_ack_echoes_control_id_charset_processing_id_and_version_and_swaps_the_parties():
    first, second = fields(acknowledge(recognise(ADT), None, AT))
    assert first[:3] == ["MSH", "^~\\&", "OSTEON"]
    assert first[4:7] == ["HIS", "FAC", "20250310090000+0000"]
    assert (first[8], first[10], first[11], first[17]) == ("ACK^A08^ACK", "P", "2.5.1", "UNICODE UTF-8")
    assert second == ["MSA", "AA", "00C1"]
    assert first[9] != fields(acknowledge(recognise(ADT), None, AT))[0][9]
    assert len(first[9]) == 20


@pytest.mark.parametrize(
    ("charset", "codec", "control"),
    [("8859/1", "latin-1", "Ä1"), ("GB 18030-2000", "gb18030", "王1"), ("~ISO IR87", "iso2022_jp", "山田")],
)
def test_ack_is_written_in_the_senders_character_set(charset, codec, control):
    frame = header("ADT^A08", control=control, charset=charset).encode(codec)
    ack = acknowledge(recognise(frame), None, AT)
    assert ack.decode(codec).split("\r")[1] == f"MSA|AA|{control}"
    assert ack.decode(codec).split("\r")[0].endswith(f"|{charset}")


def test_ack_of_a_header_that_cannot_be_decoded_echoes_its_bytes():
    for charset in ("UNICODE UTF-8", "KLINGON", "CNS 11643-1992"):
        frame = header("ADT^A08", control="X", charset=charset).encode().replace(b"|X|", b"|\xa4\xe9|")
        assert acknowledge(recognise(frame), HL7Error(102, "MSH-18"), AT).split(b"\r")[1] == b"MSA|AE|\xa4\xe9"


def test_ack_with_the_feeds_default_or_pinned_character_set():
    frame = header("ADT^A08", control="Ä", charset="").encode("latin-1")
    assert recognise(frame, default_charset="iso8859-1").raw(10) == "Ä"
    lying = header("ADT^A08", control="Ä").encode("latin-1")
    assert recognise(lying, pinned_charset="iso8859-1").codec == "iso8859-1"


@given(st.binary(max_size=200), st.sampled_from([101, 207, None]))
def test_ack_works_on_any_frame_in_which_msh_was_recognised(rest, code):
    error = HL7Error(code, "MSH-9") if code else None
    for frame in (b"MSH|^~\\&" + rest, b"MSH|^~\\&|A|B|C|D|||ADT^A08|1|P|2.5||||||GB 18030-2000\r" + rest, rest):
        found = recognise(frame)
        ack = acknowledge(found, error, AT)
        code_asked = answer_code(found, error)
        assert (ack is None) == (code_asked is None)
        if ack is not None:
            assert not {0x0B, 0x1C} & set(ack)
            text = ack.decode(found.codec, errors="replace")
            assert text.split("\r")[1].split(found.separators.field)[:2] == ["MSA", code_asked]
            assert text.count("\r") == (2 if error is None else 3)


@pytest.mark.parametrize(
    "frame", [b"", b"hello", b"MSH", b"MSH|^~\\&", b"MSH|^~\\&\rPID|1", b"GET / HTTP/1.1", b"\0" * 9, b"MSH|||||"]
)
def test_ack_short_msh_and_no_msh(frame):
    with pytest.raises(HL7Error) as caught:
        check(parse(frame))
    assert fields(acknowledge(recognise(frame), caught.value, AT))[1][:2][0] == "MSA"


# "MSH-11 T", "MSH-10 reused with other content" (the inbox decides: every key with its hash), what section 4 checks


def test_ack_msh_11_t():
    for training in (b"|T|", b"|D|"):
        frame = ADT.replace(b"|P|", training)
        assert answered(frame) == ("AR", "202")
        assert answered(frame, Checks(accept_test=True)) == ("AA", "")
    assert answered(ADT.replace(b"|P|", b"|X|"), Checks(accept_test=True)) == ("AR", "202")


def test_ack_msh_10_reused_with_other_content_is_answered_alike():
    one, other = adt("SAME"), adt("SAME").replace(b"61.5", b"62.5")
    assert [fields(acknowledge(recognise(f), None, AT))[1] for f in (one, other)] == [["MSA", "AA", "SAME"]] * 2


def test_ack_bad_message_then_a_good_one():
    bad = ADT.replace(b"|00C1|", b"||")
    assert [answered(frame) for frame in (bad, ADT)] == [("AE", "101"), ("AA", "")]
    assert fields(acknowledge(recognise(bad), SENDER, AT))[1] == ["MSA", "AE"]


@pytest.mark.parametrize(
    ("old", "new", "answer"),
    [
        (b"|ADT^A08^ADT_A01|", b"||", ("AE", "101")),
        (b"|P|", b"||", ("AE", "101")),
        (b"|2.5.1|", b"||", ("AE", "101")),
        (b"|2.5.1|", b"|3.0|", ("AR", "203")),
        (b"|2.5.1|", b"|20|", ("AR", "203")),
        (b"|2.5.1|", b"|2.8.2^DEU|", ("AA", "")),
        (b"PID|", b"ZPI|", ("AE", "100")),
        (b"PID|", b"pid|", ("AE", "100")),
        (b"UNICODE UTF-8", b"KLINGON", ("AE", "103")),
        (b"UNICODE UTF-8", b"ASCII", ("AE", "102")),
    ],
)
def test_ack_checked_before_the_answer(old, new, answer):
    assert answered(ADT.replace(old, new)) == answer


def test_ack_unused_types_are_aa_unless_strict():
    for kind, code in (("SIU^S12", "200"), ("ADT^A60", "201"), ("ORU^R30", "201"), ("MDM", "200")):
        assert answered(message(kind)) == ("AA", "")
        assert answered(message(kind), Checks(strict_types=True)) == ("AR", code)
    assert answered(ADT, Checks(strict_types=True)) == ("AA", "")


@pytest.mark.parametrize("kind", ["ADT^A01", "ADT^A08", "ADT^A29", "ADT^A40", "ADT^A43", "ORM^O01", *USED_WITH])
def test_ack_a_used_type_needs_its_segments(kind):
    assert answered(message(kind), Checks(strict_types=True)) == ("AE", "100")
    if kind in USED_WITH:
        assert answered(message(kind, "PID|1||1^^^HOSP")) == ("AE", "100")
        assert answered(message(kind, "PID|1||1^^^HOSP", f"{USED_WITH[kind]}|1")) == ("AA", "")


def test_ack_self_merge_mrg_1_among_pid_3_is_205():
    survivor = "PID|1||100001^^^HOSP^MR~X1^^^NAT^NI"
    for event in ("A40", "A34", "A36", "A18", "A47"):
        for prior in ("100001^^^HOSP^MR", "X1^^^NAT", "100001^^^HOSP&1.2&ISO", "100001^^^HOSP~X1^^^NAT"):
            assert answered(message(f"ADT^{event}", survivor, f"MRG|{prior}")) == ("AE", "205")
        for prior in ("2^^^HOSP", "100001^^^OTHER", "2^^^HOSP~X1^^^NAT"):
            assert answered(message(f"ADT^{event}", survivor, f"MRG|{prior}")) == ("AA", "")
    assert answered(message("ADT^A35", survivor, "MRG|100001^^^HOSP^MR||ACCOUNT2")) == ("AA", ""), "accounts only"
    second = message("ADT^A40", survivor, "MRG|2^^^HOSP", "PID|2||3^^^HOSP", "MRG|3^^^HOSP")
    with pytest.raises(HL7Error) as caught:
        check(parse(second))
    assert (caught.value.code, caught.value.sequence) == (205, 2)


def test_ack_a_merge_needs_its_segments_in_order():
    assert answered(message("ADT^A40", "PID|1||1^^^HOSP")) == ("AE", "100")
    assert answered(message("ADT^A40", "PID|1||1^^^HOSP", "MRG|")) == ("AE", "101")
    assert answered(message("ADT^A40", "MRG|2^^^HOSP", "PID|1||1^^^HOSP")) == ("AE", "100")


def test_ack_unstated_issuers_of_a_merge_are_the_feeds():
    frame = message("ADT^A40", "PID|1||100001^^^HOSP", "MRG|100001")
    assert answered(frame, Checks(default_issuer=HOSP)) == ("AE", "205")
    assert answered(frame, Checks(default_issuer=AssigningAuthority(namespace="OTHER"))) == ("AA", "")
    assert answered(message("ADT^A40", "PID|1||7", "MRG|7")) == ("AE", "205")


def test_ack_a_message_for_a_merged_patient_is_204_where_the_site_rejects_them():
    asked = []

    def is_prior(identifier):
        asked.append(identifier)
        return identifier.value == "100002"

    rejecting = Checks(is_prior=is_prior, default_issuer=HOSP)
    assert answered(message("ADT^A08", "PID|1||100002^^^HOSP^MR")) == ("AA", "")
    assert answered(message("ADT^A08", "PID|1||100002^^^HOSP^MR"), rejecting) == ("AR", "204")
    assert answered(message("ADT^A08", "PID|1||100002~5^^^NAT"), rejecting) == ("AR", "204"), "nothing else of HOSP"
    assert answered(message("ADT^A08", "PID|1||100001^^^HOSP~100002^^^HOSP"), rejecting) == ("AA", "")
    assert answered(message("ORU^R01", "PID|1||100001^^^HOSP", "OBR|1"), rejecting) == ("AA", "")
    assert answered(message("SIU^S12", "PID|1||100002^^^HOSP"), rejecting) == ("AA", ""), "not used"
    assert {identifier.authority.namespace for identifier in asked} == {"HOSP", "NAT"}


def test_ack_carries_no_patient_data():
    frame = ADT.replace("MÜLLER".encode(), b"M\xdcLLERXX").replace(b"100001", b"7654321")
    with pytest.raises(HL7Error) as caught:
        parse(frame)
    ack = acknowledge(recognise(frame), caught.value, AT)
    assert not any(planted in ack for planted in (b"LLERXX", b"7654321", b"19480312"))
