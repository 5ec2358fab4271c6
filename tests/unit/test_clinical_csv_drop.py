"""The drop folder: what is claimed, what is refused, where it ends (clinical-data.md section 9)."""

from __future__ import annotations

import datetime as dt
import io
import os
import subprocess
import sys
import zipfile

import pytest
from support.csv_drop import HEADER, Drop, lines, manifest, row
from support.hl7 import HOSP, when

from model.domain import Identifier
from node.facts import ChangeKind
from node.feeds import csv_shape
from node.store import alerts
from node.store import clinical_persons as persons
from node.store.clinical_schema import csv_file, dxa_result, person_identifier


@pytest.fixture
def drop(tmp_path, sqlite_ledger):
    return Drop(tmp_path / "drop", sqlite_ledger)


def open_alerts(drop):
    with drop.ledger.read() as c:
        return [(a.kind, a.subject, a.detail) for a in alerts.find(c)]


def test_a_row_becomes_a_person_and_an_observation(drop):
    (outcome,) = drop(lines(row()))
    assert (outcome.where, outcome.rows, outcome.bad_rows) == ("done", 1, 0)
    assert drop.person("007123") == Identifier(value="007123", authority=HOSP)
    (found,) = drop.rows()
    assert (found.variable, found.value, found.usable, found.source) == ("weight", 61.5, True, "CSV 1:1")
    with drop.ledger.read() as c:
        stated, _ = persons.demographics(c, 1)
    assert stated.birth_date == dt.date(1948, 3, 12)
    assert drop.files("done") == ["a.csv"]
    assert drop.files("inbox") == drop.files("processing") == []
    assert [c.kind for c in drop.changes] == [ChangeKind.DEMOGRAPHICS, ChangeKind.NEW_VALUE]


def test_re_import_0_changes(drop):
    content = lines(row(1), row(2, value="62.5", observed_at="2025-03-08"))
    drop(content)
    before = drop.rows(), drop.rows(person_identifier)
    drop.at = when(21)
    drop(content)
    assert len(drop.rows(csv_file)) == 1, "same content: skipped"
    drop.at = when(22)
    drop.changes.clear()
    drop(lines(row(2, value="62.5", observed_at="2025-03-08"), row(1)))
    assert (drop.rows(), drop.rows(person_identifier)) == before
    assert drop.changes == []
    assert [f.written for f in drop.imports()] == [0, 4]
    assert drop.files("done") == ["a-2.csv", "a-3.csv", "a.csv"]


def test_a_correction_and_a_deletion(drop):
    drop(lines(row()))
    drop.at = when(21)
    drop(lines(row(value="63.5")))
    drop.at = when(22)
    drop(lines(row(value="63.5") + ",true", header=HEADER + ",deleted"))
    assert [(r.value, r.usable, r.reason) for r in drop.rows()] == [
        (61.5, True, ""),
        (63.5, True, ""),
        (None, False, "VOID"),
    ]
    assert [r.superseded_at for r in drop.rows()] == [when(21), when(22), None]
    assert [c.kind for c in drop.changes[2:]] == [ChangeKind.CORRECTED, ChangeKind.VOIDED]


