"""What a file says holds until a later one of its source says otherwise: values set back, and files that are late."""

from __future__ import annotations

import pytest
from support.clinical import deliver
from support.csv_drop import HEADER, Drop, lines, manifest, row
from support.hl7 import message, pid, when
from typer.testing import CliRunner

from config.csv_feed import CsvDrop, CsvSource
from node.cli import app
from node.csv_feed import carry_out_decisions
from node.feeds.csv_drop import DropFolder
from node.store import alerts, csv_files
from node.store import clinical_persons as persons
from node.store.csv_files import CsvState, Overtaken
from node.store.errors import NoSuchFile

WIDE = CsvSource(
    name="ward",
    files="ward_*",
    fixed={"status": "F"},
    values=(
        {"column": "Gewicht", "code": "29463-7", "unit": "kg"},
        {"column": "Groesse", "code": "8302-2", "unit": "cm"},
    ),
)
WIDE_HEADER = "source_row_id,patient_id,issuer,birth_date,sex,observed_at,Gewicht,Groesse"
BAD = row("bad", patient_id="0")


@pytest.fixture
def drop(tmp_path, ledger):
    return Drop(tmp_path / "drop", ledger)


def value(number, kilos="61.5", day=None):
    return row(number, value=kilos, observed_at=f"2025-02-{day or number:02}T10:00:00Z")


def send(drop, day, *rows, created=None, header=HEADER, **declared):
    """Drop a file of the source `lab` on a day of March; `created` is the day in its manifest, if there is one."""
    drop.at = when(day)
    content = lines(*rows, header=header)
    if created is not None:
        declared["created"] = f"2025-03-{created:02}T08:00:00Z"
    (outcome,) = drop(content, manifest=manifest(content, source="lab", **declared), max_deletions_percent=50)
    return outcome.where, outcome.rule


def snapshot(drop, day, *rows, created=None):
    return send(drop, day, *rows, created=created, mode="snapshot")


def release(drop, day):
    """A person releases the file that is held, and the node carries it out."""
    drop.at = when(day)
    ((number, _),) = held(drop)
    with drop.ledger.begin() as c:
        left = csv_files.decide(c, number, CsvState.RELEASED)
    carry_out(drop)
    outcomes = [(outcome.where, outcome.rule) for outcome in drop.look()]
    return left, outcomes


def carry_out(drop):
    carry_out_decisions(DropFolder(CsvDrop(folder=drop.folder), lambda _: None), drop.ledger)


def standing(drop):
    return {key.removeprefix("CSV|lab|="): kilos for key, kilos in drop.standing()}


def held(drop):
    return [(file.id, file.reason) for file in drop.imports("held")]


@pytest.mark.parametrize("dated", [True, False], ids=["dated", "undated"])
def test_a_snapshot_that_goes_back_to_an_earlier_content_takes_back_what_it_lacks(drop, dated):
    rows = [value(n) for n in (1, 2, 3)]
    for day, of_day in ((11, rows[:2]), (12, rows), (13, rows[:2])):
        assert snapshot(drop, day, *of_day, created=day if dated else None) == ("done", "")
    assert standing(drop) == {"r1": 61.5, "r2": 61.5}


@pytest.mark.parametrize("dated", [True, False], ids=["dated", "undated"])
def test_a_value_that_was_corrected_and_set_back_stands_as_at_first(drop, dated):
    for day, kilos in ((11, "61.5"), (12, "75"), (13, "61.5")):
        assert send(drop, day, value(1, kilos), created=day if dated else None) == ("done", "")
    assert standing(drop) == {"r1": 61.5}
    assert [r.superseded_at for r in drop.rows()] == [when(12), when(13), None]


@pytest.mark.parametrize("created", [11, None], ids=["dated", "undated"])
def test_the_same_file_twice_in_a_row_changes_nothing_and_is_not_read(drop, created):
    send(drop, 11, value(1), created=created)
    send(drop, 12, value(1, "75"))
    send(drop, 13, value(1), created=created)
    before = drop.rows(), drop.imports()
    content = lines(value(1))
    said = {} if created is None else {"created": f"2025-03-{created}T08:00:00Z"}
    (outcome,) = drop(content, manifest=manifest(content, source="lab", **said))
    assert (outcome.where, outcome.import_id, outcome.rows) == ("done", None, 0)
    assert (drop.rows(), drop.imports()) == before


def test_a_dated_file_that_is_sent_again_late_changes_nothing(drop):
    send(drop, 11, value(1), created=11)
    send(drop, 12, value(1, "75"), created=12)
    assert send(drop, 13, value(1), created=11) == ("done", "")
    assert standing(drop) == {"r1": 75.0}


