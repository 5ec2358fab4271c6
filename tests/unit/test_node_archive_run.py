"""The archive run: a crew that survives its members, a table that goes on where it was stopped, an honest head."""

import dataclasses
import errno
import functools
import math
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.dicom_objects import radiograph_dataset, write
from support.tiny_bundle import copy_tiny_bundle

from config.settings import Model, Reception, Settings, SettingsError
from model.bundle import load_bundle
from model.domain import Sex
from model.screener import STATED_DECIMALS, Screener
from node.archive_jobs import Job, jobs_of
from node.archive_rows import COLUMNS, FAILED, NOT_ASSESSED, SCREENED, Row, Table, beside
from node.archive_run import _refuse_vanished, by_reason
from node.archive_screening import _head, _printed
from node.crew import Crew, Died, NeverReady
from node.serve import worker_count

HEAD = ("Osteon 1, model demo (TRAINED ON SIMULATED IMAGES - NOT FOR CLINICAL USE)", "second")


def greeting(answer):
    """`begin` of a crew: what it says first, and what it does with a job."""
    return "ready, by root", answer


def new_greeting(said, answer):
    """`begin` that says what stands in the file `said`, and puts something else there for who begins next."""
    text = said.read_text()
    said.write_text("another model")
    return text, answer


def test_a_member_that_begins_otherwise_than_the_first_did_ends_the_run(tmp_path):
    (tmp_path / "said").write_text("the model")
    crew = Crew(functools.partial(new_greeting, tmp_path / "said", os._exit), 1)
    try:
        with pytest.raises(NeverReady, match="'the model': 'another model'; start anew"):
            list(crew.work([7, 8]))
    finally:
        crew.dismiss()


@pytest.mark.parametrize("asked_first", [True, False])
def test_a_crew_says_hello_and_answers_every_job_once(asked_first):
    crew = Crew(functools.partial(greeting, math.sqrt), 2)
    try:
        if asked_first:
            assert crew.hello() == "ready, by root"
        answers = dict(crew.work([1.0, 4.0, 9.0, 16.0, 25.0]))
        assert crew.hello() == "ready, by root"
    finally:
        crew.dismiss()
    assert answers == {1.0: 1.0, 4.0: 2.0, 9.0: 3.0, 16.0: 4.0, 25.0: 5.0}


def test_a_crew_without_work_says_hello_all_the_same():
    crew = Crew(functools.partial(greeting, math.sqrt), 0)
    try:
        assert crew.hello() == "ready, by root"
        assert list(crew.work([])) == []
    finally:
        crew.dismiss()


def test_a_member_that_dies_takes_its_own_job_along_only():
    crew = Crew(functools.partial(greeting, os._exit), 1)
    try:
        answers = list(crew.work([3, 7]))
    finally:
        crew.dismiss()
    assert answers == [(3, Died(cause="STATUS-3")), (7, Died(cause="STATUS-7"))]


def end_at(number, job):
    """What a member does with a job: it dies of one of them, slowly enough that the next is in its hands."""
    if job == number:
        time.sleep(0.2)
        os._exit(3)
    return job


def test_what_a_member_had_at_hand_when_it_died_is_done_by_another_and_nothing_twice():
    crew = Crew(functools.partial(greeting, functools.partial(end_at, 4)), 2)
    try:
        answers = list(crew.work(range(20)))
    finally:
        crew.dismiss()
    assert sorted(job for job, _ in answers) == list(range(20))
    assert [(job, answer) for job, answer in answers if job != answer] == [(4, Died(cause="STATUS-3"))]


def whose(_job):
    """Who does a job, slowly enough that another could take the next."""
    time.sleep(0.3)
    return os.getpid()


def test_nobodys_last_job_waits_while_another_is_free():
    crew = Crew(functools.partial(greeting, whose), 2)
    try:
        while not all(member.ready for member in crew._members):
            list(crew.work([0]))
        assert len({who for _, who in crew.work([1, 2])}) == 2
    finally:
        crew.dismiss()


def test_a_crew_that_cannot_begin_says_why():
    crew = Crew(functools.partial(math.sqrt, -1.0), 1)
    try:
        with pytest.raises(NeverReady, match=r"math domain error|nonnegative"):
            list(crew.work([1]))
    finally:
        crew.dismiss()
    crew = Crew(functools.partial(os._exit, 5), 2)
    try:
        with pytest.raises(NeverReady, match="status 5"):
            crew.hello()
    finally:
        crew.dismiss()


