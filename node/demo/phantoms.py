"""Simulated patients with a known truth: their films as DX objects, their names plainly made up."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_io.envelope import part10
from dicom_io.phantom_object import PhantomStudy, phantom_dataset
from dicom_io.storage_scu import OutgoingObject
from model.domain import AssigningAuthority, Identifier, NameGroup, PatientIdentity, PersonName, View
from model.phantom.cohort import VirtualPatient, sample
from model.phantom.render import pixel_spacing_mm, render
from model.phantom.scenario import draw_acquisition
from model.phantom.unfit.lateral import render_lateral

ISSUER = AssigningAuthority(namespace="OSTEON-DEMO")
_POOL = 400
_YEAR_DAYS = 365.25
_COLUMNS_PER_ROW = 0.82
"""Of a 43 x 35 cm detector, upright: the usual chest film."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomFilm:
    """One virtual patient with a film, ready to be sent."""

    patient: VirtualPatient
    identity: PatientIdentity
    accession: str
    study_uid: str
    view: View
    object: OutgoingObject


def demo_patients(count: int, seed: int) -> tuple[VirtualPatient, ...]:
    """Women and men in turn, aged 55 to 85, from low to high bone density, chosen from a drawn cohort."""
    eligible = [p for p in sample(_POOL, seed) if 55 <= p.age_years <= 85]  # noqa: PLR2004 - the ages just named
    by_density = sorted(eligible, key=lambda p: p.t_lowest)
    wanted = np.linspace(0.04, 0.96, count)
    chosen: list[VirtualPatient] = []
    for number, quantile in enumerate(wanted):
        same_sex = [p for p in by_density if p.subject.female == (number % 2 == 0)]
        chosen.append(same_sex[round(float(quantile) * (len(same_sex) - 1))])
    return tuple(chosen)


def film(patient: VirtualPatient, *, number: int, taken_at: dt.datetime, rows: int, seed: int) -> PhantomFilm:
    """Render the patient's film, a portrait of `rows` pixels in height, as an object of a study of its own."""
    size = (rows, round(rows * _COLUMNS_PER_ROW))
    acquisition = draw_acquisition(np.random.default_rng([seed, number]))
    pixels = render(patient.subject, acquisition, seed * 100_000 + number, size)
    return _filed(patient, pixels, _Place(number=number, taken_at=taken_at, seed=seed, view=acquisition.view))


def lateral_film(patient: VirtualPatient, *, number: int, taken_at: dt.datetime, rows: int, seed: int) -> PhantomFilm:
    """Render the same person from the side, as the second object of the same study."""
    size = (rows, round(rows * _COLUMNS_PER_ROW))
    acquisition = draw_acquisition(np.random.default_rng([seed, number]))
    pixels = render_lateral(patient.subject, acquisition, seed * 100_000 + number, size)
    return _filed(patient, pixels, _Place(number=number, taken_at=taken_at, seed=seed, view=View.LATERAL))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Which film of which examination."""

    number: int
    taken_at: dt.datetime
    seed: int
    view: View


def _filed(patient: VirtualPatient, pixels: npt.NDArray[np.float32], place: _Place) -> PhantomFilm:
    identity = _identity(patient, place.number, place.taken_at)
    accession = f"PH{place.seed:03d}{place.number:05d}"
    rows, columns = pixels.shape
    study = PhantomStudy(
        seed=f"phantom/{place.seed}/{place.number}/{place.taken_at.isoformat()}",
        acquired_at=place.taken_at,
        accession_number=accession,
        study_id=str(place.number),
        view=place.view,
        instance_number=2 if place.view is View.LATERAL else 1,
        pixel_spacing_mm=pixel_spacing_mm((rows, columns)),
    )
    dataset = phantom_dataset(pixels, identity=identity, study=study)
    outgoing = OutgoingObject(
        sop_class_uid=str(dataset.SOPClassUID), sop_instance_uid=str(dataset.SOPInstanceUID), part10=part10(dataset)
    )
    return PhantomFilm(
        patient=patient,
        identity=identity,
        accession=accession,
        study_uid=str(dataset.StudyInstanceUID),
        view=place.view,
        object=outgoing,
    )


def _identity(patient: VirtualPatient, number: int, taken_at: dt.datetime) -> PatientIdentity:
    born = taken_at.date() - dt.timedelta(days=round((patient.age_years + 0.5) * _YEAR_DAYS))
    given = "ANNA" if patient.subject.female else "ANTON"
    return PatientIdentity(
        identifiers=(Identifier(value=f"PHANTOM-{number:05d}", authority=ISSUER),),
        name=PersonName(alphabetic=NameGroup(family=f"PHANTOM{number}", given=given)),
        birth_date=born,
        sex=patient.sex,
    )
