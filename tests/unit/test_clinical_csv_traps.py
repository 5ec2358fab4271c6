"""The nine traps of clinical-data.md section 9, measured with pandas' defaults; each has a test that names it."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from support.csv_drop import HEADER, Drop, lines, manifest, row

from node.store import clinical_persons as persons
from node.store.clinical_schema import observation, person_identifier


@pytest.fixture
def drop(tmp_path, sqlite_ledger):
    return Drop(tmp_path / "drop", sqlite_ledger)


def outcome(drop, content, **more):
    (found,) = drop(content, **more)
    return found.where, found.rule


def test_trap_1_pandas_defaults_take_007123_for_a_number_and_na_for_missing(drop):
    assert pd.read_csv(io.StringIO("id,name\n007123,NA\n"))["id"].tolist() == [7123], "the trap is still there"
    drop(lines(row(patient_id="007123", family_name="NA", given_name="None")))
    assert drop.person("007123").value == "007123"
    with drop.ledger.read() as c:
        stated, _ = persons.demographics(c, 1)
    assert (stated.name.alphabetic.family, stated.name.alphabetic.given) == ("NA", "None")


def test_trap_2_a_first_row_longer_than_the_header_shifts_every_column(drop):
    assert pd.read_csv(io.StringIO("a,b\n1,2,3\n4,5,6\n"))["a"].tolist() == [2, 5], "the trap is still there"
    assert outcome(drop, lines(row() + ",extra", row(2) + ",extra")) == ("rejected", "FIELD_COUNT")
    assert outcome(drop, lines(row(), row(2) + ",extra")) == ("rejected", "FIELD_COUNT")
    assert outcome(drop, lines(row(), "r9,007124,HOSP")) == ("rejected", "FIELD_COUNT")
    assert drop.rows() == []
    assert drop.rules("a-2") == ["FIELD_COUNT", "FIELD_COUNT"]
    listed = (drop.folder / "rejected" / "a-2.errors.csv").read_text().splitlines()
    assert listed[2] == "3,2,,,FIELD_COUNT", "which row it was"


def test_trap_3_a_sep_line_becomes_the_header(drop):
    assert outcome(drop, "sep=;\n" + lines(row())) == ("held", "HEADER")
    assert outcome(drop, lines(row()).replace(",", ";")) == ("held", "HEADER")


def test_trap_4_duplicate_headers_nul_and_an_open_quote(drop):
    assert outcome(drop, lines(row(), header=HEADER.replace("unit", "value"))) == ("held", "HEADER")
    assert outcome(drop, lines(row()).encode().replace(b"kg", b"k\0")) == ("rejected", "NUL")
    assert outcome(drop, lines(row(), row(2, unit='"kg'), row(3))) == ("rejected", "QUOTING")
    assert outcome(drop, lines(row(), row(2, unit='"k"g'), row(3))) == ("rejected", "QUOTING")
    assert drop.rows() == []


@pytest.mark.parametrize("patient_id", ["1.23457E+11", "1.2E5", "7123.0", '"1,23457E+11"', '"7123,0"'])
def test_trap_5_a_spreadsheet_wrote_the_identifier_as_a_number(drop, patient_id):
    drop(lines(row(patient_id=patient_id)), max_bad_rows_percent=100)
    assert drop.rules(where="done") == ["SPREADSHEET_NUMBER"]
    assert drop.rows(person_identifier) == []


def test_trap_6_thousands_separators_are_forbidden_and_the_decimal_mark_is_declared(drop):
    comma = {"delimiter": ";", "decimal": ","}
    german = lines(row(1, value="61,5"), row(2, value="1.234"), row(3, value="1.234,5")).replace(",", ";")
    german = german.replace("61;5", "61,5").replace("1.234;5", "1.234,5")
    drop(german, manifest=manifest(german, **comma), max_bad_rows_percent=100)
    assert drop.rules(where="done") == ["NUMBER", "NUMBER"]
    assert drop.standing() == [("CSV||=r1", 61.5)], "1.234 is neither 1.234 nor 1234 where the mark is a comma"
    drop(lines(row(4, value='"61,5"'), row(5, value='"1,234.5"')), name="b.csv", max_bad_rows_percent=100)
    assert drop.rules("b", where="done") == ["NUMBER", "NUMBER"]


def test_trap_7_a_byte_order_mark_is_no_part_of_the_first_header(drop):
    assert outcome(drop, b"\xef\xbb\xbf" + lines(row(1)).encode()) == ("done", "")
    utf16 = lines(row(2)).encode("utf-16")
    assert outcome(drop, utf16, manifest=manifest(utf16, encoding="utf-16")) == ("done", "")
    assert len(drop.rows()) == 2


def test_trap_8_the_encoding_is_declared_and_strict_never_guessed(drop):
    urdu = lines(row(family_name="خان", given_name="عمران")).encode("windows-1256")
    assert outcome(drop, urdu) == ("rejected", "ENCODING")
    assert outcome(drop, urdu, manifest=manifest(urdu, encoding="windows-1256")) == ("done", "")
    with drop.ledger.read() as c:
        stated, _ = persons.demographics(c, 1)
    assert stated.name.alphabetic.family == "خان"
    assert outcome(drop, urdu, manifest=manifest(urdu, encoding="guess")) == ("rejected", "MANIFEST")


def test_trap_9_two_patients_without_an_identifier_never_join(drop):
    left = pd.DataFrame({"id": [None, None], "value": [60.0, 90.0]})
    assert len(left.merge(left, on="id")) == 4, "the trap is still there"
    drop(lines(row(1, patient_id=""), row(2, patient_id="", value="92")), max_bad_rows_percent=100)
    assert drop.rules(where="done") == ["NO_ID", "NO_ID"]
    assert drop.rows(observation) == drop.rows(person_identifier) == []