def test_an_undated_file_that_is_taken_again_is_the_latest_in_the_list(drop):
    for day, kilos in ((11, "61.5"), (12, "75"), (13, "61.5")):
        send(drop, day, value(1, kilos))
    assert [(f.id, f.state, f.recorded_at, f.written) for f in drop.imports()] == [
        (1, "done", when(13), 1),
        (2, "done", when(12), 1),
    ]


def test_undated_files_of_another_source_in_between_do_not_matter(drop):
    send(drop, 11, value(1))
    drop(lines(value(1, "75")))
    before = drop.rows()
    content = lines(value(1))
    (outcome,) = drop(content, manifest=manifest(content, source="lab"))
    assert (outcome.import_id, drop.rows()) == (None, before)


def test_a_file_that_was_made_before_the_last_import_of_its_source_is_held(drop):
    send(drop, 12, value(1, "75"), created=12)
    assert send(drop, 13, value(1), value(2), created=11) == ("held", "OUTDATED")
    assert standing(drop) == {"r1": 75.0}
    assert drop.rules(where="held/2") == ["OUTDATED"]
    with drop.ledger.read() as c:
        assert [(a.subject, a.detail) for a in alerts.find(c)] == [("file 2", "held OUTDATED")]
    assert send(drop, 14, value(1, "76"), created=13) == ("done", "")
    drop.at = when(15)
    content = lines(value(1))
    other = manifest(content, source="ward", created="2025-03-01T00:00:00Z")
    assert [o.where for o in drop(content, manifest=other)] == ["done"], "each source has its own order"


def test_a_late_file_that_is_released_adds_what_is_not_known_yet_and_changes_nothing(drop):
    send(drop, 10, value(1), value(2), value(3), value(4), created=10)
    assert send(drop, 11, value(1, "75"), value(3, "75"), value(9), BAD, created=11) == ("held", "TOO_MANY_BAD_ROWS")
    gone = value(4) + ",yes"
    send(drop, 12, value(1) + ",", value(2, "63") + ",", gone, header=f"{HEADER},deleted", created=12)
    assert release(drop, 13) == (Overtaken.IN_PART, [("done", "")])
    assert standing(drop) == {"r1": 61.5, "r2": 63.0, "r3": 61.5, "r9": 61.5}, "r1 was stated again, without a trace"
    assert drop.rules("a-3", where="done") == ["OUTDATED", "OUTDATED", "NO_ID"]
    send(drop, 14, value(4, "70"), BAD, created=11)
    assert release(drop, 15) == (Overtaken.IN_PART, [("done", "")])
    assert "r4" not in standing(drop), "what was taken back stays so"


def test_a_late_row_that_is_no_observation_takes_nothing_back(drop):
    send(drop, 12, value(1), created=12)
    send(drop, 13, row(1, code="99999-9"), created=11)
    release(drop, 14)
    assert standing(drop) == {"r1": 61.5}


def test_a_late_wide_row_adds_the_columns_that_are_not_known_yet(drop):
    def ward(day, cells):
        drop.at = when(day)
        return drop(f"{WIDE_HEADER}\n1,007,HOSP,1948-03-12,F,2025-03-09,{cells}\n", name="ward_1.csv", sources=(WIDE,))

    ward(12, "61.5,")
    with drop.ledger.begin() as c:
        late = csv_files.Offered(sha256="0" * 64, source="ward", created=when(13))
        file = csv_files.open_file(c, late, when(13))
        csv_files.finish(c, file.id, CsvState.DONE)
    content = f"{WIDE_HEADER}\n1,007,HOSP,1948-03-12,F,2025-03-09,75,165\n"
    dated = manifest(content, created="2025-03-12T12:00:00Z")
    drop.at = when(14)
    assert [o.rule for o in drop(content, name="ward_2.csv", manifest=dated, sources=(WIDE,))] == ["OUTDATED"]
    with drop.ledger.begin() as c:
        csv_files.decide(c, 3, CsvState.RELEASED)
    carry_out(drop)
    drop.look(sources=(WIDE,))
    assert drop.standing() == [("CSV|ward|=1|Gewicht", 61.5), ("CSV|ward|=1|Groesse", 165.0)]


def test_an_older_snapshot_is_never_released_and_the_message_says_what_to_do(drop):
    snapshot(drop, 11, *(value(n) for n in range(1, 9)), created=10)
    assert snapshot(drop, 11, value(1), created=11) == ("held", "TOO_MANY_DELETIONS")
    send(drop, 12, value(9), created=12)
    with pytest.raises(NoSuchFile, match="a snapshot; `osteon csv reject 2`"), drop.ledger.begin() as c:
        csv_files.decide(c, 2, CsvState.RELEASED)
    assert held(drop) == [(2, "TOO_MANY_DELETIONS")]
    with drop.ledger.begin() as c:
        assert len(alerts.find(c)) == 1, "it still waits"
        csv_files.decide(c, 2, CsvState.REJECTED)
    assert len(standing(drop)) == 9


