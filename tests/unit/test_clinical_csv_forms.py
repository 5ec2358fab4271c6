"""Forms of files: column maps, the wide form, patients, snapshots, and who may decide on a held file."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError
from support.csv_drop import Drop, lines, manifest, row
from support.hl7 import when
from typer.testing import CliRunner

from config.csv_feed import CsvDrop, CsvSource
from config.settings import Settings
from node.cli import app
from node.csv_feed import carry_out_decisions
from node.csv_views import decide, show_files
from node.facts import ChangeKind
from node.feeds.csv_drop import DropFolder
from node.store import alerts, csv_files
from node.store import clinical_persons as persons
from node.store.clinical_schema import dxa_result, person
from node.store.csv_files import CsvState
from node.store.errors import NoSuchFile

WARD = CsvSource(
    name="ward",
    files="ward_*.csv",
    delimiter=";",
    decimal=",",
    timezone="Europe/Berlin",
    issuer="HOSP",
    columns={"source_row_id": "Nr", "patient_id": "PatNr", "birth_date": "Geb", "observed_at": "Zeit"},
    fixed={"sex": "", "issuer": "", "status": "F"},
    ignored=("Station",),
    values=(
        {"column": "Gewicht", "code": "29463-7", "unit": "kg"},
        {"column": "Groesse", "code": "8302-2", "unit": "cm"},
    ),
)
WIDE = "Nr;PatNr;Geb;Zeit;Station;Gewicht;Groesse\n"


@pytest.fixture
def drop(tmp_path, sqlite_ledger):
    return Drop(tmp_path / "drop", sqlite_ledger)


def numbered(count, **changes):
    return [row(n, observed_at=f"2025-02-{n % 28 + 1:02}T10:00:00Z", **changes) for n in range(count)]


def snapshot(drop, *rows, name="s.csv", source="lab"):
    content = lines(*rows)
    (outcome,) = drop(content, name=name, manifest=manifest(content, source=source, mode="snapshot", rows=len(rows)))
    return outcome.where, outcome.rule


def test_a_wide_form_with_a_column_map(drop):
    content = WIDE + "1;007;1948-03-12;2025-03-09 10:00;3B;61,5;165\n2;007;1948-03-12;2025-03-10;3B;;164,5\n"
    (outcome,) = drop(content, name="ward_march.csv", sources=(WARD,))
    assert (outcome.where, outcome.rows, outcome.bad_rows) == ("done", 2, 0)
    assert [(r.key, r.value, r.source) for r in drop.rows()] == [
        ("CSV|ward|=1|Gewicht", 61.5, "CSV 1:1"),
        ("CSV|ward|=1|Groesse", 165.0, "CSV 1:1"),
        ("CSV|ward|=2|Groesse", 164.5, "CSV 1:2"),
    ]
    assert drop.rows()[0].start_at == when(9, 9), "the feed's zone, not UTC"
    assert [o.rule for o in drop(content.replace("Station", "Zimmer"), name="ward_b.csv", sources=(WARD,))] == [
        "HEADER"
    ]


def test_time_zone_per_feed_and_per_file(drop):
    content = lines(row(observed_at="2025-03-09 10:00"))
    drop(content, manifest=manifest(content, tz="America/New_York"))
    assert drop.rows()[0].start_at == when(9, 14)


def test_the_same_bytes_read_another_way_are_another_import(drop):
    content = lines(row(observed_at="2025-03-09 10:00"))
    drop(content)
    drop.at = when(21)
    drop(content, manifest=manifest(content, tz="UTC"))
    assert [r.start_at for r in drop.rows()] == [when(9, 9), when(9, 10)]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"columns": {"patient": "P"}}, "patient"),
        ({"columns": {"patient_id": "P"}}, "observed_at"),
        ({"columns": {**WARD.columns, "sex": "Sex"}}, "sex"),
        ({"ignored": ("PatNr",)}, "PatNr"),
        ({"encoding": "guess"}, "encoding"),
        ({"delimiter": "::"}, "delimiter"),
        ({"name": "Ward 7"}, "name"),
        ({"content": "patients"}, "observed_at"),
        ({"content": "patients", "columns": {}, "fixed": {}, "ignored": ()}, "only observations"),
    ],
)
def test_a_column_map_that_cannot_work_is_refused_by_the_settings(changes, names):
    with pytest.raises(ValidationError, match=names):
        CsvSource(**{**WARD.model_dump(), **changes})


def test_two_sources_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="same name"):
        CsvDrop(sources=(WARD, WARD))


def test_a_manifest_of_an_unknown_source_is_held(drop):
    content = lines(row())
    (outcome,) = drop(content, manifest=manifest(content, source="nobody"), sources=(WARD,))
    assert (outcome.where, outcome.rule) == ("held", "SOURCE")


def test_patients_are_an_authority_only_when_they_are_dated(drop):
    head = "patient_id,issuer,birth_date,sex,family_name,given_name"
    patients = CsvSource(name="adt", files="*", content="patients")
    drop(f"{head}\n007,HOSP,1948-03-12,F,MUELLER,ANNA\n", sources=(patients,))
    drop(f"{head},valid_since\n007,HOSP,1948-03-12,F,SCHMIDT,ANNA,2025-03-01\n", sources=(patients,))
    undated = f"{head}\n007,HOSP,1949-03-12,F,MEIER,BERTA\n"
    drop(undated, sources=(patients,))
    with drop.ledger.read() as c:
        stated, since = persons.demographics(c, 1)
    assert stated.name.alphabetic.family == "SCHMIDT", "an undated statement that contradicts it is somebody else's"
    assert since.isoformat() == "2025-02-28T23:00:00+00:00", "the local day's start"
    dated = manifest(undated, created="2025-03-05T00:00:00Z")
    drop(undated, manifest=dated, sources=(patients,))
    with drop.ledger.read() as c:
        assert persons.demographics(c, 1)[0].name.alphabetic.family == "MEIER"


def test_a_deleted_patient_is_blocked(drop):
    head = "patient_id,issuer,birth_date,sex,family_name,given_name,deleted"
    patients = CsvSource(name="adt", files="*", content="patients")
    drop(f"{head}\n007,HOSP,1948-03-12,F,MUELLER,ANNA,yes\n", sources=(patients,))
    assert [p.blocked for p in drop.rows(person)] == [True]
    assert drop.changes[-1].kind is ChangeKind.TOMBSTONE


def test_two_rows_of_one_id_are_both_bad_and_like_rows_without_id_are_told_apart_by_order(drop):
    drop(lines(row(1), row(1, value="63"), *numbered(60)[2:]))
    assert drop.rules(where="done") == ["DUPLICATE_ROW_ID", "DUPLICATE_ROW_ID"]
    assert "CSV||=r1" not in dict(drop.standing())
    twice = [row("", source_row_id="", value=v) for v in ("60", "60.5", "60.5")]
    drop(lines(*twice), name="b.csv")
    drop.at = when(21)
    drop(lines(*twice, ""), name="c.csv")
    natural = [(k, v) for k, v in drop.standing() if "|#" in k]
    assert [v for _, v in natural] == [60.0, 60.5, 60.5]
    assert [k.rpartition("#")[2] for k, _ in natural[1:]] == ["2", "3"]


def test_absence_deletes_only_with_a_declared_snapshot(drop):
    rows = numbered(100)
    assert snapshot(drop, *rows) == ("done", "")
    drop(lines(*rows[:50]), name="delta.csv", manifest=manifest(lines(*rows[:50]), source="lab"))
    assert len(drop.standing()) == 100, "a delta deletes nothing"
    drop.at, drop.changes = when(21), []
    assert snapshot(drop, *rows[2:]) == ("done", "")
    assert len(drop.standing()) == 98
    assert [c.kind for c in drop.changes] == [ChangeKind.VOIDED, ChangeKind.VOIDED]
    assert drop.imports()[0].deleted == 2
    drop.at = when(22)
    assert snapshot(drop, *rows[1:]) == ("done", ""), "what comes again stands again"
    assert len(drop.standing()) == 99


@pytest.mark.parametrize("changes", [{"observed_at": "09.03.2025"}, {"patient_id": "7123.0"}, {"sex": "W"}])
def test_a_bad_row_of_a_snapshot_is_not_absent(drop, changes):
    rows = numbered(60)
    snapshot(drop, *rows)
    drop.at, drop.changes = when(21), []
    assert snapshot(drop, row(0, value="99", **changes), *rows[1:59]) == ("done", "")
    assert len(drop.standing()) == 59, "row 59 is absent; of row 0 nothing new is known"
    assert ("CSV|lab|=r0", 61.5) in drop.standing()
    assert drop.imports()[0].deleted == 1


def test_snapshot_cap_of_2_percent_holds_the_file(drop):
    rows = numbered(100)
    snapshot(drop, *rows)
    snapshot(drop, row(1), name="other.csv", source="ward")
    assert snapshot(drop, *rows[3:]) == ("held", "TOO_MANY_DELETIONS")
    assert len(drop.standing()) == 101, "nothing was written, and the other source is not touched"
    assert snapshot(drop, row("", source_row_id="")) == ("held", "TOO_MANY_BAD_ROWS"), "a snapshot needs ids"


def test_a_dxa_result_that_a_snapshot_lacks_is_no_truth_any_more(drop):
    dxa = row("d", code="38267-1", value="-2.6", unit="{T-score}")
    snapshot(drop, dxa, *numbered(60))
    drop.at = when(21)
    assert snapshot(drop, *numbered(60)) == ("done", "")
    assert [(r.t_score, r.usable) for r in drop.rows(dxa_result) if r.superseded_at is None] == [(None, False)]


def site(drop, **csv):
    return Settings.model_validate({"storage": {"data_dir": str(drop.folder.parent)}, "clinical": {"csv": csv}})


def carry_out(drop):
    carry_out_decisions(DropFolder(CsvDrop(folder=drop.folder), lambda _: None), drop.ledger)


def test_a_held_file_is_released_by_a_person(drop, capsys):
    content = lines(row(1), row(2, value="?"))
    drop(content, manifest=manifest(content))
    with drop.ledger.read() as c:
        assert [a.subject for a in alerts.find(c)] == ["file 1"]
    decide(site(drop), 1, CsvState.RELEASED)
    carry_out(drop)
    assert drop.files("processing") == ["a.csv", "a.csv.json"]
    (outcome,) = drop.look()
    assert (outcome.where, outcome.rows, outcome.bad_rows) == ("done", 2, 1)
    assert drop.standing() == [("CSV||=r1", 61.5)]
    assert drop.files("held") == []
    assert drop.files("done") == ["a.csv", "a.csv.json", "a.errors.csv"]
    with drop.ledger.read() as c:
        assert alerts.find(c) == ()
    capsys.readouterr()
    show_files(site(drop), state="", limit=5, as_json=True)
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["id"], shown["state"], shown["rows"], shown["bad_rows"], shown["written"]) == (1, "done", 2, 1, 4)


def test_a_held_file_is_rejected_by_a_person(drop):
    drop(lines(row(1), row(2, value="?")))
    decide(site(drop), 1, CsvState.REJECTED)
    carry_out(drop)
    assert drop.files("rejected") == ["a.csv", "a.errors.csv"]
    assert [f.state for f in drop.imports()] == ["rejected"]
    assert drop.rows() == []
    with pytest.raises(NoSuchFile, match="no file 1 is held"):
        decide(site(drop), 1, CsvState.RELEASED)


def test_a_file_whose_header_does_not_fit_is_not_released_until_the_settings_are_mended(drop):
    content = WIDE + "1;007;1948-03-12;2025-03-09 10:00;3B;61,5;165\n"
    drop(content, name="ward_1.csv")
    with pytest.raises(NoSuchFile, match=r"file 1 cannot be released: .*HEADER: .*is the delimiter a semicolon\?"):
        decide(site(drop, folder=drop.folder), 1, CsvState.RELEASED)
    other = WARD.model_copy(update={"ignored": ()})
    with pytest.raises(NoSuchFile, match=r"\(HEADER: unknown #5\)"):
        decide(site(drop, folder=drop.folder, sources=(other,)), 1, CsvState.RELEASED)
    assert [f.state for f in drop.imports()] == ["held"]
    with drop.ledger.read() as c:
        assert [a.subject for a in alerts.find(c)] == ["file 1"]
    said = decide(site(drop, folder=drop.folder, sources=(WARD,)), 1, CsvState.RELEASED)
    assert said == "file 1 is released; the node carries it out at its next look at the folder"
    carry_out(drop)
    assert [o.where for o in drop.look(sources=(WARD,))] == ["done"]


def test_a_file_of_an_unknown_source_is_not_released_and_can_be_rejected(drop):
    content = lines(row())
    drop(content, manifest=manifest(content, source="nobody"), sources=(WARD,))
    with pytest.raises(NoSuchFile, match=r"\(SOURCE\)"):
        decide(site(drop, folder=drop.folder, sources=(WARD,)), 1, CsvState.RELEASED)
    assert "file 1 is rejected" in decide(site(drop, folder=drop.folder, sources=(WARD,)), 1, CsvState.REJECTED)


def test_the_release_of_a_file_that_is_not_to_be_seen_says_that_it_may_be_held_again(drop):
    drop("")
    assert "it is held again" in decide(site(drop), 1, CsvState.RELEASED)


def test_the_list_cuts_no_code_off_and_explains_it(drop, capsys, monkeypatch):
    drop(lines(row(1), row(2, value="?")))
    drop("", name="b.csv")
    drop(b"PK", name="c.xlsx")
    drop(b"text", name="d.txt")
    monkeypatch.setenv("COLUMNS", "40")
    show_files(site(drop), state="", limit=5, as_json=False)
    shown = capsys.readouterr().out
    assert "…" not in shown
    for told in ("TOO_MANY_BAD_ROWS", "taken (UTC)", "held, HEADER: ", "rejected, WORKBOOK: ", "rejected, NOT_CSV: "):
        assert told in shown


def test_a_held_file_that_comes_again_after_the_settings_were_mended_is_imported(drop):
    content = WIDE + "1;007;1948-03-12;2025-03-09 10:00;3B;61,5;165\n"
    assert [o.rule for o in drop(content, name="ward_1.csv")] == ["HEADER"]
    assert [o.where for o in drop(content, name="ward_1.csv", sources=(WARD,))] == ["done"]
    assert {f.state for f in drop.imports()} == {"held", "done"}, "read another way it is another import"
    drop.folder.joinpath("held/1").rename(drop.folder / "held" / "9")
    carry_out(drop)
    assert drop.files("held") == ["9"], "what the ledger does not know stays"
    with drop.ledger.read() as c:
        assert csv_files.state_of(c, 9) is None


def test_the_command_line_lists_and_decides(drop, tmp_path):
    drop(lines(row(1), row(2, value="?")))
    config = tmp_path / "site.toml"
    config.write_text(f'[storage]\ndata_dir = "{tmp_path}"\n')
    run = CliRunner()
    shown = json.loads(run.invoke(app, ["csv", "list", "--state", "held", "--json", "-c", str(config)]).stdout)
    assert [(f["id"], f["reason"], f["bad_rows"]) for f in shown] == [(1, "TOO_MANY_BAD_ROWS", 1)]
    assert "held" in run.invoke(app, ["csv", "list", "-c", str(config)]).stdout
    assert "file 1 is released" in run.invoke(app, ["csv", "release", "1", "-c", str(config)]).stdout
    assert isinstance(run.invoke(app, ["csv", "reject", "1", "-c", str(config)]).exception, NoSuchFile)