@pytest.mark.parametrize(
    ("content", "rule", "where"),
    [
        (lines(row(), "r9,007124,HOSP"), "FIELD_COUNT", "rejected"),
        ("", "HEADER", "held"),
        (lines(row()).replace("unit", "unity", 1), "HEADER", "held"),
        (lines(row(family_name="MÜLLER")).encode("latin-1"), "ENCODING", "rejected"),
        (lines(row()).encode("utf-16"), "ENCODING", "rejected"),
    ],
    ids=["short", "empty", "other header", "latin1", "utf16 undeclared"],
)
def test_a_file_that_is_unfit_is_not_read(drop, content, rule, where):
    (outcome,) = drop(content)
    assert (outcome.where, outcome.rule) == (where, rule)
    assert drop.rows() == []
    (file,) = drop.imports()
    assert (file.state, file.reason) == (where, rule)
    assert open_alerts(drop) == [("QUARANTINED", "file 1", f"{where} {rule}")]
    assert drop.files(where) == (["a.csv", "a.errors.csv"] if where == "rejected" else ["1"])


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"patient_id": ""}, "NO_ID"),
        ({"issuer": ""}, "NO_ISSUER"),
        ({"birth_date": "12.03.1948"}, "NO_DATE"),
        ({"sex": "W"}, "SEX"),
        ({"observed_at": "09.03.2025"}, "NO_ISO_TIME"),
        ({"observed_at": "2025-13-09"}, "NO_ISO_TIME"),
        ({"value": '"61,5"'}, "NUMBER"),
        ({"value": "6150"}, "RANGE"),
        ({"unit": ""}, "NO_UNIT"),
        ({"unit": "mmol/L"}, "UNIT"),
        ({"value": ""}, "NO_VALUE"),
    ],
)
def test_bad_rows_are_listed_and_more_than_5_percent_hold_the_file(drop, changes, rule):
    content = lines(row(), row(2, **changes))
    assert [o.where for o in drop(content)] == ["held"]
    assert drop.rules(where="held/1") == ["TOO_MANY_BAD_ROWS", rule]
    assert drop.rows() == []
    drop(lines(*(row(n) for n in range(20)), row(99, **changes)), name="b.csv")
    assert drop.rules("b", where="done") == [rule]
    assert len([r for r in drop.rows() if r.usable]) == 20


def test_a_row_with_somebody_elses_demographics_is_refused(drop):
    stranger = {"birth_date": "1960-01-01", "family_name": "SCHMIDT", "given_name": "KARL"}
    drop(lines(row(1), row(2, value="62", observed_at="2025-03-10", **stranger)))
    assert [r.value for r in drop.rows()] == [61.5]
    assert drop.rules(where="done") == ["IDENTITY_CONFLICT"]
    assert (drop.folder / "done" / "a.errors.csv").read_text().splitlines()[1] == "3,2,patient_id,,IDENTITY_CONFLICT"


def test_values_of_unknown_codes_are_counted_and_make_no_fact(drop, capsys):
    (outcome,) = drop(lines(row(1), row(2, code="GEHEIM", code_system="L"), row(3, code="GEHEIM", code_system="L")))
    assert (outcome.where, outcome.bad_rows, outcome.remarks) == ("done", 0, (("CODE_UNKNOWN", 2),))
    assert len(drop.rows()) == 1
    assert "GEHEIM" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("now", [{"code": "99999-9"}, {"code": "38267-1", "value": "-2.6", "unit": "{T-score}"}])
def test_a_row_that_is_no_observation_any_more_takes_its_former_one_back(drop, now):
    others = [row(n) for n in range(2, 40)]
    drop(lines(row(1), *others))
    drop(lines(row(1, **now), *others), name="b.csv")
    assert (len(drop.standing()), "CSV||=r1" in dict(drop.standing())) == (38, False)
    writes = len(drop.rows())
    drop(lines(row(1, **now), row(40), *others), name="c.csv")
    assert len(drop.rows()) == writes + 1, "once"


def test_dxa_rows_are_truth_only(drop):
    drop(lines(row(code="38267-1", value="-2.6", unit="{T-score}")))
    assert drop.rows() == []
    assert [r.t_score for r in drop.rows(dxa_result)] == [-2.6]


def test_half_written_file_stays(drop):
    growing = drop.put(lines(row(1)))
    drop.put(lines(row(2)), "b.csv.part")
    drop.put(lines(row(3)), "c.csv")

    def write_on(_seconds: float) -> None:
        with growing.open("a") as file:
            file.write(row(4) + "\n")

    assert len(drop.look(write_on, settle=2)) == 1
    assert drop.files("inbox") == ["a.csv", "b.csv.part"]
    assert drop.files("done") == ["c.csv"]


