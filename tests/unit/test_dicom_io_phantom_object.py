import datetime as dt
import subprocess
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.pixels import apply_voi_lut
from support.tools import require_tool

from dicom_io.acceptance import refusals, stated_view
from dicom_io.header import patient_identity
from dicom_io.phantom_object import SIMULATED, PhantomStudy, Polarity, phantom_dataset
from model.domain import (
    AssigningAuthority,
    Identifier,
    NameGroup,
    PatientIdentity,
    PersonName,
    Reason,
    Sex,
    View,
)
from model.phantom.render import render
from model.phantom.scenario import Acquisition
from model.phantom.subject import Subject

HOSPITAL = AssigningAuthority(namespace="HOSP", universal_id="1.2.3.4", universal_id_type="ISO")
WHO = PatientIdentity(
    identifiers=(Identifier(value="0012345", authority=HOSPITAL), Identifier(value="OLD-7")),
    name=PersonName(
        alphabetic=NameGroup(family="Phantom", given="Ann"), ideographic=NameGroup(family="山田", given="花")
    ),
    birth_date=dt.date(1950, 5, 1),
    sex=Sex.FEMALE,
)
WHEN = dt.datetime(2026, 3, 1, 9, 5, 7, tzinfo=ZoneInfo("Asia/Seoul"))
STUDY = PhantomStudy(seed="demo/1", acquired_at=WHEN, accession_number="A0001", study_id="17")


@pytest.fixture(scope="module")
def film():
    return render(Subject(), Acquisition(), 3, (96, 80))


def written(path, dataset):
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def test_the_object_is_a_dx_image_for_presentation_that_says_what_it_is(film):
    dataset = phantom_dataset(film, identity=WHO, study=STUDY)

    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.1"
    assert (dataset.Modality, dataset.PresentationIntentType) == ("DX", "FOR PRESENTATION")
    assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation) == (16, 12, 11, 0)
    assert (dataset.Rows, dataset.Columns) == (96, 80)
    assert dataset.ImageComments == SIMULATED == "SIMULATED PHANTOM - NOT A PATIENT"
    assert "phantom" in dataset.Manufacturer
    assert dataset.ManufacturerModelName != "Osteon"
    assert (dataset.StudyDate, dataset.StudyTime, dataset.TimezoneOffsetFromUTC) == ("20260301", "090507", "+0900")
    assert (dataset.AccessionNumber, dataset.StudyID, dataset.PatientAge) == ("A0001", "17", "075Y")
    assert (dataset.BodyPartExamined, dataset.ViewPosition) == ("CHEST", "PA")
    assert list(dataset.PatientOrientation) == ["L", "F"]
    assert dataset.ImagerPixelSpacing == dataset.PixelSpacing == [4.479167, 4.479167]


def test_the_gate_takes_it_for_a_frontal_chest_and_the_identity_comes_back(film, tmp_path):
    path = written(tmp_path / "film.dcm", phantom_dataset(film, identity=WHO, study=STUDY))

    header = pydicom.dcmread(path)

    assert refusals(header) == ()
    assert stated_view(header) is View.PA
    assert patient_identity(header) == WHO


def test_an_issuer_nobody_stated_is_not_written(film):
    someone = PatientIdentity(identifiers=(Identifier(value="0012345"),), sex=Sex.MALE)

    dataset = phantom_dataset(film, identity=someone, study=STUDY)

    assert dataset.PatientID == "0012345"
    assert "IssuerOfPatientID" not in dataset
    assert "IssuerOfPatientIDQualifiersSequence" not in dataset
    assert "PatientAge" not in dataset
    assert dataset.PatientBirthDate == ""


@pytest.mark.parametrize("polarity", Polarity)
def test_both_polarities_show_the_rendered_picture(film, polarity, tmp_path):
    path = written(tmp_path / "film.dcm", phantom_dataset(film, identity=WHO, study=STUDY, polarity=polarity))

    dataset = pydicom.dcmread(path)
    shown = apply_voi_lut(dataset.pixel_array, dataset) / 4095
    if polarity is Polarity.MONOCHROME1:
        shown = 1 - shown

    assert dataset.PhotometricInterpretation == polarity.value
    assert np.abs(shown - film).max() < 1 / 4095


