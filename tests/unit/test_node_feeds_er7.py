import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.hl7 import BERLIN, message, pid

from node.feeds.er7 import DELETE, HL7Error, parse
from node.feeds.hl7_ack import acknowledge, recognise
from node.feeds.hl7_time import instant, interval
from node.feeds.inbox import accept

AT = dt.datetime(2025, 3, 10, 9, tzinfo=dt.UTC)
ADT = message("ADT^A08^ADT_A01", pid())


def ack_fields(ack):
    return [line.split("|") for line in ack.decode().split("\r") if line]


def test_reads_fields_components_and_repetitions():
    found = parse(message("ADT^A08", "PID|1||1^^^H&1.2.3&ISO^MR~2^^^K||A^B||")).first("PID")
    assert found.get(3) == "1"
    assert found.get(3, 4, 2) == "1.2.3"
    assert found.get(3, 4, repetition=2) == "K"
    assert found.get(99, 7, 3) == ""
    assert parse(ADT).header.get(9, 2) == "A08"


def test_empty_and_explicit_deletion_are_two_things():
    found = parse(message("ADT^A08", 'PID|1||1^^^H||""||""|'))
    assert found.first("PID").get(7) == DELETE
    assert found.first("PID").get(6) == ""
    assert found.first("PID").text(7) == ""


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_segment_ends(end):
    assert len(parse(ADT.decode().replace("\r", end).encode()).segments) == 2


def test_other_line_separators_are_text():
    text = "a\u0085b\u2028c"
    assert parse(message("ADT^A08", f"NTE|1||{text}")).first("NTE").get(3) == text


def test_gb18030_with_a_field_separator_as_second_byte():
    name = next(c for c in map(chr, range(0x4E00, 0x9FFF)) if c.encode("gb18030")[1:] == b"|")
    frame = f"MSH|^~\\&|A|B|C|D|20250310||ADT^A08|1|P|2.5||||||GB 18030-2000\rPID|1||1^^^H||{name}^{name}||19480312|F\r"
    found = parse(frame.encode("gb18030")).first("PID")
    assert found.get(5) == name
    assert found.get(7) == "19480312"


def test_latin1_as_declared_and_bytes_that_contradict():
    frame = ADT.replace(b"UNICODE UTF-8", b"8859/1").decode().encode("latin-1")
    assert parse(frame).first("PID").get(5) == "MÜLLER"
    with pytest.raises(HL7Error) as caught:
        parse(ADT.decode().encode("latin-1"))
    assert caught.value.code == 102
    assert not caught.value.reject


def test_unknown_charset_and_two_headers():
    with pytest.raises(HL7Error) as caught:
        parse(ADT.replace(b"UNICODE UTF-8", b"KLINGON"))
    assert caught.value.code == 103
    with pytest.raises(HL7Error) as caught:
        parse(ADT + ADT)
    assert caught.value.reject


def test_escapes():
    found = parse(message("ADT^A08", r"NTE|1||a\F\b\S\\T\\R\\E\c\X41\\.br\\H\d\C2842\e\x")).first("NTE")
    assert found.get(3) == "a|b^&~\\cA\nd\ufffde\\x"
    bomb = parse(message("ADT^A08", "NTE|1||" + "\\.sp99999999\\" * 500)).first("NTE").get(3)
    assert bomb == "\n" * 50


def test_bom_and_surrounding_white_space():
    assert parse(b"\0\r\n \xef\xbb\xbf" + ADT + b"\0\0").header.id == "MSH"


@given(st.binary(max_size=300))
@example(b"MSH\r|^~\\&")
@example(b"MSH|^~\\\xe4")
def test_random_bytes_raise_only_hl7_error(data):
    accepted = accept(data, at=AT)
    assert (accepted.error is None) or accepted.ack


@given(st.integers(0, len(ADT) - 1), st.binary(max_size=4), st.integers(0, 4))
def test_mutants_raise_only_hl7_error(position, inserted, cut):
    mutant = ADT[:position] + inserted + ADT[position + cut :]
    try:
        found = parse(mutant)
    except HL7Error:
        return
    for segment in found.segments:
        for number in range(1, 20):
            segment.get(number, 2, 2, repetition=2)
    accept(mutant, at=AT)