def test_a_file_that_changes_while_it_is_read_is_rejected(drop, monkeypatch):
    seen = []
    true_stamp = csv_shape.stamp

    def later(path):
        seen.append(path)
        if len(seen) == 2:
            path.write_text(lines(row(), row(2)))
        return true_stamp(path)

    monkeypatch.setattr("node.feeds.csv_import.stamp", later)
    assert [o.rule for o in drop(lines(row()))] == ["CHANGED"]
    assert drop.rows() == []


def test_a_file_left_by_a_crash_is_taken_again(drop):
    drop.look()
    (drop.folder / "processing" / "a.csv").write_text(lines(row()))
    drop.look()
    assert len(drop.rows()) == 1
    assert drop.files("done") == ["a.csv"]


def test_files_that_wait_together_are_taken_in_the_order_they_were_written_in(drop):
    for number, name in enumerate(("c.csv", "a.csv", "b.csv")):
        written = 1_700_000_000 + number
        os.utime(drop.put(lines(row(value=str(61 + number))), name), (written, written))
    drop.look()
    assert [f.id for f in drop.imports()] == [3, 2, 1]
    assert drop.standing() == [("CSV||=r1", 63.0)]


def test_a_symlink_a_folder_and_a_file_beyond_2_gib_are_refused(drop, tmp_path):
    drop.look()
    (tmp_path / "elsewhere.csv").write_text(lines(row()))
    (drop.folder / "inbox" / "link.csv").symlink_to(tmp_path / "elsewhere.csv")
    (drop.folder / "inbox" / "sub.csv").mkdir()
    (drop.folder / "inbox" / "below").mkdir()
    (drop.folder / "inbox" / "below" / "x.csv").write_text(lines(row()))
    with (drop.folder / "inbox" / "vast.csv").open("wb") as file:
        file.truncate((2 << 30) + 1)
    drop.look()
    assert [drop.rules(n) for n in ("link", "sub", "vast")] == [["SYMLINK"], ["NOT_A_FILE"], ["TOO_LARGE"]]
    assert drop.rows() == []
    assert drop.files("inbox") == ["below"], "subfolders are not looked into"
    assert (tmp_path / "elsewhere.csv").exists()
    (alert,) = open_alerts(drop)
    assert alert[:2] == ("QUARANTINED", "drop folder")


def test_xlsx_renamed(drop):
    workbook = io.BytesIO()
    with zipfile.ZipFile(workbook, "w") as parts:
        parts.writestr("[Content_Types].xml", "<Types/>")
        parts.writestr("xl/worksheets/sheet1.xml", lines(row()))
    (outcome,) = drop(workbook.getvalue(), name="export.csv")
    assert (outcome.where, outcome.rule) == ("rejected", "WORKBOOK")
    assert drop.rows() == []
    assert open_alerts(drop) == [("QUARANTINED", "file 1", "rejected WORKBOOK")]
    assert drop.files("rejected") == ["export.csv", "export.errors.csv"]


def test_what_is_no_csv_file_does_not_lie_in_the_inbox_unseen(drop):
    for name in ("book.xlsx", "OLD.XLS", "weights.txt", "export.csv.gz", "b.errors.csv"):
        drop.put(name.encode(), name)
    (drop.folder / "inbox" / "gone.txt").symlink_to("nowhere")
    drop.look()
    assert drop.files("inbox") == drop.files("processing") == []
    rejected = ["OLD.XLS", "b.errors.csv", "book.xlsx", "export.csv.gz", "gone.txt", "weights.txt"]
    assert [n for n in drop.files("rejected") if n in rejected] == rejected
    assert [drop.rules(n) for n in ("book", "OLD")] == [["WORKBOOK"], ["WORKBOOK"]]
    assert [drop.rules(n) for n in ("weights", "export.csv", "b.errors")] == [["NOT_CSV"]] * 3
    assert drop.rules("gone") == ["SYMLINK"]
    assert sorted(f.reason for f in drop.imports("rejected")) == [*["NOT_CSV"] * 3, *["WORKBOOK"] * 2]
    details = sorted(detail for _, subject, detail in open_alerts(drop) if subject != "drop folder")
    assert details == [*["rejected NOT_CSV"] * 3, *["rejected WORKBOOK"] * 2]


