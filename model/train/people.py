"""Whom a network learns from: what training, calibration and evaluation need to know of a person, and of no other.

Virtual patients and a site's own patients look the same from here. Not allowed here: a feature; the image and three
clinical values reach a model, the T-score is its truth.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final, Protocol

from model.domain import Sex
from model.phantom.cohort import VirtualPatient

FIRST_DAY: Final = dt.date(2019, 1, 2)
PATIENTS_A_DAY: Final = 3


class Person(Protocol):
    """The subject of one film."""

    @property
    def t_lowest(self) -> float:
        """Lowest T-score of lumbar spine, femoral neck and total hip: the truth."""

    @property
    def osteoporosis(self) -> bool:
        """Lowest T-score <= -2.5."""

    @property
    def age_years(self) -> float:
        """At the film's time; NaN where unknown."""

    @property
    def sex(self) -> Sex:
        """As stated."""

    @property
    def weight_kg(self) -> float:
        """As known at the film's time; NaN where it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What decides where a film goes when the data are divided."""

    patient: str
    """Same for all films of one patient."""
    acquired_on: dt.date
    stratum: str
    """Sex and class; folds are balanced over it."""


def member_of(person: Person, *, patient: str, acquired_on: dt.date) -> Member:
    """The division's view of a person."""
    return Member(patient=patient, acquired_on=acquired_on, stratum=f"{person.sex.value}-{int(person.osteoporosis)}")


def virtual_members(patients: tuple[VirtualPatient, ...]) -> tuple[Member, ...]:
    """By stated rule virtual patients come in the order of their number, three a day from 2 January 2019 on."""
    return tuple(
        member_of(p, patient=str(p.index), acquired_on=FIRST_DAY + dt.timedelta(days=p.index // PATIENTS_A_DAY))
        for p in patients
    )
