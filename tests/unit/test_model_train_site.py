"""A site's manifest: films, truth and clinical values as those of virtual patients; what leaks is refused."""

import csv
import dataclasses
import datetime as dt
import math
import shutil
from zoneinfo import ZoneInfo

import numpy as np
import pydicom
import pytest
import structlog
from pydicom.uid import generate_uid
from rich.console import Console
from typer.testing import CliRunner

from dicom_io.phantom_object import PhantomStudy, phantom_dataset
from model.domain import Identifier, PatientIdentity, Sex, View
from model.phantom.cohort import sample
from model.phantom.render import render
from model.phantom.scenario import Acquisition
from model.train.material import answers, own_clinical
from model.train.people import Member, virtual_members
from model.train.plan import preset
from model.train.provenance import _one_sex
from model.train.relay import bars
from model.train.site import SitePerson, site_material
from model.train.site_rows import ManifestError, read_rows, refuse_columns
from model.train.split import LeakageError, Split, TooFewPatients
from node.commands.train import app as train_app
from node.commands.training_film import read_training_film

COLUMNS = ("patient", "file", "dxa_date", "t_lumbar", "t_femoral_neck", "weight", "weight_at", "weight_available_at")
SEOUL = ZoneInfo("Asia/Seoul")
TAKEN = dt.datetime(2024, 3, 10, 9, 0, tzinfo=dt.UTC)
PEOPLE = sample(6, 11)
ROWS = (
    ("a", "a.dcm", "2024-03-20", "-2.0", "-2.7", "61.5", "2024-03-01T08:00", ""),
    ("b", "b.dcm", "2024-06-01", "-1.2", "", "80", "2024-03-10T09:30", ""),
    ("c", "c.dcm", "2022-01-01", "-3.0", "-3.0", "55", "2024-03-01", ""),
    ("d", "d.dcm", "2024-03-10", "-1.0", "-1.4", "70", "2024-03-01T08:00", "2024-03-12T08:00"),
    ("young", "young.dcm", "2024-03-10", "-2.6", "", "60", "2024-03-01T08:00", ""),
    ("side", "side.dcm", "2024-03-10", "-2.6", "", "60", "2024-03-01T08:00", ""),
)


def write_film(path, patient, *, age=66.0, view=View.PA, seed=0):
    pixels = render(PEOPLE[seed].subject, Acquisition(), seed, (110, 90))
    identity = PatientIdentity(identifiers=(Identifier(value=patient),), sex=Sex.FEMALE)
    study = PhantomStudy(seed=path.stem, acquired_at=TAKEN, age_years=age, view=view)
    pydicom.dcmwrite(path, phantom_dataset(pixels, identity=identity, study=study), enforce_file_format=True)


def write_manifest(folder, rows, columns=COLUMNS):
    path = folder / "studies.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("site")
    for seed, name in enumerate("abcd"):
        write_film(made / f"{name}.dcm", name, seed=seed)
    write_film(made / "young.dcm", "young", age=49.0, seed=4)
    write_film(made / "side.dcm", "side", view=View.LATERAL, seed=5)
    return made


@pytest.fixture(scope="module")
def plan(folder):
    data = {"manifest": write_manifest(folder, ROWS), "zone": "UTC"}
    (folder / "run").mkdir()
    return preset("site", {"run": folder / "run", "side": 64, "processes": 1, "data": data})


def material_of(plan):
    with bars(Console(quiet=True)) as progress:
        return site_material(plan, plan.data, read_training_film, progress)


def of_manifest(plan, folder, rows, columns=COLUMNS, zone="UTC"):
    data = plan.data.model_copy(update={"manifest": write_manifest(folder, rows, columns), "zone": ZoneInfo(zone)})
    return material_of(plan.model_copy(update={"data": data}))


