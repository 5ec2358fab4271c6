"""The message about a report, as bytes: its shape by two strict validators, its words and characters by our reader."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from zoneinfo import ZoneInfo

import hl7types
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given
from hypothesis import strategies as st
from support.report_cases import context, header, radiograph, scored

from dicom_io import codes, wording
from dicom_io.errors import HeaderInvalid
from dicom_io.report_summary import ReportSummary, summarise
from dicom_io.results import build_results
from model.domain import Category, Mode
from node.feeds.er7 import parse
from node.feeds.hl7_encoding import CODECS, Separators, escape, unescape
from node.feeds.hl7_meaning import Meaning
from node.feeds.hl7_out import Envelope, control_id, result_message
from node.feeds.mllp_client import read_answer

ZONE = ZoneInfo("Europe/Berlin")
ENVELOPE = Envelope(
    receiver="ris",
    application="OSTEON",
    facility="RAD",
    receiving_application="RIS",
    receiving_facility="HOSP",
    charset="UNICODE UTF-8",
    procedure="36643-5^XR Chest 2 Views^LN",
    placer="P1^RIS",
    filler="F1^RIS",
    taken_at=dt.datetime(2026, 4, 4, 10, 14, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))),
)


def summary(result=None, **changes) -> ReportSummary:
    objects = build_results(header(**changes), radiograph(), result or scored(), context(with_page=False))
    return summarise(objects[-1].part10, ZONE)


def built(report: ReportSummary, meaning: Meaning = Meaning.RESULT, **changes) -> bytes:
    return result_message(report, dataclasses.replace(ENVELOPE, **changes), meaning, report.at)


def rows(message: bytes):
    return [s for s in parse(message).segments if s.id == "OBX"]


def test_clinical_out_shape_of_rad_128():
    report = summary()
    read = parse(built(report))
    assert [s.id for s in read.segments[:6]] == ["MSH", "PID", "PV1", "ORC", "OBR", "TQ1"]
    msh, obr = read.header, read.first("OBR")
    assert [msh.text(9, n) for n in (1, 2, 3)] == ["ORU", "R01", "ORU_R01"]
    assert [msh.text(n) for n in (3, 4, 5, 6, 11, 12, 15, 16, 18)] == [
        *("OSTEON", "RAD", "RIS", "HOSP", "P", "2.5.1", "AL", "NE", "UNICODE UTF-8")
    ]
    assert [obr.raw(n) for n in (2, 3, 4, 7, 18, 24, 25)] == [
        *("P1^RIS", "F1^RIS", "36643-5^XR Chest 2 Views^LN", "20260404101402+0200", "A2026-0815", "RAD", "R")
    ]
    first, found = rows(built(report))[:2]
    assert (first.raw(3), first.raw(5), first.raw(11)) == ("113014^DICOM Study^DCM", report.study_uid, "O")
    assert found.raw(3) == "121070^Findings^DCM^OS-SUMMARY^Opportunistic osteoporosis screening^99OSTEON"


def test_clinical_out_patient_and_accession_are_those_of_the_image_header():
    pid = parse(built(summary(IssuerOfPatientID="HOSP"))).first("PID")
    assert (pid.raw(3), pid.raw(5), pid.raw(7), pid.raw(8)) == (
        *("0012345^^^HOSP^MR", "Müller^Änne^^^^^L", "19550212", "F"),
    )


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("category", list(Category))
def test_clinical_out_the_same_codes_numbers_and_sentences_as_the_sr(category, mode):
    result = scored(category, mode)
    message = built(summary(result))
    said = {row.text(3, 4) or row.text(3): row for row in rows(message)}
    shown = wording.percentages(result)
    expected = {codes.P_FUSED: shown.fused, codes.P_IMAGE: shown.image, codes.P_CLINICAL: shown.clinical}
    for code, text in expected.items():
        assert (float(said[code.value].text(5)) if code.value in said else None) == (float(text) if text else None)
    assert float(said[codes.THRESHOLD.value].text(5)) == float(shown.t_high)
    assert said["OS-SUMMARY"].text(5) == wording.comment(result)
    assert said["OS-SUMMARY"].text(8) == ("A" if category is Category.ABOVE else "")
    assert [row.text(7) for row in rows(message)] == [""] * len(rows(message))  # what lies in a range reads as normal
    assert wording.forbidden(message.decode()) == ()


def shortened(message: str) -> str:
    """For `hl7apy` 1.3.5, which takes every OBX-5 for an ST and ends it at 199 characters; a TX has 65,536."""
    return re.sub(r"(\rOBX\|\d+\|TX\|[^|]*\|1\|[^|]{0,199})[^|]*", r"\1", message)


@pytest.mark.parametrize("meaning", list(Meaning))
@pytest.mark.parametrize("category", list(Category))
def test_clinical_out_validators_accept_never_p_or_f(category, meaning):
    message = built(summary(scored(category)), meaning).decode()
    parse_message(shortened(message), validation_level=VALIDATION_LEVEL.STRICT).validate()
    assert type(hl7types.decode_er7(message)).__name__ == "ORU_R01"
    read = parse(message.encode())
    assert {s.text(11) for s in read.segments if s.id == "OBX"} == {"O", meaning.value}
    assert read.first("OBR").text(25) == "R"


def test_clinical_out_the_same_report_gives_the_same_bytes_and_each_meaning_and_receiver_its_own_control_id():
    report = summary()
    assert built(report) == built(report)
    named = {control_id(report, receiver, meaning) for receiver in ("ris", "pacs") for meaning in Meaning}
    assert len(named) == 6
    assert {len(one) for one in named} == {20}


@pytest.mark.parametrize("charset", ["UNICODE UTF-8", "8859/1", "8859/15"])
def test_clinical_out_charset(charset):
    message = built(summary(), charset=charset)
    assert parse(message).first("PID").text(5) == "Müller"
    assert message.decode(CODECS[charset]).count(f"|{charset}\r") == 1


def test_clinical_out_what_the_charset_does_not_have_is_a_question_mark_and_another_script_is_left_out():
    report = summary(SpecificCharacterSet="ISO_IR 192", PatientName="Łuczak^Zoë=山田^太郎=やまだ^たろう")
    assert parse(built(report)).first("PID").raw(5) == ("Łuczak^Zoë^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P")
    assert parse(built(report, charset="8859/1")).first("PID").raw(5) == "?uczak^Zoë^^^^^L"
    alone = summary(SpecificCharacterSet="ISO_IR 192", PatientName="=山田^太郎")
    assert parse(built(alone)).first("PID").raw(5) == "山田^太郎^^^^^L^I"
    assert parse(built(alone, charset="8859/1")).first("PID").raw(5) == ""


def test_clinical_out_prefix_and_suffix_change_places_between_dicom_and_hl7():
    report = summary(PatientName="Adams^John^Q^Rev.^B.A.")
    assert parse(built(report)).first("PID").raw(5) == "Adams^John^Q^B.A.^Rev.^^L"


def test_clinical_out_escapes():
    report = summary(PatientName="O|Neil^M&M", PatientID="7~1")
    pid = parse(built(report)).first("PID")
    assert (pid.text(5, 1), pid.text(5, 2), pid.text(3)) == ("O|Neil", "M&M", "7~1")
    assert pid.raw(5) == r"O\F\Neil^M\T\M^^^^^L"


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"))))
def test_clinical_out_escapes_come_back_as_they_were(text):
    assert unescape(escape(text), Separators(), "utf-8", {}) == text


@given(st.text())
def test_clinical_out_escaped_text_ends_no_segment_field_or_block(text):
    assert not set(escape(text)) & set("\r\n\x0b\x1c|^~&")


def test_clinical_out_without_an_order_issuer_or_image_time_nothing_is_guessed():
    read = parse(built(summary(AccessionNumber=""), placer="", filler="", taken_at=None))
    assert [read.first("OBR").raw(n) for n in (2, 3, 18)] == ["", "", ""]
    assert read.first("OBR").raw(7).startswith("20260404101530")
    assert read.first("PID").raw(3) == "0012345^^^^MR"


def test_clinical_out_bytes_that_are_no_report_are_refused():
    for broken in (b"", b"no DICOM", built(summary())):
        with pytest.raises(HeaderInvalid):
            summarise(broken, ZONE)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"MSH|^~\\&|R\rMSA|AA|C1\r", ("C1", "AA", "")),
        (b"MSH|^~\\&|R\nMSA|ca|C1|text\n", ("C1", "CA", "")),
        (b"\xef\xbb\xbfMSH#*~\\&#R\r\nMSA#AE#C1\r\nERR###204*Unknown*HL70357#E", ("C1", "AE", "204")),
        (b"MSH|^~\\&|R\rERR|||NAME OF PATIENT\rMSA|AR|C1\r", ("C1", "AR", "")),
        (b"MSH|^~\\&|R\rMSA|AA\r", None),
        (b"HTTP/1.1 400 Bad Request", None),
        (b"", None),
    ],
)
def test_clinical_out_of_an_answer_only_msa_and_the_error_code_are_read(block, expected):
    found = read_answer(block)
    assert (found and (found[0], found[1].code, found[1].error)) == expected


@given(st.binary())
def test_clinical_out_whatever_a_receiver_answers_raises_nothing(block):
    read_answer(block)
    read_answer(b"MSH|^~\\&|R\rMSA|" + block)