def test_who_hires_the_crew_loads_neither_model_nor_decoder():
    heavy = ("torch", "openvino", "cv2", "imagecodecs", "scipy", "pydicom", "sqlalchemy")
    code = f"import sys, node.archive_views; print(sorted(m for m in {heavy} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def rows():
    return [
        Row(file="b.dcm", status=NOT_ASSESSED, codes="BODY_PART"),
        Row(file="a.dcm", status=SCREENED, category="BELOW", probability="0.1000"),
        Row(file="c.dcm", status=FAILED, codes="PIXEL-DECODE"),
    ]


def test_a_run_that_was_stopped_goes_on_and_failed_files_are_tried_again(tmp_path):
    table = Table(tmp_path / "r.csv", HEAD)
    for row in rows():
        table.append(row)
    assert set(Table(tmp_path / "r.csv", HEAD).known()) == {"a.dcm", "b.dcm"}
    table.finish(rows())
    assert set(Table(tmp_path / "r.csv", HEAD).known()) == {"a.dcm", "b.dcm"}
    assert not (tmp_path / "r.csv.part").exists()


def test_a_line_cut_off_by_a_power_cut_is_no_row(tmp_path):
    table = Table(tmp_path / "r.csv", HEAD)
    for row in rows():
        table.append(row)
    part = tmp_path / "r.csv.part"
    part.write_bytes(part.read_bytes()[:-30])
    assert set(Table(tmp_path / "r.csv", HEAD).known()) == {"a.dcm", "b.dcm"}


def test_the_same_rows_in_any_order_are_the_same_bytes_with_the_head_first(tmp_path):
    for name, found in (("1.csv", rows()), ("2.csv", rows()[::-1])):
        Table(tmp_path / name, HEAD).finish(found)
    first = (tmp_path / "1.csv").read_bytes()
    assert first == (tmp_path / "2.csv").read_bytes()
    lines = first.decode().splitlines()
    assert lines[0] == f"# {HEAD[0]}"
    assert lines[2] == ",".join(COLUMNS)
    assert [line.split(",")[0] for line in lines[3:]] == ["a.dcm", "b.dcm", "c.dcm"]


def test_a_table_of_another_model_is_never_continued(tmp_path):
    Table(tmp_path / "r.csv", HEAD).finish(rows())
    with pytest.raises(SettingsError, match="another model"):
        Table(tmp_path / "r.csv", ("Osteon 2", "second")).known()
    (tmp_path / "x.csv").write_text("my,own,table\n")
    with pytest.raises(SettingsError, match="no results table"):
        Table(tmp_path / "x.csv", HEAD).known()


def test_a_table_whose_rows_do_not_say_what_they_rest_on_is_never_continued(tmp_path):
    older = [",".join(COLUMNS[:-1]), "a.dcm,screened" + "," * (len(COLUMNS) - 3)]
    (tmp_path / "r.csv").write_text("\n".join([f"# {HEAD[0]}", *older, ""]))
    with pytest.raises(SettingsError, match="which input they rest on: none can be taken over; give another --out"):
        Table(tmp_path / "r.csv", HEAD).known()


def test_the_line_in_which_two_heads_differ_is_said(tmp_path):
    Table(tmp_path / "r.csv", HEAD).finish(rows())
    with pytest.raises(SettingsError, match=r"setting.*The table says '# second', this run '# third'"):
        Table(tmp_path / "r.csv", (HEAD[0], "third")).known()


def test_every_setting_a_row_rests_on_stands_in_the_head(tmp_path):
    screener = Screener(load_bundle(copy_tiny_bundle(tmp_path / "tiny")))
    settings = [
        Settings(),
        Settings(model=Model(minimum_age=55)),
        Settings(model=Model(site_prevalence=0.04)),
        Settings(model=Model(site_prevalence=0.0400001)),
        Settings(reception=Reception(accept_secondary_capture=True)),
    ]
    heads = [_head(own, screener, half) for own in settings for half in (None, 1600)]
    assert len(set(heads)) == len(heads)
    assert f", model {screener.facts.bundle_id} (" in heads[0][0], "`osteon evaluate --site` looks for it there"


@given(st.floats(0, 1), st.floats(0, 1))
def test_what_is_printed_falls_on_the_same_side_of_a_threshold_as_what_was_compared(p, t):
    p, t = round(p, STATED_DECIMALS), round(t, STATED_DECIMALS)
    assert (float(_printed(p)), float(_printed(t))) == (p, t)


