"""The table of `osteon evaluate --site`: what it may say, and that nothing in it is guessed."""

from __future__ import annotations

import pytest
from support.model_parts import FUSION
from support.site_tables import scored, write

from config.settings import Model, Settings, SettingsError
from model.domain import Mode
from model.site_verdict import Floors, Verdict
from node.archive_screening import _rules
from node.site_table import Measured, judge_table

BUNDLE = "site-2026"
HEAD = "probability,sex,label,t_lowest,t_high\n"


def judge(path):
    return judge_table(path, Measured(bundle_id=BUNDLE, fusion=FUSION, prevalence=0.24), Floors())


def refused(tmp_path, text, *, encoding="utf-8"):
    path = tmp_path / "scored.csv"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(SettingsError) as error:
        judge(path)
    said = str(error.value)
    assert "\n" not in said
    return said.removeprefix(f"{path}: ")


def test_thresholds_are_the_bundles_by_mode(tmp_path):
    own = scored()
    by_mode = judge(write(tmp_path / "a.csv", own)).finding
    assert by_mode.verdict is Verdict.ACCEPTED
    stated = [row | {"t_high": "0.320000000000"} for row in own]
    assert judge(write(tmp_path / "b.csv", stated)).finding == by_mode
    image = judge(write(tmp_path / "c.csv", [row | {"mode": "IMAGE_ONLY"} for row in own])).finding
    assert image.groups[0].table.tp < by_mode.groups[0].table.tp


@pytest.mark.parametrize("text", ["t_high,mode\n0.9,F,1,0.12,IMAGE_ONLY\n", "t_high,mode\n0.9,F,1,0.32,IMAGE_ONLY\n"])
def test_a_threshold_that_is_not_the_bundles_is_refused(tmp_path, text):
    said = refused(tmp_path, f"probability,sex,label,{text}")
    assert said.startswith("line 2, column t_high: is not the bundle's, which is 0.36 here")


def test_without_a_mode_the_threshold_is_that_of_either(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("probability,sex,label,t_high\n0.34,F,1,0.32\n0.34,F,1,0.36\n")
    assert judge(path).finding.groups[0].table.tp == 1
    said = refused(tmp_path, path.read_text().replace("0.36", "0.35"))
    assert said.startswith("line 3, column t_high: is not the bundle's, which is 0.32 or 0.36 here")


def test_at_the_prevalence_the_head_names_thresholds_are_shifted_with_the_probabilities(tmp_path):
    head = _rules(Settings(model=Model(site_prevalence=0.05)), None)
    own = Measured(bundle_id=BUNDLE, fusion=FUSION, prevalence=0.24).thresholds(0.05)[Mode.IMAGE_ONLY]
    row = "probability,sex,label,threshold_high,mode\n{},F,1,{},IMAGE_ONLY\n"
    text = f"# Osteon 1.0, model {BUNDLE} (trained on films)\n# {head}\n"
    path = tmp_path / "a.csv"
    path.write_text(text + row.format(own, own))
    judged = judge(path)
    assert (judged.prevalence, judged.finding.groups[0].table.tp) == (0.05, 1)
    assert "line 4, column threshold_high: is not the bundle's" in refused(tmp_path, text + row.format(own, 0.36))
    assert "keep the head lines" in refused(tmp_path, row.format(own, own))
    assert refused(tmp_path, text.replace("0.05", "5") + row.format(own, own)).startswith(
        "line 2, column model.site_prevalence: is no number from 0.001 to 0.9"
    )


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("probability", "1.2"),
        ("probability", "nan"),
        ("probability", "0,31"),
        ("t_lowest", "nan"),
        ("t_lowest", ""),
        ("t_lowest", "-99"),
        ("t_lowest", "999"),
        ("sex", "?"),
        ("sex", "Mujer"),
        ("mode", "X"),
        ("t_high", "nan"),
        ("t_high", "32"),
        ("t_high", ""),
        ("label", "yes"),
        ("label", "0.5"),
        ("patient", ""),
    ],
)
def test_a_value_that_cannot_be_meant_is_named_by_line_and_column_and_not_repeated(tmp_path, column, value):
    own = scored(50)
    if column in ("t_high", "label", "patient"):
        for number, row in enumerate(own):
            row |= {column: {"t_high": "0.32", "label": "", "patient": f"P{number}"}[column]}
    own[4][column] = value
    with pytest.raises(SettingsError, match=rf"a\.csv: line 6, column {column}: is ") as error:
        judge(write(tmp_path / "a.csv", own))
    assert not value or value not in str(error.value)


def test_a_short_line_and_a_long_one_are_refused_by_line_and_column(tmp_path):
    short = refused(tmp_path, HEAD + "0.3,F,1,-3,0.32\n0.4,M\n")
    assert short == "line 3, column label: the line has 2 values, the header 5"
    assert refused(tmp_path, HEAD + "0.3,F,1,-3,0.32,7\n").startswith("line 2, column t_high: the line has 6 values")