def test_the_same_arguments_give_the_same_bytes_and_uids(film, tmp_path):
    first, second = (
        written(tmp_path / name, phantom_dataset(film, identity=WHO, study=STUDY)).read_bytes() for name in ("a", "b")
    )

    assert first == second


def test_films_of_a_study_share_it_and_other_studies_do_not(film):
    first = phantom_dataset(film, identity=WHO, study=STUDY)
    next_film = PhantomStudy(seed="demo/1", acquired_at=WHEN, instance_number=2)
    second = phantom_dataset(film, identity=WHO, study=next_film)
    other = phantom_dataset(film, identity=WHO, study=PhantomStudy(seed="demo/2", acquired_at=WHEN))

    assert first.StudyInstanceUID == second.StudyInstanceUID != other.StudyInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID != other.SeriesInstanceUID
    assert len({one.SOPInstanceUID for one in (first, second, other)}) == 3
    assert all(one.SOPInstanceUID.is_valid and one.SOPInstanceUID.startswith("2.25.") for one in (first, second, other))


@given(seed=st.text(max_size=200))
def test_any_seed_names_valid_uids(seed):
    film = np.full((4, 4), 0.5, np.float32)

    dataset = phantom_dataset(film, identity=WHO, study=PhantomStudy(seed=seed, acquired_at=WHEN))

    assert dataset.SOPInstanceUID.is_valid
    assert dataset.StudyInstanceUID.is_valid


def test_a_stated_age_and_spacing_are_written_and_a_naive_time_states_no_offset(film):
    local = WHEN.replace(tzinfo=None)
    study = PhantomStudy(seed="x", acquired_at=local, age_years=49.9, pixel_spacing_mm=0.172)

    dataset = phantom_dataset(film, identity=PatientIdentity(), study=study)

    assert dataset.PatientAge == "049Y"
    assert dataset.PixelSpacing == [0.172, 0.172]
    assert "TimezoneOffsetFromUTC" not in dataset
    assert (dataset.PatientID, dataset.PatientSex) == ("", "")


@pytest.mark.parametrize("pixels", [np.full((4, 4), 1.5), np.full((4, 4), np.nan), np.zeros((2, 4, 4))])
def test_what_is_no_picture_is_refused(pixels):
    with pytest.raises(ValueError, match="2-D image"):
        phantom_dataset(pixels.astype(np.float32), identity=WHO, study=STUDY)


def test_a_phantom_of_an_unknown_view_does_not_exist(film):
    with pytest.raises(ValueError, match="frontal or a lateral"):
        phantom_dataset(film, identity=WHO, study=PhantomStudy(seed="x", acquired_at=WHEN, view=View.UNKNOWN))


def test_a_lateral_phantom_says_so_in_a_series_of_its_own_and_the_header_rules_refuse_it(film):
    frontal = phantom_dataset(film, identity=WHO, study=STUDY)

    lateral = phantom_dataset(
        film, identity=WHO, study=PhantomStudy(seed="demo/1", acquired_at=WHEN, view=View.LATERAL, instance_number=2)
    )

    assert (lateral.ViewPosition, lateral.SeriesNumber, list(lateral.PatientOrientation)) == ("LL", 2, ["P", "F"])
    assert lateral.StudyInstanceUID == frontal.StudyInstanceUID
    assert lateral.SeriesInstanceUID != frontal.SeriesInstanceUID
    assert stated_view(lateral) is View.LATERAL
    assert refusals(lateral) == (Reason.VIEW_LATERAL,)


@pytest.mark.parametrize("polarity", Polarity)
@pytest.mark.parametrize("view", [View.PA, View.AP, View.LATERAL])
@pytest.mark.parametrize("who", [WHO, PatientIdentity()])
def test_dciodvfy_finds_no_error(film, polarity, view, who, tmp_path):
    dciodvfy = require_tool("dciodvfy")
    study = PhantomStudy(seed="demo/1", acquired_at=WHEN, view=view)
    path = written(tmp_path / "film.dcm", phantom_dataset(film, identity=who, study=study, polarity=polarity))

    run = subprocess.run([dciodvfy, str(path)], check=False, capture_output=True, text=True)

    assert "Error" not in run.stdout + run.stderr
    assert "DXImageForPresentation" in run.stdout + run.stderr


def test_the_phantom_object_needs_no_torch():
    code = "import sys, dicom_io.phantom_object; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