def test_a_job_is_another_once_its_file_or_what_is_stated_of_it_changes(tmp_path):
    film = tmp_path / "a.dcm"
    film.write_bytes(b"film")
    os.utime(film, ns=(5, 5))
    job = Job(file="a.dcm", path=film, age_years=71.0, sex=Sex.FEMALE, weight_kg=58.0)
    stated = ({"age_years": 45.0}, {"age_years": None}, {"sex": Sex.MALE}, {"weight_kg": 59.0}, {"weight_kg": None})
    digests = [job.digest(), *(dataclasses.replace(job, **other).digest() for other in stated)]
    for content, at in ((b"film", 6), (b"films", 5)):
        film.write_bytes(content)
        os.utime(film, ns=(at, at))
        digests.append(job.digest())
    assert len(set(digests)) == len(digests)
    film.write_bytes(b"film")
    os.utime(film, ns=(5, 5))
    assert job.digest() == digests[0]
    assert dataclasses.replace(job, path=tmp_path / "none.dcm").digest() == ""


def test_jobs_of_a_folder_and_of_a_manifest(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.dcm", "deep/a.dcm"):
        write(tmp_path / name, radiograph_dataset(np.zeros((8, 8), np.uint16)))
    assert [job.file for job in jobs_of(tmp_path)] == ["b.dcm", "deep/a.dcm"]
    manifest = tmp_path / "m.csv"
    manifest.write_text("file,age_years,sex,weight_kg\ndeep/a.dcm,71.5,F,58\nb.dcm,,,\n")
    second, first = jobs_of(manifest)
    assert (first.age_years, first.sex, first.weight_kg) == (71.5, Sex.FEMALE, 58.0)
    assert first.path == tmp_path / "deep" / "a.dcm"
    assert (second.age_years, second.sex, second.weight_kg) == (None, Sex.UNKNOWN, None)


@pytest.mark.parametrize(
    "text",
    [
        "path\na.dcm\n",
        "file,dxa\na,1\n",
        "file,sex\na,W\n",
        "file,age_years\na,old\n",
        "file,age_years\na,nan\n",
        "file,weight_kg\na,-58\n",
        "file\na\na\n",
        "sex,file\nF\n",
        "file\nM\u00fcller.dcm\n",
    ],
)
def test_a_manifest_that_is_not_one_is_refused(tmp_path, text):
    manifest = tmp_path / "m.csv"
    manifest.write_text(text, encoding="latin-1")
    with pytest.raises(SettingsError, match=r"m\.csv"):
        jobs_of(manifest)


def test_failures_are_counted_by_reason():
    assert by_reason(tuple(rows())) == {"BODY_PART": 1, "PIXEL-DECODE": 1}


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 1), (4, 3), (5, 5), (16, 16)])
def test_automatic_workers_leave_a_core_to_reception_on_small_hosts(monkeypatch, cores, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert worker_count(Model()) == expected
    assert worker_count(Model(workers=7)) == 7


def test_an_empty_archive_is_refused_before_its_table_is_touched(tmp_path):
    (tmp_path / "mount").mkdir()
    with pytest.raises(SettingsError, match=r"holds no file to screen; is the archive mounted\?"):
        jobs_of(tmp_path / "mount")
    (tmp_path / "m.csv").write_text("file\n")
    with pytest.raises(SettingsError, match="holds no file"):
        jobs_of(tmp_path / "m.csv")


def test_a_table_most_of_whose_files_are_gone_is_not_replaced(tmp_path):
    _refuse_vanished(tmp_path / "r.csv", {"a", "b"}, {"b": "1"})
    _refuse_vanished(tmp_path / "r.csv", set(), {})
    with pytest.raises(SettingsError, match=r"2 of the 3 files it knows are not there, 'a' for one"):
        _refuse_vanished(tmp_path / "r.csv", {"b", "a", "c"}, {"c": "1"})


def test_a_manifest_whose_archive_is_away_does_not_replace_the_table(tmp_path):
    (tmp_path / "m.csv").write_text("file\nmount/a.dcm\nmount/b.dcm\n")
    inputs = {job.file: job.digest() for job in jobs_of(tmp_path / "m.csv")}
    with pytest.raises(SettingsError, match="2 of the 2 files it knows are not there"):
        _refuse_vanished(tmp_path / "r.csv", inputs.keys(), inputs)


def test_links_to_folders_are_followed_once_and_an_unreadable_folder_is_named(tmp_path, monkeypatch):
    source, far = tmp_path / "source", tmp_path / "far"
    for folder in (source / "sub", far):
        folder.mkdir(parents=True)
        (folder / "a.dcm").write_bytes(b"x")
    (source / "linked").symlink_to(far)
    (far / "round").symlink_to(source)
    assert [job.file for job in jobs_of(source)] == ["linked/a.dcm", "sub/a.dcm"]
    scandir = os.scandir

    def closed(place):
        if str(place).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(SettingsError, match=r"sub: cannot be read \(Permission denied\)"):
        jobs_of(source)


def test_a_link_that_leads_nowhere_is_no_file_left_out(tmp_path):
    (tmp_path / "disk2").symlink_to(tmp_path / "away")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert [job.file for job in jobs_of(tmp_path)] == ["disk2", "loop"]


def test_what_the_node_makes_itself_is_not_screened(tmp_path):
    out, data = tmp_path / "r.csv", tmp_path / "osteon-data"
    data.mkdir()
    for path in (tmp_path / "a.dcm", out, *beside(out), data / "x.bin"):
        path.write_bytes(b"x")
    assert [job.file for job in jobs_of(tmp_path, ours=(out, *beside(out), data))] == ["a.dcm"]


@pytest.mark.parametrize("cut", [1, 3, 20])
def test_a_torn_row_is_cut_off_before_another_is_written(tmp_path, cut):
    table = Table(tmp_path / "r.csv", HEAD)
    for row in rows():
        table.append(row)
    part = beside(tmp_path / "r.csv")[0]
    part.write_bytes(part.read_bytes()[:-cut])
    for _ in range(2):
        again = Table(tmp_path / "r.csv", HEAD)
        assert set(again.known()) == {"a.dcm", "b.dcm"}
        again.append(Row(file="d.dcm", status=FAILED, codes="X"))


def test_a_part_that_was_torn_in_its_head_counts_as_none(tmp_path):
    table = Table(tmp_path / "r.csv", HEAD)
    part = beside(tmp_path / "r.csv")[0]
    for torn in (b"", table._begin().encode()[:7], table._begin().encode()[:-1]):
        part.write_bytes(torn)
        assert table.known() == {}
    table.append(rows()[0])
    assert set(Table(tmp_path / "r.csv", HEAD).known()) == {"b.dcm"}


def test_a_row_torn_within_a_name_that_holds_a_newline_is_cut_off_whole(tmp_path):
    table = Table(tmp_path / "r.csv", HEAD)
    table.append(rows()[0])
    with beside(tmp_path / "r.csv")[0].open("ab") as part:
        part.write(b'"two\nli')
    again = Table(tmp_path / "r.csv", HEAD)
    again.known()
    again.append(Row(file="d.dcm", status=NOT_ASSESSED, codes="X"))
    assert set(Table(tmp_path / "r.csv", HEAD).known()) == {"b.dcm", "d.dcm"}


@pytest.mark.parametrize("foreign", [b"a download", b"of somebody\n" * 40 + b"else"])
def test_a_part_of_another_program_is_left_as_it_is(tmp_path, foreign):
    part = beside(tmp_path / "r.csv")[0]
    part.write_bytes(foreign)
    with pytest.raises(SettingsError, match="is no results table"):
        Table(tmp_path / "r.csv", HEAD).known()
    assert part.read_bytes() == foreign


@pytest.mark.parametrize("name", ["M\udcfcller.dcm", "two\nlines.dcm", "a\rb.dcm", "x\u2028y.dcm"])
def test_every_name_a_file_can_have_is_written_and_read_again(tmp_path, name):
    row = Row(file=name, status=NOT_ASSESSED, codes="BODY_PART")
    Table(tmp_path / "r.csv", HEAD).append(row)
    assert Table(tmp_path / "r.csv", HEAD).known() == {name: row}
    Table(tmp_path / "r.csv", HEAD).finish([row])
    assert Table(tmp_path / "r.csv", HEAD).known() == {name: row}


def test_a_full_disk_is_one_line_and_keeps_what_is_done(tmp_path, monkeypatch):
    table = Table(tmp_path / "r.csv", HEAD)
    table.append(rows()[0])

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingsError, match=r"No space left on device\); mend that and start again"):
        table.finish(rows())
    assert [path.name for path in tmp_path.iterdir()] == ["r.csv.part"]