def test_nothing_is_released_over_a_later_snapshot(drop):
    assert send(drop, 11, value(1), BAD, created=11) == ("held", "TOO_MANY_BAD_ROWS")
    snapshot(drop, 12, value(2), created=12)
    with pytest.raises(NoSuchFile, match="cannot be released"), drop.ledger.begin() as c:
        csv_files.decide(c, 1, CsvState.RELEASED)


def test_a_file_that_was_released_is_held_again_when_a_later_snapshot_comes_first(drop):
    send(drop, 11, value(1), BAD, created=11)
    with drop.ledger.begin() as c:
        csv_files.decide(c, 1, CsvState.RELEASED)
    snapshot(drop, 12, value(2), created=12)
    carry_out(drop)
    assert [o.rule for o in drop.look()] == ["OUTDATED"]
    assert (held(drop), standing(drop)) == ([(1, "OUTDATED")], {"r2": 61.5})


def test_an_undated_file_has_its_place_where_it_came(drop):
    send(drop, 11, value(1), value(9), BAD)
    send(drop, 12, value(1, "75"))
    assert release(drop, 13) == (Overtaken.IN_PART, [("done", "")])
    assert standing(drop) == {"r1": 75.0, "r9": 61.5}
    send(drop, 14, value(1, "77"), BAD)
    send(drop, 15, value(1, "78"))
    assert send(drop, 16, value(1, "77"), BAD) == ("held", "TOO_MANY_BAD_ROWS")
    assert release(drop, 17) == (Overtaken.NO, [("done", "")])
    assert standing(drop)["r1"] == 77.0, "who sends it again says that it holds now"


def test_a_file_from_the_future_does_not_hold_those_that_come_until_then(drop):
    content = lines(value(1))
    drop(content, manifest=manifest(content, source="lab", created="2205-03-01T00:00:00Z"))
    assert send(drop, 21, value(1, "75"), created=21) == ("done", "")
    assert standing(drop) == {"r1": 75.0}


PATIENTS = CsvSource(name="adt", files="*", content="patients")
WHO = "patient_id,issuer,birth_date,sex,family_name,given_name"


@pytest.mark.parametrize("stated", ["row", "manifest"])
def test_a_date_in_the_future_does_not_hold_against_later_demographics(drop, stated):
    if stated == "row":
        drop(f"{WHO},valid_since\n007,HOSP,1948-03-12,F,MUELLER,ANNA,2205-03-01\n", sources=(PATIENTS,))
    else:
        content = f"{WHO}\n007,HOSP,1948-03-12,F,MUELLER,ANNA\n"
        drop(content, manifest=manifest(content, created="2205-03-01T00:00:00Z"), sources=(PATIENTS,))
    with drop.ledger.begin() as c:
        assert persons.demographics(c, 1)[1] == when(20), "the file's arrival is the latest"
        later = message("ADT^A08", pid("007", "SCHMIDT^ANNA"), sent="20250321090000+0000")
        deliver(c, later, at=when(21))
        assert persons.demographics(c, 1)[0].name.alphabetic.family == "SCHMIDT"


def test_files_of_patients_are_not_held_as_each_row_has_its_own_date(drop):
    for name, created in (("MUELLER", 12), ("SCHMIDT", 11)):
        content = f"{WHO}\n007,HOSP,1948-03-12,F,{name},ANNA\n"
        dated = manifest(content, created=f"2025-03-{created}T00:00:00Z")
        assert [o.where for o in drop(content, manifest=dated, sources=(PATIENTS,))] == ["done"]
    with drop.ledger.read() as c:
        assert persons.demographics(c, 1)[0].name.alphabetic.family == "MUELLER"


def test_the_command_line_says_why_a_file_is_held_and_what_its_release_will_do(sqlite_ledger, tmp_path):
    drop = Drop(tmp_path / "drop", sqlite_ledger)
    send(drop, 12, value(1, "75"), created=12)
    send(drop, 13, value(1), value(2), created=11)
    config = tmp_path / "site.toml"
    config.write_text(f'[storage]\ndata_dir = "{tmp_path}"\n')
    run = CliRunner()
    shown = run.invoke(app, ["csv", "list", "-c", str(config)]).stdout
    assert "held, OUTDATED: a file of its source that was made later is imported" in shown
    assert "TOO_MANY" not in shown
    said = run.invoke(app, ["csv", "release", "2", "-c", str(config)]).stdout
    assert "only what is not known yet will be taken" in said
