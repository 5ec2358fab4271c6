"""The clinical code table: every code and factor, what may become a feature, a site's file, and the confirmation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.hl7 import HOSP, message, pid, when
from support.node_parts import settings
from typer.testing import CliRunner

from config.clinical import Codes
from config.code_file import code_table, parse
from config.codes import (
    EVER_DAYS,
    LOINC,
    REGIONS,
    CodeTableError,
    Measure,
    Use,
    loinc_check_digit,
    valid_loinc,
)
from config.settings import load
from model import asof
from model.domain import Identifier
from node import places
from node.cli import app
from node.doctor import Mark, examine
from node.feeds import inbox as inbox_feed
from node.feeds.hl7_time import Interval
from node.feeds.observations import RawObservation, Remark, read_observation
from node.store import inbox

TABLE = code_table()
HAND_WORKED = {
    ("weight", "kg"): ("70", 70.0),
    ("weight", "g"): ("70500", 70.5),
    ("weight", "[lb_av]"): ("154", 69.85322498),
    ("height", "cm"): ("162", 162.0),
    ("height", "m"): ("1.62", 162.0),
    ("height", "[in_i]"): ("64", 162.56),
    ("alp", "U/L"): ("80", 80.0),
    ("alp", "ukat/L"): ("1.2", 72.0),
    ("calcium", "mmol/L"): ("2.4", 2.4),
    ("calcium", "mg/dL"): ("9.6", 2.3952),
    ("phosphate", "mmol/L"): ("1.1", 1.1),
    ("phosphate", "mg/dL"): ("3.5", 1.13015),
    ("vitamin_d", "nmol/L"): ("60", 60.0),
    ("vitamin_d", "ng/mL"): ("24", 59.904),
    ("vitamin_d", "ug/L"): ("24", 59.904),
    ("pth", "pg/mL"): ("45", 45.0),
    ("pth", "ng/L"): ("45", 45.0),
    ("pth", "pmol/L"): ("5", 47.15),
    ("albumin", "g/L"): ("41", 41.0),
    ("albumin", "g/dL"): ("4.1", 41.0),
    ("creatinine", "umol/L"): ("80", 80.0),
    ("creatinine", "mg/dL"): ("0.9", 79.56),
    ("egfr", "mL/min/{1.73_m2}"): ("77", 77.0),
    ("haemoglobin", "g/L"): ("132", 132.0),
    ("haemoglobin", "g/dL"): ("13.2", 132.0),
    ("haemoglobin", "mmol/L"): ("8.2", 132.102),
    ("glucose", "mmol/L"): ("5.5", 5.5),
    ("glucose", "mg/dL"): ("100", 5.55),
    ("hba1c", "%"): ("6.5", 6.5),
    ("hba1c", "mmol/mol"): ("48", 6.542),
    ("urate", "umol/L"): ("300", 300.0),
    ("urate", "mg/dL"): ("5", 297.4),
    ("cholesterol", "mmol/L"): ("5", 5.0),
    ("cholesterol", "mg/dL"): ("200", 5.172),
    ("hdl", "mmol/L"): ("1.3", 1.3),
    ("hdl", "mg/dL"): ("50", 1.293),
    ("ldl", "mmol/L"): ("3", 3.0),
    ("ldl", "mg/dL"): ("120", 3.1032),
    ("triglycerides", "mmol/L"): ("1.7", 1.7),
    ("triglycerides", "mg/dL"): ("150", 1.6935),
    ("urea_nitrogen", "mmol/L"): ("5", 5.0),
    ("urea_nitrogen", "mg/dL"): ("14", 4.998),
    ("tsh", "m[IU]/L"): ("2.5", 2.5),
    ("tsh", "u[IU]/mL"): ("2.5", 2.5),
    ("crp", "mg/L"): ("5", 5.0),
    ("crp", "mg/dL"): ("0.5", 5.0),
    ("esr", "mm/h"): ("20", 20.0),
    ("testosterone", "ng/dL"): ("30", 30.0),
    ("oestradiol", "pg/mL"): ("20", 20.0),
    ("alt", "U/L"): ("25", 25.0),
    ("ast", "U/L"): ("25", 25.0),
}
"""By variable and unit: raw value and canonical value, worked out by hand from clinical-data.md section 8."""
UNCONFIRMED = {
    *("3141-9", "3142-7", "2000-8", "14879-1", "14635-7", "54347-0", "61151-7", "14682-9", "59260-0", "14749-6"),
    *("1558-6", "14771-0", "59261-8", "14933-6", "14647-2", "14646-4", "22748-8", "14927-8", "72166-2"),
    *("H02AB*", "Z82.62", "M05.*", "M06.*"),
}
"""Marked G or m only in clinical-data.md section 8."""


def value_of(table, code, value="", unit="", *, system=LOINC, **more):
    raw = RawObservation(
        patient=Identifier(value="1", authority=HOSP),
        key="k",
        codes=((code, system),),
        value=value,
        unit=unit,
        status="F",
        observed=Interval(start=when(), end=when()),
        available_at=when(),
        source="HL7 ORU^R01 1",
        **more,
    )
    return read_observation(raw, table)


def site(tmp_path, text):
    path = tmp_path / f"codes{len(list(tmp_path.iterdir()))}.toml"
    path.write_text(text, encoding="utf-8")
    return code_table(path)


def test_codes_check_digits():
    assert loinc_check_digit("29463") == 7
    assert not valid_loinc("14866-1"), "written from memory, and wrong"
    loinc = [rule.code for rule in TABLE.rules if rule.system == LOINC]
    assert len(loinc) == len(set(loinc)) == 90
    assert all(map(valid_loinc, loinc))


def test_codes_every_factor_against_hand_worked_values(tmp_path):
    stated = {(v.name, unit) for v in TABLE.variables.values() for unit in v.units}
    assert stated == HAND_WORKED.keys(), "a factor for every unit, and every factor tested"
    for (name, unit), (raw, expected) in HAND_WORKED.items():
        variable = TABLE.variables[name]
        assert variable.units[unit].apply(float(raw)) == pytest.approx(expected, rel=1e-9), (name, unit)
        assert variable.low <= expected <= variable.high
    for rule in TABLE.rules:
        assert all(rule.units[unit] == rule.variable.units[unit] for unit in rule.units if rule.variable)
    everything = site(
        tmp_path,
        "\n".join(
            f'[[codes]]\ncode = "{rule.code}"\nsystem = "{rule.system}"\nconfirmed = true'
            for rule in TABLE.rules
            if not rule.confirmed
        )
        + "\n[variables.hdl]\nrange = [0.1, 5]\n[variables.ldl]\nrange = [0.1, 15]\n",
    )
    sent = 0
    for rule in everything.rules:
        for unit in rule.units if rule.variable else ():
            raw, expected = HAND_WORKED[rule.variable.name, unit]
            fact = value_of(everything, rule.code, raw, unit)
            assert fact.usable, (rule.code, unit, fact.reason)
            assert fact.value == pytest.approx(expected, rel=1e-9)
            sent += 1
    assert sent > 80


def test_codes_are_used_only_with_a_second_source():
    used = [rule for rule in TABLE.rules if rule.use in (Use.VARIABLE, Use.DXA)]
    assert {rule.code for rule in used if not rule.confirmed} == UNCONFIRMED
    for rule in used:
        assert rule.confirmed == bool(set("MDTFP") & set(rule.source.split()))
    assert value_of(TABLE, "2000-8", "2.4", "mmol/L") is Remark.CODE_UNCONFIRMED
    assert value_of(TABLE, "72166-2", "LA18978-9") is Remark.CODE_UNCONFIRMED


def test_codes_that_look_like_a_variable_are_traps():
    traps = {rule.code for rule in TABLE.rules if rule.use is Use.TRAP}
    assert traps == {"39156-5", "17838-4", "29265-6", "1994-3", "14905-4", "49498-9", "Z87.81"}
    assert value_of(TABLE, "39156-5", "24", "kg/m2") is Remark.CODE_UNUSED, "BMI is recomputed, never trusted"
    assert value_of(TABLE, "Z8781", system="I10C") is Remark.CODE_UNUSED, "traumatic, not fragility"


def test_no_dxa_frax_or_drug_column_in_features():
    assert TABLE.lookback_days.keys() == {
        *("weight", "height", "alp", "calcium", "phosphate", "vitamin_d", "pth", "albumin", "creatinine", "egfr"),
        *("haemoglobin", "glucose", "urate", "cholesterol", "hdl", "ldl", "triglycerides", "smoking"),
        *("glucocorticoid_systemic", "glucocorticoid_inhaled", "menopause", "oestrogen", "parental_hip_fracture"),
        *("rheumatoid_arthritis", "alcohol"),
    }, "an allow-list: nobody's addition to the table becomes a feature by being forgotten"
    for rule in TABLE.rules:
        if rule.use in (Use.DXA, Use.SCORE, Use.DRUG, Use.TRAP):
            assert rule.variable is None
    assert not TABLE.variables["fragility_fracture"].feature, "its codes say osteoporosis"
    assert not TABLE.variables["urea_nitrogen"].feature
    for code in ("90265-0", "90266-8", "98139-9", "98140-7", "98136-5", "98133-2", "98146-4"):
        assert value_of(TABLE, code, "12", "%") is Remark.SCORE
    assert value_of(TABLE, "M05BA04", system="WC") is Remark.DRUG
    narrowed = asof.lookbacks(TABLE.lookback_days, {"fragility_fracture": 100.0, "t_score": 9.0, "alp": 30.0}, {})
    assert narrowed.keys() == TABLE.lookback_days.keys()
    assert narrowed["alp"] == 30.0


def test_dxa_codes_are_truth_with_t_z_and_bmd():
    by_measure = {m: [r for r in TABLE.rules if r.measure is m] for m in Measure}
    assert {m: len(rules) for m, rules in by_measure.items()} == {
        Measure.T_SCORE: 10,
        Measure.Z_SCORE: 3,
        Measure.BMD: 3,
        Measure.DOCUMENT: 2,
    }
    assert [r.code for r in TABLE.rules if r.region in REGIONS] == ["38267-1"], "femur, hip and neck are three things"


def test_look_backs_and_ever_before():
    assert EVER_DAYS == asof.EVER_DAYS
    assert {n for n, v in TABLE.variables.items() if v.ever} == {
        *("fragility_fracture", "menopause", "oestrogen", "parental_hip_fracture", "rheumatoid_arthritis", "alcohol")
    }
    assert TABLE.variables["height"].lookback_days == 1826
    assert TABLE.variables["hba1c"].lookback_days is None, "the site's choice"
    assert "hba1c" not in TABLE.lookback_days


def test_units_are_exact_and_aliases_lead_to_a_unit_of_the_table():
    known = {unit for rule in TABLE.rules for unit in rule.units} | {
        unit for v in TABLE.variables.values() for unit in v.units
    }
    assert set(TABLE.unit_aliases.values()) <= known
    assert not set(TABLE.unit_aliases) & known, "an alias must not change a unit of the table"
    assert TABLE.unit("mg/dl") == "mg/dL"
    assert TABLE.unit("MG/DL") == "MG/DL", "case counts in UCUM"
    assert {TABLE.unit("\u00b5mol/L"), TABLE.unit("\u03bcmol/L")} == {"umol/L"}


def test_ft_is_no_unit_of_height():
    assert value_of(TABLE, "8302-2", "5.4", "ft").reason == "UNIT", "in UCUM a femtotonne"


@pytest.mark.parametrize(
    "change",
    [
        {"codes": [{"code": "29463-7", "variable": "weight", "units": ["kg"], "source": "F"}] * 2},
        {"codes": [{"code": "29463-8", "variable": "weight", "units": ["kg"], "source": "F"}]},
        {"codes": [{"code": "29463-7", "variable": "weight", "source": "F"}]},
        {"codes": [{"code": "29463-7", "variable": "weight", "units": ["st"], "source": "F"}]},
        {"codes": [{"code": "29463-7", "variable": "mass", "units": ["kg"], "source": "F"}]},
        {"codes": [{"code": "29463-7", "variable": "weight", "units": ["kg"]}]},
        {"codes": [{"code": "29463-7", "variable": "weight", "units": ["kg"], "source": "F", "factor": 2}]},
        {"codes": [{"code": "29463-7", "variable": "weight", "dxa": "bmd", "units": ["kg"], "source": "F"}]},
        {"codes": [{"code": "29463-7", "dxa": "t", "units": ["kg"], "source": "F"}]},
        {"codes": [{"code": "1", "system": "L", "variable": "smoking", "level": "often", "source": "site"}]},
        {"codes": [{"code": "29463-7", "variable": "weight", "units": ["kg"], "fixed_unit": "g", "source": "F"}]},
        {"codes": [{"variable": "weight", "units": ["kg"], "source": "F"}]},
        {"variables": {"weight": {"unit": "kg", "units": {"g": [0.001, 0]}}}},
        {"variables": {"weight": {"unit": "kg", "units": {"kg": [1, 0], "g": [-1, 0]}}}},
        {"variables": {"weight": {"unit": "kg", "units": {"kg": [1, 0]}, "range": [-5, 300]}}},
        {"variables": {"weight": {"unit": "kg", "units": {"kg": [1, 0]}, "limits": [5, 300]}}},
        {"dxa_regions": [{"code": "38263-0", "region": "femur"}]},
        {"dxa_regions": [{"region": "total_hip"}]},
    ],
)
def test_a_wrong_row_refuses_the_whole_table(change):
    good = {
        "version": "t",
        "notice": "",
        "variables": {
            "weight": {"unit": "kg", "units": {"kg": [1, 0], "g": [0.001, 0]}, "range": [25, 300]},
            "smoking": {"unit": "{smoking}", "levels": {"never": 0}},
        },
        "unit_aliases": {},
        "systems": {},
        "codes": [{"code": "29463-7", "variable": "weight", "units": ["kg"], "source": "F"}],
    }
    parse(good)
    with pytest.raises(CodeTableError):
        parse({**good, **change})


SITE = """
[systems]
"99LAB" = "L"
"" = "L"
[unit_aliases]
"Kilo" = "kg"
[variables.hdl]
range = [0.2, 4.0]
[variables.egfr]
comparators = [">"]
[variables.pth.units]
"ng/dL" = [10, 0]
[[codes]]
code = "2000-8"
confirmed = true
[[codes]]
code = "29463-7"
fixed_unit = "kg"
[[codes]]
code = "GEW"
system = "L"
variable = "weight"
units = ["kg"]
fixed_unit = "kg"
[[codes]]
code = "72166-2"
confirmed = true
[[codes]]
code = "49033-4"
answers = { POST = "post", PRE = "pre" }
[[dxa_regions]]
code = "38263-0"
sub_id = "NECK"
region = "femoral_neck"
[[dxa_regions]]
text = "DXA total hip"
region = "total_hip"
"""


def test_the_example_of_a_sites_file_is_valid():
    table = code_table(Path(__file__).parents[2] / "deploy" / "codes.example.toml")
    assert table.version != TABLE.version
    assert value_of(table, "PTH-MOL", "5", "pmol/L", system="99LAB").value == pytest.approx(47.15)


def test_a_sites_file_extends_the_table(tmp_path):
    table = site(tmp_path, SITE)
    assert value_of(table, "2000-8", "2.4", "mmol/L").value == 2.4
    assert value_of(table, "29463-7", "70", "").value == 70.0, "the site fixed the unit"
    assert value_of(table, "29463-7", "154", "lb").value == pytest.approx(69.853, abs=1e-3), "what is stated wins"
    for system in ("L", "99LAB", ""):
        fact = value_of(table, "GEW", "70", "Kilo", system=system)
        assert (fact.value, fact.code) == (70.0, ""), "no LOINC code: none is put into the report"
    assert value_of(table, "2085-9", "50", "mg/dL").value == pytest.approx(1.293)
    assert value_of(table, "72166-2", answers=(("LA15920-4", "LN"),)).value == 1.0
    assert value_of(table, "49033-4", "POST").value == 1.0
    assert value_of(table, "98979-8", "90", "mL/min/1.73m2", comparator=">").value == 90.0
    assert value_of(table, "98979-8", "90", "mL/min/1.73m2", comparator="<").reason == "COMPARATOR"
    neck = value_of(table, "38263-0", "-2.7", "{T-score}", sub_id="NECK")
    assert (neck.region, neck.usable, neck.t_score) == ("femoral_neck", True, -2.7)
    hip = value_of(table, "38264-8", "-1.9", "{T-score}", text="DXA Total Hip")
    assert (hip.region, hip.usable) == ("total_hip", True)
    assert value_of(table, "38263-0", "-2.7", "{T-score}", sub_id="SHAFT").reason == "REGION"
    assert value_of(TABLE, "GEW", "70", "kg", system="L") is Remark.CODE_UNKNOWN, "the shipped table is untouched"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[codes]\n", "cannot be read"),
        ("[code]\n", "unknown table 'code'"),
        ('[[codes]]\ncode = "123"\nvariable = "weight"\nunits = ["kg"]\n', "check digit"),
        ('[[codes]]\ncode = "X"\nsystem = "L"\nvariable = "weight"\nunits = ["stone"]\n', "no factor"),
        ('[[codes]]\ncode = "X"\nsystem = "L"\n', "exactly one of"),
        ('[[codes]]\ncode = "2000-8"\n[[codes]]\ncode = "2000-8"\n', "occurs twice"),
        ('codes = "2000-8"\n', "no code"),
        ('[variables]\nweight = "kg"\n', "code table"),
        ("[variables.fragility_fracture]\nfeature = true\n", "cannot make it a model input"),
    ],
)
def test_a_sites_file_that_breaks_a_rule_is_refused_with_its_name(tmp_path, text, says):
    with pytest.raises(CodeTableError, match=says) as refused:
        site(tmp_path, text)
    assert "codes0.toml" in str(refused.value)
    with pytest.raises(CodeTableError, match=r"nowhere\.toml"):
        code_table(tmp_path / "nowhere.toml")


def test_a_confirmation_holds_for_the_version_it_was_given_for(tmp_path):
    other = site(tmp_path, '[unit_aliases]\n"Kilo" = "kg"\n')
    same = site(tmp_path, "# only a comment\n")
    assert same.version == TABLE.version
    assert other.version != TABLE.version
    signed = Codes(confirmed_by="A. Person, biochemist", confirmed_version=TABLE.version)
    assert signed.confirmed(TABLE.version)
    assert not signed.confirmed(other.version), "a changed table asks again"
    assert not Codes().confirmed(TABLE.version)
    assert not Codes(confirmed_version=TABLE.version).confirmed(TABLE.version), "somebody must stand for it"
    assert not Codes(confirmed_by="A. Person").confirmed(TABLE.version)


def test_osteon_codes_prints_the_whole_table_for_signing(tmp_path):
    shown = CliRunner().invoke(app, ["codes"]).output
    assert f"version {TABLE.version}" in shown
    assert f'confirmed_version = "{TABLE.version}"' in shown
    assert "LOINC is copyright" in shown
    for rule in TABLE.rules:
        assert rule.code in shown
    for variable in TABLE.variables:
        assert variable in shown
    row = next(line for line in shown.splitlines() if "2000-8" in line)
    assert "NOT CONFIRMED" in row
    file = tmp_path / "site.toml"
    file.write_text(SITE, encoding="utf-8")
    facts = json.loads(CliRunner().invoke(app, ["codes", "--json", "--site-file", str(file)]).output)
    assert facts["version"] == code_table(file).version
    assert facts["confirmed"] is False
    assert len(facts["codes"]) == len(code_table(file).rules)
    by_code = {code["code"]: code for code in facts["codes"]}
    assert by_code["17861-6"]["units"] == {"mg/dL": [0.2495, 0.0]}
    assert by_code["GEW"]["fixed_unit"] == "kg"
    assert {v["name"]: v["range"] for v in facts["variables"]}["hdl"] == [0.2, 4.0]


def doctor_on_codes(**codes):
    config = settings(clinical={"codes": codes}, storage={"data_dir": "/nonexistent-osteon"})
    return next(f for f in examine(config) if "code table" in f.what)


def test_doctor_warns_until_the_table_is_confirmed(tmp_path):
    assert doctor_on_codes().mark is Mark.WARN
    assert "osteon codes" in doctor_on_codes().remedy
    assert doctor_on_codes(confirmed_by="x", confirmed_version="2020-01+0").mark is Mark.WARN
    assert doctor_on_codes(confirmed_by="x", confirmed_version=TABLE.version).mark is Mark.OK
    assert doctor_on_codes(file=tmp_path / "nowhere.toml").mark is Mark.FAIL


def test_osteon_codes_seen_lists_what_the_feeds_send_without_values_or_names(tmp_path):
    config = tmp_path / "site.toml"
    config.write_text(f'[storage]\ndata_dir = "{tmp_path}/node"\n', encoding="utf-8")
    assert "no value has come" in CliRunner().invoke(app, ["codes", "--seen", "--config", str(config)]).output
    frame = message(
        "ORU^R01",
        pid(),
        "OBR|1||F1|LAB",
        "OBX|1|NM|17861-6^Calcium^LN||9.6|mg/dL|||||F",
        "OBX|2|NM|17861-6^Calcium^LN||2.4|mmol/L|||||F",
        "OBX|3|NM|2000-8^Calcium^LN^CA^Calcium^99LAB||2.4|mmol/L|||||F",
        "OBX|4|NM|KAPPA^Kappa^99LAB||17.3|mg/L|||||F",
        "OBX|5|TX|Mrs MUELLER said^x^99LAB||text||||||F",
    )
    loaded = load(config)
    box = places.open_settings_inbox(loaded)
    accepted = inbox_feed.accept(frame, at=when())
    meta = {name: getattr(accepted.meta, name) for name in type(accepted.meta).__dataclass_fields__}
    with box.begin() as c:
        inbox.store(c, [inbox.NewFrame(**meta, peer="127.0.0.1", body=frame, ack_code="AA")], when())
    box.close()
    output = CliRunner().invoke(app, ["codes", "--seen", "--json", "--config", str(config)]).output
    rows = {(row["code"], row["unit"]): row for row in json.loads(output)}
    assert rows["17861-6", "mg/dL"]["unit_fits"]
    assert rows["17861-6", "mg/dL"]["means"] == "calcium"
    assert not rows["17861-6", "mmol/L"]["unit_fits"]
    assert rows["2000-8", "mmol/L"]["means"] == "calcium, NOT CONFIRMED"
    assert (rows["KAPPA", "mg/L"]["means"], rows["KAPPA", "mg/L"]["system"]) == ("unknown", "99LAB")
    assert ("(text)", "") in rows
    assert not {"MUELLER", "17.3", "9.6"} & set(output.replace('"', " ").split())
