import datetime as dt
import os
import subprocess
import sys

import pytest
import sqlalchemy as sa
from support.hl7 import HOSP, RULES, when

from config.csv_feed import CsvDrop
from model.domain import Identifier
from node.feeds.csv_drop import poll
from node.intake import LedgerSink
from node.store import clinical_persons as persons
from node.store.clinical_schema import csv_file, dxa_result, observation, person_identifier
from node.store.engine import open_ledger

COLUMNS = ["source_row_id", "patient_id", "issuer", "birth_date", "sex", "family_name", "given_name"]
COLUMNS += ["code", "code_system", "value", "unit", "observed_at", "status"]
HEADER = ",".join(COLUMNS)
AT = when(20)


def row(number=1, **changes):
    cells = {
        "source_row_id": f"r{number}",
        "patient_id": "007123",
        "issuer": "HOSP",
        "birth_date": "1948-03-12",
        "sex": "F",
        "family_name": "NA",
        "given_name": "None",
        "code": "29463-7",
        "code_system": "LN",
        "value": "61.5",
        "unit": "kg",
        "observed_at": "2025-03-09T10:00:00+00:00",
        "status": "F",
    }
    return ",".join({**cells, **changes}.values())


class Drop:
    def __init__(self, folder, ledger):
        self.folder = folder
        self.ledger = ledger

    def __call__(self, content, name="a.csv", **settings):
        data = content if isinstance(content, bytes) else content.encode()
        path = self.folder / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return self.poll(**settings)

    def poll(self, at=AT, **settings):
        return poll(self.folder, CsvDrop(settle=0, **settings), RULES, LedgerSink(self.ledger), at=at)

    def files(self, where):
        return sorted(p.name for p in (self.folder / where).iterdir())

    def rules(self, name="a"):
        lines = (self.folder / "rejected" / f"{name}.errors.csv").read_text().splitlines()
        return [line.split(",")[2] for line in lines[1:]]

    def rows(self, table=observation):
        with self.ledger.read() as c:
            return c.execute(sa.select(table).order_by(table.c.id)).all()


@pytest.fixture
def drop(tmp_path):
    ledger = open_ledger(tmp_path / "ledger.db")
    yield Drop(tmp_path / "drop", ledger)
    ledger.close()


def lines(*rows):
    return "\n".join([HEADER, *rows, ""])


def test_a_row_becomes_a_person_and_an_observation(drop):
    touched, count = drop(lines(row()))
    assert count == 1
    assert touched == (Identifier(value="007123", authority=HOSP),), "leading zeros (trap 1)"
    (found,) = drop.rows()
    assert (found.variable, found.value, found.usable, found.source) == ("weight", 61.5, True, "CSV 1:1")
    with drop.ledger.read() as c:
        stated, _ = persons.demographics(c, 1)
    assert (stated.name.alphabetic.family, stated.name.alphabetic.given) == ("NA", "None"), "trap 1"
    assert stated.birth_date == dt.date(1948, 3, 12)
    assert drop.files("done") == ["a.csv"]
    assert drop.files("inbox") == drop.files("processing") == []


def test_reimport_changes_nothing(drop):
    drop(lines(row(1), row(2, value="62.5", observed_at="2025-03-08")))
    before = drop.rows(), drop.rows(person_identifier)
    drop(lines(row(1), row(2, value="62.5", observed_at="2025-03-08")), at=when(21))
    assert len(drop.rows(csv_file)) == 1, "same content: skipped"
    drop(lines(row(2, value="62.5", observed_at="2025-03-08"), row(1)), at=when(22))
    assert (drop.rows(), drop.rows(person_identifier)) == before
    assert drop.files("done") == ["a-2.csv", "a-3.csv", "a.csv"]