@pytest.fixture
def copies(folder, tmp_path):
    """A folder of a test's own with the films `a` and `b`."""
    for name in "ab":
        shutil.copy(folder / f"{name}.dcm", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def material(plan):
    return material_of(plan)


def test_films_with_a_t_score_in_time_become_people_with_a_truth(material):
    assert [member.patient for member in material.members] == ["a", "b", "d"]
    assert [person.t_lowest for person in material.films.patients] == [-2.7, -1.2, -1.4]
    assert [person.osteoporosis for person in material.films.patients] == [True, False, False]
    assert {member.acquired_on for member in material.members} == {TAKEN.date()}
    assert material.films.images.shape == (3, 64, 64)
    assert material.films.owners == ("a", "b", "d")
    assert not material.simulated
    assert material.ceiling is None


def test_no_film_of_a_person_below_50_and_no_lateral_trains_anything(material):
    assert not {"young", "side"} & {member.patient for member in material.members}


def test_no_post_study_value_reaches_a_person(material):
    weights = [person.weight_kg for person in material.films.patients]
    assert weights[0] == 61.5
    assert math.isnan(weights[1])  # measured half an hour after the film
    assert math.isnan(weights[2])  # measured before, known two days after


def test_the_second_run_reads_no_film_again(plan, material, folder, monkeypatch):
    for name in "abcd":
        (folder / f"{name}.dcm").touch()
    again = material_of(plan)
    assert [p.t_lowest for p in again.films.patients] == [p.t_lowest for p in material.films.patients]
    kept = len(list((plan.run / "site-films").glob("*.safetensors")))
    material_of(plan)
    assert len(list((plan.run / "site-films").glob("*.safetensors"))) == kept


@pytest.mark.parametrize(
    "column", ["bmd_neck", "BMD", "t_score", "Z_Score", "frax_major", "TBS", "dexa_result", "t_forearm"]
)
def test_a_column_that_comes_from_dxa_is_refused(column):
    with pytest.raises(LeakageError, match="comes from DXA"):
        refuse_columns((*COLUMNS, column))


def test_a_column_nobody_thought_of_is_refused_too(tmp_path):
    with pytest.raises(LeakageError, match="not one that training uses"):
        refuse_columns((*COLUMNS, "alendronate"))
    with pytest.raises(LeakageError, match="'outcome'"):
        read_rows(write_manifest(tmp_path, [], (*COLUMNS, "outcome")), SEOUL)


def test_a_person_of_the_training_has_no_field_for_anything_but_truth_age_sex_and_weight():
    assert {field.name for field in dataclasses.fields(SitePerson)} == {"t_lowest", "age_years", "sex", "weight_kg"}


@pytest.mark.parametrize(
    ("columns", "rows", "words"),
    [
        (("patient", "file", "t_lumbar"), [], "it lacks dxa_date, weight, weight_at"),
        (("patient", "file", "dxa_date", "t_lumbar"), [], "it lacks weight, weight_at"),
        (("patient", "file", "dxa_date", "weight", "weight_at"), [], "it lacks a T-score"),
        (COLUMNS, [("a", "", "2024-01-01", "", "", "", "", "")], "line 2 lacks"),
        (COLUMNS, [("a", "a.dcm")], "line 2 lacks"),
        (COLUMNS, [("a", "a.dcm", "2024-01-01", "-2", "5", "", "", "", "")], "line 2 has more cells"),
        (COLUMNS, [("a", "gone.dcm", "2024-01-01", "", "", "", "", "")], "line 2: file names no file"),
    ],
)
def test_a_manifest_that_lacks_something_is_refused(copies, columns, rows, words):
    with pytest.raises(ManifestError, match=words):
        read_rows(write_manifest(copies, rows, columns), SEOUL)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("t_lumbar", "-99", "t_lumbar is not between -10 and 10"),
        ("t_lumbar", "999", "t_lumbar is not between -10 and 10"),
        ("t_lumbar", "inf", "t_lumbar is not between -10 and 10"),
        ("age", "999", "age is not between 0 and 130"),
        ("sex", "Female", "sex is none of F, M, O, U"),
    ],
)
def test_a_cell_that_says_nothing_is_refused_with_its_line_before_any_film_is_read(copies, column, value, words):
    columns = ("patient", "file", "dxa_date", "t_lumbar", "weight", "weight_at", "age", "sex")
    fine = {"patient": "a", "file": "a.dcm", "dxa_date": "2024-03-20", "t_lumbar": "-2", "sex": "F", "age": "70"}
    rows = [[own.get(name, "") for name in columns] for own in (fine, fine | {column: value})]
    with pytest.raises(ManifestError, match=f"line 3: {words}"):
        read_rows(write_manifest(copies, rows, columns), SEOUL)