def test_a_file_that_is_still_to_come_and_a_manifest_alone_stay(drop):
    names = [".a.csv", ".a.csv.Xy12", "a.csv.json", "b.csv.part", "c.csv.filepart", "d.TMP", "~$book.xlsx"]
    for name in names:
        drop.put("{}", name)
    assert drop.look() == drop.look(require_manifest=True) == []
    assert drop.files("inbox") == names
    assert drop.files("rejected") == []


def test_a_text_file_waits_for_no_manifest_and_must_have_settled(drop):
    growing = drop.put("1", "weights.txt")

    def write_on(_seconds: float) -> None:
        with growing.open("a") as file:
            file.write("2")

    assert drop.look(write_on, settle=2, require_manifest=True) == []
    assert drop.files("inbox") == ["weights.txt"]
    assert [o.rule for o in drop.look(settle=2, require_manifest=True)] == ["NOT_CSV"]


def test_a_rejected_workbook_overwrites_neither_another_file_nor_another_list(drop):
    drop(b"one", "book.xlsx")
    drop(b"two", "book.xlsx")
    drop(lines(row(), "short"), "book.csv")
    assert [n for n in drop.files("rejected") if "errors" not in n] == ["book-2.xlsx", "book-3.csv", "book.xlsx"]
    assert [drop.rules(n)[0] for n in ("book", "book-2", "book-3")] == ["WORKBOOK", "WORKBOOK", "FIELD_COUNT"]


@pytest.mark.parametrize(
    ("content", "listed", "logged"),
    [
        ("", ["1,0,,,NO_HEADER"], "the first line is empty"),
        (
            lines(row()).replace("patient_id", "PatID"),
            ["1,0,patient_id,,COLUMN_MISSING", "1,0,#2,,COLUMN_UNKNOWN"],
            "missing patient_id; unknown #2",
        ),
        (
            lines(row(), header=HEADER.replace("unit", "value")),
            ["1,0,unit,,COLUMN_MISSING", "1,0,#11,,COLUMN_TWICE"],
            "missing unit; there twice #11",
        ),
        (
            lines(row()).replace(",", ";"),
            ["1,0,semicolon,,DELIMITER"],
            "one column only: is the delimiter a semicolon?",
        ),
        (lines(row()).replace(",", "\t"), ["1,0,tab,,DELIMITER"], "one column only: is the delimiter a tab?"),
    ],
    ids=["empty", "other name", "twice", "semicolons", "tabs"],
)
def test_a_wrong_header_is_held_with_what_is_wrong(drop, capsys, content, listed, logged):
    assert [o.rule for o in drop(content)] == ["HEADER"]
    list_ = (drop.folder / "held" / "1" / "a.errors.csv").read_text().splitlines()
    assert list_ == ["line,row,column,code,rule", "0,0,,,HEADER", *listed]
    assert logged in "".join(capsys.readouterr())


def test_a_header_that_is_a_patient_is_written_only_where_the_site_says_so(drop, capsys):
    drop(row(family_name="GEHEIM") + "\n")
    listed = (drop.folder / "held" / "1" / "a.errors.csv").read_text()
    assert "#6,,COLUMN_UNKNOWN" in listed
    for value in ("GEHEIM", "007123", "1948"):
        assert value not in listed + "".join(capsys.readouterr())
    drop(row(family_name="GEHEIM") + "\n", errors={"include_values": True})
    assert "1,0,#6,,COLUMN_UNKNOWN,,GEHEIM" in (drop.folder / "held" / "1" / "a.errors.csv").read_text()


