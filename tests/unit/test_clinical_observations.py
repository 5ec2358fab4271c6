"""One coded value -> a fact: status, value types, numbers, comparators, units, answers, DXA (clinical-data.md 7)."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hl7 import HOSP, RULES, message, pid, when

from config.code_file import code_table
from model.domain import Identifier
from node.facts import VOID_REASONS, DxaFact, ObservationFact, StatusFact, Unusable
from node.feeds.er7 import parse as parse_er7
from node.feeds.hl7_messages import read_message
from node.feeds.hl7_time import Interval
from node.feeds.measures import number, split_comparator
from node.feeds.observations import MAX_RAW, RawObservation, Remark, Status, read_observation, status_of

TABLE = code_table()


def raw(code, value, unit="", **changes):
    values = {
        "patient": Identifier(value="1", authority=HOSP),
        "key": "k",
        "codes": ((code, "LN"),),
        "value": value,
        "unit": unit,
        "status": "F",
        "observed": Interval(start=when(), end=when()),
        "available_at": when(),
        "source": "HL7 ORU^R01 1",
    }
    return RawObservation(**{**values, **changes})


def read(code, value, unit="", table=TABLE, **changes):
    return read_observation(raw(code, value, unit, **changes), table)


def test_a_value_is_kept_as_sent_beside_its_canonical_form():
    fact = read("17861-6", "9.6", "mg/dl", reference="8.5-10.2")
    assert isinstance(fact, ObservationFact)
    assert (fact.variable, fact.unit, fact.usable, fact.reason) == ("calcium", "mmol/L", True, "")
    assert fact.value == pytest.approx(2.3952)
    assert (fact.raw_value, fact.raw_unit, fact.code) == ("9.6", "mg/dl", "17861-6")
    assert fact.table_version == TABLE.version
    assert fact.status == "F"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"value": "400"}, Unusable.RANGE),
        ({"value": "-70"}, Unusable.RANGE),
        ({"value": "70,5"}, Unusable.NUMBER),
        ({"value": "7e1"}, Unusable.NUMBER),
        ({"value": "1.000,5"}, Unusable.NUMBER),
        ({"value": "\u0667\u0660"}, Unusable.NUMBER),
        ({"value": "about 70"}, Unusable.NUMBER),
        ({"value": "9" * 400}, Unusable.NUMBER),
        ({"value": "70", "answers": (("70", "L"),)}, Unusable.NUMBER),
        ({"unit": ""}, Unusable.NO_UNIT),
        ({"unit": "cm"}, Unusable.UNIT),
        ({"unit": "KG "}, ""),
        ({"comparator": ">"}, Unusable.COMPARATOR),
        ({"value": ">70"}, Unusable.COMPARATOR),
        ({"value": "< 70"}, Unusable.COMPARATOR),
        ({"comparator": ".."}, Unusable.COMPARATOR),
        ({"comparator": "="}, ""),
        ({"status": "P"}, Unusable.STATUS),
        ({"status": ""}, Unusable.STATUS),
        ({"status": "P", "value": "400"}, Unusable.RANGE),
        ({"status": "D"}, Unusable.VOID),
        ({"status": "D", "value": ""}, Unusable.VOID),
        ({"status": "W"}, Unusable.WRONG_PATIENT),
        ({"observed": Interval(start=when(1), end=when(31))}, Unusable.TIME),
    ],
)
def test_what_is_not_used_is_kept_with_its_reason(changes, reason):
    fact = read_observation(dataclasses.replace(raw("29463-7", "70", "kg"), **changes), TABLE)
    assert isinstance(fact, ObservationFact)
    assert (fact.usable, fact.reason) == (not reason, reason)


def test_no_unit_is_no_value():
    fact = read("29463-7", "70")
    assert (fact.usable, fact.value, fact.reason) == (False, None, Unusable.NO_UNIT)


def test_d_and_w_are_void_and_w_says_wrong_patient():
    assert {read("29463-7", "70", "kg", status=s).reason for s in "DWX"} == VOID_REASONS
    assert read("29463-7", "70", "kg", status="W").value is None
    assert read("38267-1", "-3.1", "{T-score}", status="W").reason == Unusable.WRONG_PATIENT


@pytest.mark.parametrize(("status", "reason"), [("X", Unusable.WITHDRAWN), ("C", Unusable.VOID)])
def test_x_and_a_correction_to_nothing_take_the_value_back(status, reason):
    for code, unit in (("29463-7", "kg"), ("38267-1", "{T-score}")):
        fact = read(code, "", unit, status=status)
        assert (fact.usable, fact.reason) == (False, reason)
    assert read("29463-7", "70", "kg", status="C").usable


def test_status_codes_of_table_0085():
    assert [status_of(c) for c in "FCVAB"] == [Status.USABLE] * 5
    assert [status_of(c) for c in "DW"] == [Status.VOID] * 2
    assert [status_of(c) for c in ("P", "S", "R", "I", "O", "N", "", "?")] == [Status.KEPT] * 8
    assert (status_of("U"), status_of("X")) == (Status.FINAL_NOW, Status.NONE)


def test_a_preliminary_value_is_kept_and_u_makes_it_final():
    kept = read("29463-7", "70", "kg", status="P")
    assert (kept.value, kept.usable, kept.reason) == (70.0, False, Unusable.STATUS)
    final = read("29463-7", "", "", status="U")
    assert isinstance(final, StatusFact)
    assert final.key == kept.key


def test_remarks_where_there_is_nothing_to_keep():
    assert read("1234-5", "1", "kg") is Remark.CODE_UNKNOWN
    assert read("29463-7", "", "kg") is Remark.NO_VALUE
    assert read("29463-7", "70", "kg", observed=None) is Remark.NO_TIME
    assert read("38269-7", "see report") is Remark.DXA_DOCUMENT
    assert read("72166-2", "", answers=(("", ""),)) is Remark.CODE_UNCONFIRMED


def test_decimal_comma_only_where_the_feed_declares_it():
    assert read("29463-7", "70,5", "kg", decimal_comma=True).value == 70.5
    assert read("29463-7", "70,5", "kg").reason == Unusable.NUMBER
    assert read("29463-7", "70.5", "kg", decimal_comma=True).reason == Unusable.NUMBER, "70.500 would be thousands"


@given(st.text(max_size=12), st.booleans())
def test_a_number_is_a_finite_number_or_nothing(text, comma):
    found = number(text, decimal_comma=comma)
    assert found is None or (math.isfinite(found) and not set(text) & set("eEnNaA_"))


@given(st.decimals(min_value=-10_000, max_value=10_000, places=3))
def test_both_decimal_marks_read_the_same_number(value):
    text = f"{value:f}"
    assert number(text) == float(value) == number(text.replace(".", ","), decimal_comma=True)


def test_comparators():
    assert split_comparator("<=5") == ("<=", "5")
    assert split_comparator(" > 5.2") == (">", "5.2")
    assert split_comparator("-5") == ("", "-5")


def test_the_code_that_is_known_decides_and_two_that_differ_decide_nothing():
    both = (("29463-7", "LN"), ("WT", "L"))
    assert read("", "70", "kg", codes=both).code == "29463-7"
    assert read("", "70", "kg", codes=(("29463-7", "LN"), ("8302-2", "LN"))) is Remark.CODE_CONFLICT
    assert read("", "2", "mmol/L", codes=(("1994-3", "LN"), ("17861-6", "LN"))) is Remark.CODE_UNUSED, "ionised"
    assert read("", "70", "kg", codes=(("3141-9", "LN"), ("29463-7", "LN"))).usable, "one of the two is confirmed"


def test_coded_answers_of_smoking(tmp_path):
    site = tmp_path / "codes.toml"
    site.write_text('[[codes]]\ncode = "72166-2"\nconfirmed = true\n', encoding="utf-8")
    table = code_table(site)
    levels = {"LA18978-9": 0.0, "LA15920-4": 1.0, "LA18977-1": 2.0, "LA18976-3": 3.0}
    for code, level in levels.items():
        fact = read("72166-2", code, table=table, answers=((code, "LN"),))
        assert (fact.variable, fact.value, fact.raw_value) == ("smoking", level, code)
        assert read("72166-2", code, table=table).value == level, "a CSV row has no coded field"
    assert read("72166-2", "LA18980-5", table=table).reason == Unusable.UNKNOWN
    assert read("72166-2", "20 a day", table=table).reason == Unusable.ANSWER


@pytest.mark.parametrize(
    ("code", "system", "variable"),
    [
        ("Z87.310", "I10C", "fragility_fracture"),
        ("Z87310", "ICD-10-CM", "fragility_fracture"),
        ("M80.08XA", "I10C", "fragility_fracture"),
        ("m8008xa", "I10C", "fragility_fracture"),
        ("Z79.52", "I10C", "glucocorticoid_systemic"),
        ("Z79.51", "I10C", "glucocorticoid_inhaled"),
        ("Z78.0", "I10C", "menopause"),
    ],
)
def test_a_diagnosis_states_its_level_by_itself(code, system, variable):
    fact = read("", "", codes=((code, system),))
    assert (fact.variable, fact.value, fact.usable) == (variable, 1.0, True)
    assert fact.raw_value == code, "the site of the fracture stands in it"
    assert fact.code == "", "no LOINC code"


@pytest.mark.parametrize(("code", "remark"), [("M81.0", Remark.CODE_UNKNOWN), ("Z87.81", Remark.CODE_UNUSED)])
def test_other_diagnoses_state_nothing(code, remark):
    assert read("", "", codes=((code, "I10C"),)) is remark
    assert read("", "", codes=((code.replace("Z87.81", "Z87.310"), "I9C"),)) is Remark.CODE_UNKNOWN


def test_ever_before_is_content_with_a_year():
    year = Interval(start=dt.datetime(2019, 1, 1, tzinfo=dt.UTC), end=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    assert read("", "", codes=(("Z87.310", "I10C"),), observed=year).usable
    assert read("", "", codes=(("Z79.52", "I10C"),), observed=year).reason == Unusable.TIME, "two years' look-back"


def test_dxa_leaves_as_truth_only_and_negative_numbers_are_its_own():
    fact = read("38267-1", "-3.1", "{T-score}")
    assert isinstance(fact, DxaFact)
    assert (fact.region, fact.t_score, fact.z_score, fact.bmd, fact.usable) == ("lumbar", -3.1, None, None, True)
    assert read("38267-1", "-31", "{T-score}").reason == Unusable.RANGE
    assert read("38267-1", "-3.1").reason == Unusable.NO_UNIT
    assert read("38267-1", "-3.1", "{T-score}", status="P").reason == Unusable.STATUS
    hip = read("38264-8", "-2.6", "{T-score}")
    assert (hip.region, hip.usable, hip.reason) == ("hip", False, Unusable.REGION)
    assert read("85394-5", "-1.2", "Z-score").z_score == -1.2
    assert read("24966-4", "0.81", "g/cm2").bmd == 0.81
    assert read("24966-4", "810", "g/cm2").reason == Unusable.RANGE


def test_a_letter_in_place_of_a_value_is_cut():
    fact = read("29463-7", "Dear colleague, " * 100, "kg")
    assert len(fact.raw_value) == MAX_RAW


def test_variables_without_a_range_and_stored_only_ones():
    assert read("2085-9", "50", "mg/dL").reason == Unusable.NO_RANGE, "HDL: open in clinical-data.md section 8"
    assert read("3094-0", "14", "mg/dL").usable, "stored only: needs none"


@pytest.mark.parametrize(
    ("segment", "value", "reason"),
    [
        ("OBX|1|NM|29463-7^W^LN||70.5|kg|||||F", 70.5, ""),
        ("OBX|1|ST|29463-7^W^LN||70.5|kg|||||F", 70.5, ""),
        ("OBX|1|TX|29463-7^W^LN||70.5|kg|||||F", 70.5, ""),
        ("OBX|1|SN|29463-7^W^LN||^70.5|kg|||||F", 70.5, ""),
        ("OBX|1|SN|29463-7^W^LN||=^70.5|kg|||||F", 70.5, ""),
        ("OBX|1|SN|29463-7^W^LN||<^70.5|kg|||||F", None, Unusable.COMPARATOR),
        ("OBX|1|SN|29463-7^W^LN||^60^-^70|kg|||||F", None, Unusable.COMPARATOR),
        ("OBX|1|CWE|29463-7^W^LN||70^seventy^L|kg|||||F", None, Unusable.NUMBER),
        ('OBX|1|NM|29463-7^W^LN||""|kg|||||F', None, Unusable.VOID),
        ("OBX|1|NM|29463-7^W^LN||70.5|kg|||||W", None, Unusable.WRONG_PATIENT),
        ("OBX|1|NM|17861-6^Ca^LN||2.4|mg/dL|2.15-2.55||||F", None, Unusable.RANGE),
        ("OBX|1|NM|2777-1^P^LN||1.1|mg/dL|0.81-1.45||||F", None, Unusable.REFERENCE),
    ],
)
def test_obx_value_types_reach_the_same_rules(segment, value, reason):
    order = "OBR|1||F1^RIS|34565-2^Vital signs^LN|||20250309080000+0000|||||||||||||||20250309080000+0000|||F"
    frame = message("ORU^R01", pid(), order, segment)
    reading = read_message(parse_er7(frame), RULES, received_at=when())
    (fact,) = (f for f in reading.facts if isinstance(f, ObservationFact))
    assert (fact.value, fact.reason) == (value, reason)
