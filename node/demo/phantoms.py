"""Simulated patients with a known truth: their films as DX objects, their names plainly made up."""

from __future__ import annotations

import csv
import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from dicom_io.envelope import part10
from dicom_io.phantom_object import PhantomStudy, phantom_dataset
from dicom_io.storage_scu import OutgoingObject
from model.domain import AssigningAuthority, Identifier, NameGroup, PatientIdentity, PersonName
from model.phantom.cohort import VirtualPatient, sample
from model.phantom.render import pixel_spacing_mm, render
from model.phantom.scenario import draw_acquisition

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
    identity = _identity(patient, number, taken_at)
    accession = f"PH{seed:03d}{number:05d}"
    study = PhantomStudy(
        seed=f"phantom/{seed}/{number}/{taken_at.isoformat()}",
        acquired_at=taken_at,
        accession_number=accession,
        study_id=str(number),
        view=acquisition.view,
        pixel_spacing_mm=pixel_spacing_mm(size),
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
        object=outgoing,
    )


def write_phantoms(out: Path, *, count: int, rows: int, seed: int) -> None:
    """Write `count` films and `truth.csv` into `out`. The same seed writes the same files."""
    out.mkdir(parents=True, exist_ok=True)
    taken_at = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
    with (out / "truth.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ["file", "patient_id", "sex", "age_years", "weight_kg", "height_cm", "t_lowest", "osteoporosis"]
        )
        for number, patient in enumerate(track(sample(count, seed), description="phantoms"), start=1):
            made = film(patient, number=number, taken_at=taken_at, rows=rows, seed=seed)
            name = f"phantom-{number:05d}.dcm"
            (out / name).write_bytes(made.object.part10)
            measured = [f"{v:.1f}" for v in (patient.age_years, patient.weight_kg, patient.height_cm)]
            truth = [f"{patient.t_lowest:.2f}", int(patient.osteoporosis)]
            writer.writerow([name, made.identity.identifiers[0].value, patient.sex, *measured, *truth])


def _identity(patient: VirtualPatient, number: int, taken_at: dt.datetime) -> PatientIdentity:
    born = taken_at.date() - dt.timedelta(days=round((patient.age_years + 0.5) * _YEAR_DAYS))
    given = "ANNA" if patient.subject.female else "ANTON"
    return PatientIdentity(
        identifiers=(Identifier(value=f"PHANTOM-{number:05d}", authority=ISSUER),),
        name=PersonName(alphabetic=NameGroup(family=f"PHANTOM{number}", given=given)),
        birth_date=born,
        sex=patient.sex,
    )
