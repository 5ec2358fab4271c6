"""A site's manifest: films, truth and clinical values as those of virtual patients; what leaks is refused."""

import csv
import dataclasses
import datetime as dt
import math

import pydicom
import pytest
from rich.console import Console

from dicom_io.phantom_object import PhantomStudy, phantom_dataset
from dicom_io.radiograph import read_radiograph
from model.domain import Identifier, PatientIdentity, Sex, View
from model.phantom.cohort import sample
from model.phantom.render import render
from model.phantom.scenario import Acquisition
from model.train.material import answers, own_clinical
from model.train.people import Member
from model.train.plan import preset
from model.train.relay import bars
from model.train.site import ManifestError, SitePerson, read_rows, refuse_columns, site_material
from model.train.split import LeakageError, Split

COLUMNS = ("patient", "file", "dxa_date", "t_lumbar", "t_femoral_neck", "weight", "weight_at", "weight_available_at")
TAKEN = dt.datetime(2024, 3, 10, 9, 0, tzinfo=dt.UTC)
PEOPLE = sample(4, 11)
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
    write_film(made / "young.dcm", "young", age=49.0)
    write_film(made / "side.dcm", "side", view=View.LATERAL)
    return made


@pytest.fixture(scope="module")
def plan(folder):
    site = {"run": folder / "run", "side": 64, "processes": 1, "data": {"manifest": write_manifest(folder, ROWS)}}
    (folder / "run").mkdir()
    return preset("site", site)


def material_of(plan):
    with bars(Console(quiet=True)) as progress:
        return site_material(plan, plan.data, read_radiograph, progress)


@pytest.fixture(scope="module")
def material(plan):
    return material_of(plan)


def test_films_with_a_t_score_in_time_become_people_with_a_truth(material):
    assert [member.patient for member in material.members] == ["a", "b", "d"]
    assert [person.t_lowest for person in material.films.patients] == [-2.7, -1.2, -1.4]
    assert [person.osteoporosis for person in material.films.patients] == [True, False, False]
    assert {member.acquired_on for member in material.members} == {TAKEN.date()}
    assert material.films.images.shape == (3, 64, 64)
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
        read_rows(write_manifest(tmp_path, [], (*COLUMNS, "outcome")))


def test_a_person_of_the_training_has_no_field_for_anything_but_truth_age_sex_and_weight():
    assert {field.name for field in dataclasses.fields(SitePerson)} == {"t_lowest", "age_years", "sex", "weight_kg"}


@pytest.mark.parametrize(
    ("columns", "rows", "words"),
    [
        (("patient", "file", "t_lumbar"), [], "dxa_date"),
        (("patient", "file", "dxa_date"), [], "one of t_lumbar"),
        (COLUMNS, [("a", "", "2024-01-01", "", "", "", "", "")], "line 2 lacks"),
    ],
)
def test_a_manifest_that_lacks_something_is_refused(tmp_path, columns, rows, words):
    with pytest.raises(ManifestError, match=words):
        read_rows(write_manifest(tmp_path, rows, columns))


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


def test_one_film_under_two_patients_is_refused(plan, folder, tmp_path):
    rows = [ROWS[0], ("somebody-else", *ROWS[0][1:])]
    manifest = write_manifest(tmp_path, rows)
    (tmp_path / "a.dcm").write_bytes((folder / "a.dcm").read_bytes())
    data = plan.data.model_copy(update={"manifest": manifest})
    with pytest.raises(LeakageError, match="another patient"):
        material_of(plan.model_copy(update={"data": data}))


def test_the_clinical_model_of_a_fold_never_saw_the_fold():
    people = sample(300, 5)
    folds = tuple(tuple(range(k, 200, 2)) for k in (0, 1))
    split = Split(folds=folds, test=tuple(range(200, 300)), left_out=(), cut=TAKEN.date())
    part = own_clinical(people, split, site="people of a test", licence="none")
    other = own_clinical(
        tuple(dataclasses.replace(p, t_lowest=-p.t_lowest - 5) if i in folds[0] else p for i, p in enumerate(people)),
        split, site="people of a test", licence="none",
    )  # fmt: skip
    assert part.probabilities[list(folds[0])] == pytest.approx(other.probabilities[list(folds[0])])
    assert part.probabilities[list(folds[1])] != pytest.approx(other.probabilities[list(folds[1])], abs=0.01)
    assert "200 people of a test" in part.model.provenance
    assert part.source.count == 200
    nobody = dataclasses.replace(people[0], weight_kg=math.nan)
    assert math.isnan(answers(part.model, [nobody])[0])


def test_a_member_is_what_divides_and_holds_no_value():
    assert {field.name for field in dataclasses.fields(Member)} == {"patient", "acquired_on", "stratum"}