def test_a_header_of_a_thousand_unknown_columns_does_not_flood_the_log(drop, capsys):
    drop(",".join(f"c{n}" for n in range(1000)) + "\n")
    assert "and 988 more" in (logged := "".join(capsys.readouterr()))
    assert len(logged) < 1000
    assert drop.rules(where="held/1").count("COLUMN_UNKNOWN") == 1000


def test_wrong_hash(drop):
    content = lines(row())
    (outcome,) = drop(content.replace("61.5", "66.5"), manifest=manifest(content))
    assert (outcome.where, outcome.rule) == ("rejected", "WRONG_HASH")
    assert drop.rows() == []
    assert open_alerts(drop) == [("QUARANTINED", "file 1", "rejected WRONG_HASH")]
    assert [o.where for o in drop(content, manifest=manifest(content))] == ["done"]
    assert drop.standing() == [("CSV||=r1", 61.5)]


def test_manifest_is_checked(drop):
    content = lines(row(1), row(2, observed_at="2025-03-08"))
    for fits, rule in (
        (manifest(content, rows=3), "ROW_COUNT"),
        (manifest(content, rows=2, colour="red"), "MANIFEST"),
        (manifest(content, mode="snapshot"), "MANIFEST"),
    ):
        assert [(o.where, o.rule) for o in drop(content, manifest=fits)] == [("rejected", rule)]
    assert [o.where for o in drop(content, manifest=manifest(content, rows=2, source="lab", issuer="HOSP"))] == ["done"]
    assert len(drop.rows()) == 2
    assert drop.files("done") == ["a.csv", "a.csv.json"]
    assert drop.imports("done")[0].source == "lab"


def test_require_manifest_waits_for_it(drop):
    content = lines(row())
    assert drop(content, require_manifest=True) == []
    assert drop.files("inbox") == ["a.csv"]
    assert len(drop(content, manifest=manifest(content), require_manifest=True)) == 1
    assert drop.files("done") == ["a.csv", "a.csv.json"]


def test_error_file_without_values(drop, capsys):
    secret = {"patient_id": "7654321.0", "family_name": "GEHEIM", "value": "61.77"}
    drop(lines(row(), row("GEHEIM-7654321", **secret), row(3, code="GEHEIM", value="x")), name="GEHEIM.csv")
    written = "".join(capsys.readouterr())
    assert "csv_import" in written
    written += (drop.folder / "held" / "1" / "GEHEIM.errors.csv").read_text()
    written += str(drop.imports()) + str(open_alerts(drop))
    for value in ("7654321", "GEHEIM", "61.77", "1948"):
        assert value not in written


def test_error_file_with_values_where_the_site_says_so(drop):
    drop(lines(row(), row(2, value="sixty")), errors={"include_values": True})
    text = (drop.folder / "held" / "1" / "a.errors.csv").read_text().splitlines()
    assert text[0] == "line,row,column,code,rule,source_row_id,value"
    assert text[2] == "3,2,value,29463-7,NUMBER,r2,sixty"


def test_the_line_of_an_error_counts_line_breaks_in_cells_and_blank_lines(drop):
    drop(lines(row(1, family_name='"N\nA"'), "", row(2, value="?")), max_bad_rows_percent=50)
    assert (drop.folder / "done" / "a.errors.csv").read_text().splitlines()[1] == "5,2,value,29463-7,NUMBER"


def test_file_names_are_neither_stored_nor_logged(drop, capsys, tmp_path):
    drop(lines(row(), "short"), name="MUELLER_ANNA_19480312.csv")
    assert "MUELLER" not in "".join(capsys.readouterr())
    for path in tmp_path.glob("ledger.db*"):
        assert b"MUELLER" not in path.read_bytes()
    assert "MUELLER_ANNA_19480312.csv" in drop.files("rejected")


def test_importing_the_feed_does_not_import_pandas():
    code = "import sys, node.csv_feed, node.feeds.mllp; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ}).returncode == 0