def test_a_correction_and_a_deletion(drop):
    drop(lines(row()))
    drop(lines(row(value="71.5")), at=when(21))
    drop("\n".join([HEADER + ",deleted", row(value="71.5") + ",true", ""]), at=when(22))
    assert [(r.value, r.usable, r.reason) for r in drop.rows()] == [
        (61.5, True, ""),
        (71.5, True, ""),
        (None, False, "VOID"),
    ]
    assert [r.superseded_at for r in drop.rows()] == [when(21), when(22), None]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (lines(row() + ",extra", row(2)), "FIELD_COUNT"),
        (lines(row(), "r9,007124,HOSP"), "FIELD_COUNT"),
        ("sep=,\n" + lines(row()), "HEADER"),
        (lines(row()).replace(",", ";"), "HEADER"),
        (lines(row()).replace("unit", "value", 1), "HEADER"),
        (lines(row()).replace("unit", "unity", 1), "HEADER"),
        ("", "HEADER"),
        (lines(row(), row(2, unit='"kg')), "QUOTING"),
        (lines(row()).encode().replace(b"kg", b"k\0"), "NUL"),
        (lines(row(family_name="MÜLLER")).encode("latin-1"), "NOT_UTF8_CSV"),
        (lines(row()).encode("utf-16"), "NOT_UTF8_CSV"),
        (b"PK\x03\x04workbook", "NOT_UTF8_CSV"),
    ],
    ids=["long", "short", "sep", "semicolon", "twice", "other", "empty", "quote", "nul", "latin1", "utf16", "xlsx"],
)
def test_a_file_that_is_unfit_is_rejected_whole(drop, content, rule):
    drop(content)
    assert drop.rules() == [rule]
    assert drop.rows() == []
    assert drop.files("rejected") == ["a.csv", "a.errors.csv"]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"patient_id": "1.23457E+11"}, "SPREADSHEET_NUMBER"),
        ({"patient_id": "7123.0"}, "SPREADSHEET_NUMBER"),
        ({"patient_id": ""}, "NO_ID"),
        ({"issuer": ""}, "NO_ISSUER"),
        ({"birth_date": "12.03.1948"}, "NO_DATE"),
        ({"sex": "W"}, "SEX"),
        ({"observed_at": "09.03.2025"}, "NO_ISO_TIME"),
        ({"observed_at": "2025-13-09"}, "NO_ISO_TIME"),
        ({"value": "1.234.5"}, "NUMBER"),
        ({"value": '"61,5"'}, "NUMBER"),
        ({"value": "6150"}, "RANGE"),
        ({"unit": ""}, "UNIT"),
        ({"value": ""}, "NO_VALUE"),
    ],
)
def test_bad_rows_are_listed_and_too_many_reject_the_file(drop, changes, rule):
    drop(lines(row(), row(2, **changes)))
    assert drop.rules() == ["TOO_MANY_BAD_ROWS", rule]
    assert drop.rows() == []
    drop(lines(row(), row(3, **changes)), name="b.csv", max_bad_rows_percent=50)
    assert [r.value for r in drop.rows() if r.usable] == [61.5]
    assert drop.files("done") == ["b.csv", "b.errors.csv"]


def test_byte_order_mark(drop):
    drop(b"\xef\xbb\xbf" + lines(row()).encode())
    assert len(drop.rows()) == 1


def test_two_patients_without_an_identifier_receive_nothing(drop):
    drop(lines(row(1, patient_id=""), row(2, patient_id="")), max_bad_rows_percent=100)
    assert drop.rows() == drop.rows(person_identifier) == []


def test_a_row_with_somebody_elses_demographics_is_refused(drop):
    stranger = {"birth_date": "1960-01-01", "family_name": "SCHMIDT", "given_name": "KARL"}
    drop(lines(row(1), row(2, value="99", observed_at="2025-03-10", **stranger)))
    assert [r.value for r in drop.rows()] == [61.5]
    assert "2,patient_id,IDENTITY_CONFLICT" in (drop.folder / "done" / "a.errors.csv").read_text()


def test_dxa_rows_are_truth_only(drop):
    drop(lines(row(code="38267-1", value="-2.6", unit="{T-score}")))
    assert drop.rows() == []
    assert [r.t_score for r in drop.rows(dxa_result)] == [-2.6]


def test_a_file_that_still_grows_and_a_half_written_one_stay(drop):
    drop.poll()
    for name in ("a.csv", "b.csv.part"):
        (drop.folder / "inbox" / name).write_text(lines(row()))
    os.utime(drop.folder / "inbox" / "a.csv", (AT.timestamp() - 1,) * 2)
    poll(drop.folder, CsvDrop(settle=2), RULES, LedgerSink(drop.ledger), at=AT)
    assert drop.files("inbox") == ["a.csv", "b.csv.part"]


def test_a_file_left_by_a_crash_is_taken_again(drop):
    drop.poll()
    (drop.folder / "processing" / "a.csv").write_text(lines(row()))
    drop.poll()
    assert len(drop.rows()) == 1
    assert drop.files("done") == ["a.csv"]


def test_a_symlink_is_refused(drop, tmp_path):
    drop.poll()
    (tmp_path / "elsewhere.csv").write_text(lines(row()))
    (drop.folder / "inbox" / "a.csv").symlink_to(tmp_path / "elsewhere.csv")
    drop.poll(at=dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    assert drop.rules() == ["SYMLINK"]
    assert drop.rows() == []


def test_no_patient_data_in_logs_or_error_files(drop, capsys):
    secret = {"patient_id": "7654321.0", "family_name": "GEHEIM", "value": "61.77", "source_row_id": "GEHEIM-7654321"}
    drop(lines(row(), row(2, **secret)), name="GEHEIM.csv")
    written = "".join(capsys.readouterr())
    assert "csv_import" in written
    written += (drop.folder / "rejected" / "GEHEIM.errors.csv").read_text()
    for value in ("7654321", "GEHEIM", "61.77", "1948"):
        assert value not in written


def test_importing_the_feed_does_not_import_pandas():
    code = "import sys, node.intake, node.feeds.csv_drop, node.feeds.mllp; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
