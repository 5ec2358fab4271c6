import dataclasses
import datetime as dt

import pytest
from support.hl7 import HOSP, when

from config.codes import CodeTableError, loinc_check_digit, parse, shipped, valid_loinc
from model.domain import Identifier
from node.facts import DxaFact, ObservationFact
from node.feeds.hl7_time import Interval
from node.feeds.observations import RawObservation, Remark, Status, read_observation, status_of

TABLE = shipped()


def raw(code, value, unit, **changes):
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


@pytest.mark.parametrize(
    ("code", "value", "unit", "expected"),
    [
        ("29463-7", "154", "[lb_av]", 69.85322498),
        ("29463-7", "70500", "g", 70.5),
        ("29463-7", "70.5", "KG", 70.5),
        ("8302-2", "64", "[in_i]", 162.56),
        ("8302-2", "1.62", "m", 162.0),
        ("6768-6", "1.2", "\u00b5kat/L", 72.0),
        ("6768-6", "80", "IU/L", 80.0),
        ("17861-6", "9.6", "mg/dl", 2.3952),
        ("2777-1", "3.5", "mg/dL", 1.13015),
        ("2160-0", "0.9", "mg/dL", 79.56),
        ("1751-7", "4.1", "g/dL", 41.0),
        ("718-7", "13.2", "g/dL", 132.0),
        ("62292-8", "24", "ng/mL", 59.904),
        ("68438-1", "60", "nmol/L", 60.0),
        ("3094-0", "14", "mg/dL", 4.998),
        ("98979-8", "77", "mL/min/1.73m2", 77.0),
    ],
)
def test_conversions_by_hand(code, value, unit, expected):
    fact = read_observation(raw(code, value, unit), TABLE)
    assert isinstance(fact, ObservationFact)
    assert fact.value == pytest.approx(expected, rel=1e-9)
    assert fact.unit == TABLE.variables[fact.variable].unit
    assert (fact.raw_value, fact.raw_unit) == (value, unit)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"value": "400"}, "RANGE"),
        ({"value": "-70"}, "RANGE"),
        ({"value": "70,5"}, "NUMBER"),
        ({"value": "7e1"}, "NUMBER"),
        ({"value": "\u0667\u0660"}, "NUMBER"),
        ({"unit": ""}, "UNIT"),
        ({"unit": "cm"}, "UNIT"),
        ({"comparator": ">"}, "COMPARATOR"),
        ({"status": "P"}, "STATUS"),
        ({"status": ""}, "STATUS"),
        ({"status": "W"}, "VOID"),
        ({"observed": Interval(start=when(1), end=when(31))}, "TIME"),
    ],
)
def test_what_is_not_used_is_kept_with_its_reason(changes, reason):
    sent = dataclasses.replace(raw("29463-7", "70", "kg"), **changes)
    fact = read_observation(sent, TABLE)
    assert isinstance(fact, ObservationFact)
    assert (fact.usable, fact.value, fact.reason) == (False, None, reason)


def test_a_unit_of_another_property_does_not_fit():
    assert read_observation(raw("17861-6", "2.4", "mmol/L"), TABLE).reason == "UNIT"
    assert read_observation(raw("62292-8", "60", "nmol/L"), TABLE).reason == "UNIT"


def test_remarks():
    assert read_observation(raw("1234-5", "1", "kg"), TABLE) is Remark.CODE_UNKNOWN
    assert read_observation(raw("39156-5", "24", "kg/m2"), TABLE) is Remark.CODE_UNUSED
    assert read_observation(raw("29463-7", "", "kg"), TABLE) is Remark.NO_VALUE
    assert read_observation(raw("29463-7", "70", "kg", status="U"), TABLE) is Remark.STATUS_ONLY
    assert read_observation(raw("29463-7", "70", "kg", observed=None), TABLE) is Remark.NO_TIME


def test_dxa_leaves_as_truth_only():
    fact = read_observation(raw("38267-1", "-3.1", "{T-score}"), TABLE)
    assert isinstance(fact, DxaFact)
    assert (fact.region, fact.t_score) == ("lumbar", -3.1)
    assert read_observation(raw("38267-1", "-31", "{T-score}"), TABLE) is Remark.DXA_UNUSABLE
    dxa = [rule for rule in TABLE.codes.values() if rule.dxa_region]
    assert len(dxa) == 10
    assert all(rule.variable is None for rule in dxa)


def test_second_triplet_serves_when_the_first_is_local():
    fact = read_observation(raw("", "70", "kg", codes=(("29463-7", "LN"), ("WT", "L"))), TABLE)
    assert fact.code == "29463-7"


def test_status_codes():
    assert [status_of(c) for c in "FCVAB"] == [Status.USABLE] * 5
    assert [status_of(c) for c in "DW"] == [Status.VOID] * 2
    assert [status_of(c) for c in ("P", "S", "R", "I", "O", "N", "X", "", "?")] == [Status.KEPT] * 9


def test_loinc_check_digits():
    assert loinc_check_digit("29463") == 7
    assert not valid_loinc("14866-1")
    assert all(valid_loinc(code) for system, code in TABLE.codes if system == "LN")


def test_the_table_refuses_a_wrong_row():
    good = {
        "version": "t",
        "variables": {"weight": {"unit": "kg", "range": [25, 300], "lookback_days": 365}},
        "unit_aliases": {},
        "codes": [{"code": "29463-7", "variable": "weight", "units": {"kg": [1, 0]}}],
    }
    parse(good)
    for codes in (
        good["codes"] * 2,
        [{"code": "29463-8", "variable": "weight", "units": {"kg": [1, 0]}}],
        [{"code": "29463-7", "variable": "weight"}],
        [{"code": "29463-7", "variable": "mass", "units": {"kg": [1, 0]}}],
    ):
        with pytest.raises(CodeTableError):
            parse({**good, "codes": codes})


def test_every_variable_has_a_code_and_a_sane_range():
    used = {rule.variable.name for rule in TABLE.codes.values() if rule.variable}
    assert used == set(TABLE.variables)
    assert all(v.low < v.high and v.lookback_days > 0 for v in TABLE.variables.values())
    assert dt.timedelta(days=TABLE.variables["height"].lookback_days) > dt.timedelta(days=1825)