def test_a_large_message():
    frame = message("ORU^R01", pid(), *["OBX|1|ST|x^^L||" + "y" * 200] * 5000)
    assert [s.get(5) for s in parse(frame).segments[2:]] == ["y" * 200] * 5000


def test_original_mode_answers():
    assert ack_fields(accept(ADT, at=AT).ack)[1] == ["MSA", "AA", "C1"]
    lines = ack_fields(accept(ADT.replace(b"|C1|", b"||"), at=AT).ack)
    assert lines[1][1] == "AE"
    assert lines[2] == ["ERR", "", "MSH^1^10", "101^Required field missing^HL70357", "E"]
    assert ack_fields(accept(ADT.replace(b"|P|", b"|T|"), at=AT).ack)[1] == ["MSA", "AR", "C1"]
    assert ack_fields(accept(ADT.replace(b"2.5.1", b"3.0"), at=AT).ack)[1] == ["MSA", "AR", "C1"]
    assert ack_fields(accept(b"hello", at=AT).ack)[1] == ["MSA", "AR"]


@pytest.mark.parametrize(
    ("accept_ack", "application_ack", "good", "bad"),
    [
        ("AL", "NE", "CA", "CE"),
        ("NE", "NE", None, None),
        ("ER", "", None, "CE"),
        ("SU", "", "CA", None),
        ("NE", "AL", "AA", "AE"),
        ("", "ER", None, "AE"),
    ],
)
def test_enhanced_mode_answers(accept_ack, application_ack, good, bad):
    frame = ADT.replace(b"||||||UNICODE", f"|||{accept_ack}|{application_ack}||UNICODE".encode())
    answers = [acknowledge(recognise(frame), error, AT) for error in (None, HL7Error(101, "MSH-9"))]
    assert [a and ack_fields(a)[1][1] for a in answers] == [good, bad]


def test_acknowledgement_echoes_the_charset_and_swaps_the_parties():
    header = ack_fields(accept(ADT, at=AT).ack)[0]
    assert header[2:6] == ["OSTEON", "", "HIS", "FAC"]
    assert header[8] == "ACK^A08^ACK"
    assert header[17] == "UNICODE UTF-8"


def test_errors_carry_no_patient_data():
    accepted = accept(ADT.replace("MÜLLER".encode(), b"M\xdcLLERXX").replace(b"100001", b"7654321"), at=AT)
    assert accepted.error is not None
    assert b"LLERXX" not in accepted.ack
    assert b"7654321" not in accepted.ack


def test_self_merge_is_refused_at_once():
    frame = message("ADT^A40^ADT_A39", pid(), "MRG|100001^^^HOSP^MR")
    assert accept(frame, at=AT).error.code == 205
    assert accept(message("ADT^A40", pid(), "MRG|2^^^HOSP"), at=AT).error is None
    assert accept(message("ADT^A40", pid()), at=AT).error.code == 100


def test_times_are_intervals_in_their_zone():
    day = interval("20250615", BERLIN)
    assert day.start == dt.datetime(2025, 6, 14, 22, tzinfo=dt.UTC)
    assert day.end - day.start == dt.timedelta(days=1)
    assert interval("2025", BERLIN).end == dt.datetime(2025, 12, 31, 23, tzinfo=dt.UTC)
    exact = interval("20250615103000.5-0500", BERLIN)
    assert exact.start == exact.end == dt.datetime(2025, 6, 15, 15, 30, 0, 500_000, tzinfo=dt.UTC)
    assert instant("20251026023000", BERLIN) == dt.datetime(2025, 10, 26, 1, 30, tzinfo=dt.UTC)  # the second 2:30
    assert interval("20250330", ZoneInfo("Europe/Berlin")).end == dt.datetime(2025, 3, 30, 22, tzinfo=dt.UTC)


@pytest.mark.parametrize("text", ["", "2025-06-15", "20251301", "today", "202506151", "20250615+1", "99991231"])
def test_no_guessing_of_times(text):
    assert interval(text, BERLIN) is None