def test_a_manifest_in_another_encoding_is_refused_in_one_line(tmp_path):
    path = tmp_path / "studies.csv"
    path.write_bytes(f"{','.join(COLUMNS)}\nMüller,a.dcm,2024-03-20,-2,,,,\n".encode("latin-1"))
    with pytest.raises(ManifestError, match=r"studies\.csv: not in UTF-8") as caught:
        read_rows(path, SEOUL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("a", "a.dcm", "20th March", "-2", "", "", "", ""), "line 2: dxa_date"),
        (("a", "a.dcm", "2024-03-20", "low", "", "", "", ""), "line 2: t_lumbar"),
        (("a", "a.dcm", "2020-03-20", "-2", "", "", "", ""), "no film is left"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_by_its_number(plan, folder, tmp_path, row, words):
    manifest = write_manifest(tmp_path, [row])
    (tmp_path / "a.dcm").write_bytes((folder / "a.dcm").read_bytes())
    data = plan.data.model_copy(update={"manifest": manifest})
    with pytest.raises(ManifestError, match=words):
        material_of(plan.model_copy(update={"data": data}))


def copy_of_a(folder, name):
    """The film `a` under another name: in another spelling, byte by byte, or with an identity of its own."""
    if name == "copy.dcm":
        shutil.copy(folder / "a.dcm", folder / name)
    if name == "new-uid.dcm":
        dataset = pydicom.dcmread(folder / "a.dcm")
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.save_as(folder / name)
    return name


@pytest.mark.parametrize("name", ["a.dcm", "./a.dcm", "copy.dcm", "new-uid.dcm"])
def test_one_film_under_two_patients_is_refused_by_whatever_name(plan, copies, name):
    rows = [ROWS[0], ("somebody-else", copy_of_a(copies, name), *ROWS[0][2:])]
    with pytest.raises(LeakageError, match="line 3: its film is that of line 2, another patient's"):
        of_manifest(plan, copies, rows)


def test_the_repeats_of_a_film_train_nothing(plan, copies):
    again = [("a", copy_of_a(copies, name), *ROWS[0][2:]) for name in ("./a.dcm", "copy.dcm", "new-uid.dcm")]
    with structlog.testing.capture_logs() as log:
        assert of_manifest(plan, copies, [ROWS[0], *again, ROWS[1]]).films.owners == ("a", "b")
    assert {"event": "train.site.files", "log_level": "info", "files": 4, "unread": 0, "repeats": 2} in log


def test_files_that_hold_no_film_are_named_by_their_line_and_the_others_train(plan, copies):
    (copies / "note.dcm").write_text("no dicom")
    broken = pydicom.dcmread(copies / "b.dcm")
    broken.PixelData = broken.PixelData[:100]
    broken.save_as(copies / "broken.dcm")
    rows = [("x", "note.dcm", *ROWS[0][2:]), ROWS[0], ("y", "broken.dcm", *ROWS[0][2:])]
    with structlog.testing.capture_logs() as log:
        assert of_manifest(plan, copies, rows).films.owners == ("a",)
    told = [(line["line"], line["code"]) for line in log if line["event"] == "train.site.unread"]
    assert told == [(2, "HEADER-INVALID"), (4, "PIXEL-DECODE")]
    assert {"event": "train.site.files", "log_level": "info", "files": 3, "unread": 2, "repeats": 0} in log
    with pytest.raises(ManifestError, match="no film is left"):
        of_manifest(plan, copies, rows[::2])


def test_a_weight_from_after_the_film_is_none_in_the_sites_own_time(plan, copies):
    dataset = pydicom.dcmread(copies / "a.dcm")
    del dataset.TimezoneOffsetFromUTC  # so 09:00 is the site's
    dataset.save_as(copies / "a.dcm")
    five_hours_later = (*ROWS[0][:6], "2024-03-10T14:00+09:00", "")
    earlier = ("b", "b.dcm", "2024-03-20", "-2.0", "", "70", "2024-03-10T17:59", "")  # in Seoul: of 08:59 UTC
    of_both = of_manifest(plan, copies, [five_hours_later, earlier], zone="Asia/Seoul").films.patients
    assert math.isnan(of_both[0].weight_kg)
    assert of_both[1].weight_kg == 70
    kept = of_manifest(plan, copies, [five_hours_later], zone="UTC").films.patients
    assert kept[0].weight_kg == 61.5  # at 05:00 UTC, before 09:00 UTC: the film was read again in this zone


def test_the_clinical_model_of_a_fold_never_saw_the_fold():
    people = sample(300, 5)
    folds = tuple(tuple(range(k, 200, 2)) for k in (0, 1))
    split = Split(folds=folds, test=tuple(range(200, 300)), left_out=(), cut=TAKEN.date())
    members = virtual_members(people)
    part = own_clinical(people, members, split, site="people of a test", licence="none")
    other = own_clinical(
        tuple(dataclasses.replace(p, t_lowest=-p.t_lowest - 5) if i in folds[0] else p for i, p in enumerate(people)),
        members, split, site="people of a test", licence="none",
    )  # fmt: skip
    assert part.probabilities[list(folds[0])] == pytest.approx(other.probabilities[list(folds[0])])
    assert part.probabilities[list(folds[1])] != pytest.approx(other.probabilities[list(folds[1])], abs=0.01)
    assert "200 people of a test" in part.model.provenance
    assert part.source.count == 200
    nobody = dataclasses.replace(people[0], weight_kg=math.nan)
    assert math.isnan(answers(part.model, [nobody])[0])


def test_a_member_is_what_divides_and_holds_no_value():
    assert {field.name for field in dataclasses.fields(Member)} == {"patient", "acquired_on", "stratum"}


def clinical_of(people, members):
    folds = tuple(tuple(i for i in range(200) if i // 2 % 2 == k) for k in (0, 1))
    split = Split(folds=folds, test=tuple(range(200, 300)), left_out=(), cut=TAKEN.date())
    return own_clinical(people, members, split, site="people of a test", licence="none")


def test_a_clinical_model_of_one_sex_says_nothing_about_the_other():
    people = tuple(dataclasses.replace(p, sex=Sex.FEMALE) for p in sample(300, 5))
    model = clinical_of(people, virtual_members(people)).model
    person = {"age_years": 70.0, "weight_kg": 60.0}
    assert 0 < model.probability(sex=Sex.FEMALE, **person)[0] < 1
    assert model.probability(sex=Sex.MALE, **person) is None
    assert _one_sex(model) == ("The clinical model saw no men; a result of theirs rests on the image alone.",)
    assert (model.knows(Sex.FEMALE), model.knows(Sex.MALE), model.knows(Sex.UNKNOWN)) == (True, False, False)


def test_people_of_one_class_or_without_weights_are_too_few_for_a_clinical_model():
    people = sample(300, 5)
    members = virtual_members(people)
    for changes in ({"t_lowest": 0.0}, {"weight_kg": math.nan}, {"weight_kg": 60.0}):
        with pytest.raises(TooFewPatients, match="the clinical model"):
            clinical_of(tuple(dataclasses.replace(p, **changes) for p in people), members)


def test_a_patient_with_several_films_counts_once_in_the_clinical_model():
    people = sample(300, 5)
    doubled = [m for m in virtual_members(people[:150]) for _ in range(2)]
    part = clinical_of(people, doubled)
    assert part.source.count == 100
    assert "on 100 people of a test" in part.model.provenance
    latest = tuple(dataclasses.replace(p, t_lowest=9.0) if i % 2 == 0 and i < 200 else p for i, p in enumerate(people))
    assert np.array_equal(clinical_of(latest, doubled).probabilities, part.probabilities, equal_nan=True)


def test_what_a_run_cannot_use_ends_the_command_in_one_line(copies):
    write_manifest(copies, ROWS[:2])
    lines = [
        'name = "my-hospital"', 'title = "x"', f'out = "{copies}/out"', f'run = "{copies}/run"', "processes = 1",
        "side = 64", f'gate_films = "{copies}"', "[data]", 'kind = "site"', f'manifest = "{copies}/studies.csv"',
        'site = "patients"', 'licence = "none"', 'intended_use = "Tests."', 'zone = "UTC"',
    ]  # fmt: skip
    (copies / "run.toml").write_text("\n".join(lines))
    ended = CliRunner().invoke(train_app, ["--config", str(copies / "run.toml")])
    assert ended.exit_code == 2
    said = [line for line in ended.output.splitlines() if line.startswith("osteon: ")]
    assert said == ["osteon: 2 patients are too few for 5 folds and a hold-out of 0.15"]