def test_another_encoding_and_an_open_quote_are_one_line_that_names_the_line(tmp_path):
    text = "probability,sex,label,t_high,name\n0.3,F,1,0.32,Muller\n0.3,F,1,0.32,M\u00fcller\n"
    assert refused(tmp_path, text, encoding="latin-1") == "line 3: is not UTF-8; save the table as CSV in UTF-8"
    assert refused(tmp_path, HEAD + '0.3,F,1,"-3,0.32\n').startswith("line 2: is no CSV")


def test_a_label_that_contradicts_the_t_score_is_refused(tmp_path):
    assert refused(tmp_path, HEAD + "0.9,F,1,-0.5,0.32\n").startswith("line 2, column label: contradicts t_lowest")
    assert refused(tmp_path, HEAD + "0.9,F,0,-2.5,0.32\n").startswith("line 2, column label: contradicts t_lowest")


def test_a_patient_counts_once_and_is_not_named(tmp_path):
    text = "patient,probability,sex,label,t_high\nMRN-7,0.9,F,1,0.32\nMRN-8,0.9,F,1,0.32\nMRN-7 ,0.2,F,1,0.32\n"
    said = refused(tmp_path, text)
    assert said.startswith("line 4, column patient: the patient of line 2 again; give one film of each patient")
    assert "MRN" not in said


def test_a_header_in_other_letters_or_with_blanks_is_the_same_header(tmp_path):
    text = "Patient, Probability,SEX,label ,t_high\nMRN-7,0.9,F,1,0.32\nMRN-7,0.2,F,1,0.32\n"
    assert refused(tmp_path, text).startswith("line 3, column patient: the patient of line 2 again")
    twice = "Patient,patient,probability,sex,label,t_high\nA,B,0.9,F,1,0.32\n"
    assert refused(tmp_path, twice).startswith("the header needs")


def test_sexes_are_an_exact_list_and_who_is_neither_counts_with_all(tmp_path):
    own = scored()
    for row in own:
        row["sex"] = "o" if row["sex"] == "M" else " f"
    groups = {group.group: group for group in judge(write(tmp_path / "a.csv", own)).finding.groups}
    assert (groups["all"].n, groups["women"].n, groups["men"].n) == (3000, 1500, 0)


@pytest.mark.parametrize(
    "header",
    [
        "probability,sex",
        "probability,sex,label",
        "probability,sex,t_high",
        "probability,sex,label,t_high,threshold_high",
        "probability,sex,sex,label,t_high",
        "probability;sex;label;t_high",
        "",
    ],
)
def test_a_table_without_the_columns_is_refused(tmp_path, header):
    assert refused(tmp_path, f"{header}\n0.5,F\n").startswith("the header needs probability, sex")


def test_a_table_without_rows_is_refused(tmp_path):
    assert refused(tmp_path, HEAD).startswith("has no rows")


def test_the_head_of_osteon_screen_is_read_and_has_to_name_the_bundle(tmp_path):
    text = "# Osteon 1.0, model {} (trained on films)\n# second\nprobability,sex,label,threshold_high\n0.9,F,2,0.32\n"
    assert refused(tmp_path, text.format(BUNDLE)).startswith("line 4, column label")
    assert refused(tmp_path, text.format(f"{BUNDLE}b")).startswith("line 1: was made with another model than site-2026")


def test_films_not_assessed_need_no_score_and_are_counted_by_their_first_code(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "status,codes,category,probability,sex,t_lowest,threshold_high\n"
        "screened,,ABOVE,0.4,F,-3,0.32\nnot-assessed,NOT_CHEST ROTATED_90,,,F,-3,\nfailed,,,,M,-1,\n"
    )
    judged = judge(path)
    assert judged.finding.groups[0].n == 1
    assert judged.left_out.codes == {"NOT_CHEST": 1, "failed": 1}
    assert (judged.left_out.films, judged.left_out.positives) == (2, 1)
    assert refused(tmp_path, path.read_text().replace("failed", "maybe")).startswith("line 4, column status")


def test_a_table_of_nothing_but_films_not_assessed_is_insufficient(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("status,codes,probability,sex,label,t_high\nfailed,X,,F,1,\n")
    assert judge(path).finding.verdict is Verdict.INSUFFICIENT_DATA


def test_a_category_that_rounding_turned_is_refused(tmp_path):
    text = "category,probability,sex,label,threshold_high\nBELOW,0.32,F,1,0.32\n"
    assert "were they rounded?" in refused(tmp_path, text)
    assert "were they rounded?" in refused(tmp_path, text.replace("BELOW", " below "))
    assert refused(tmp_path, text.replace("BELOW", "BENEATH")).startswith("line 2, column category: is none of ABOVE")
