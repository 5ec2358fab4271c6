"""The pictures and people of a bundle's golden set: simulated always, so that no patient's film rides in a bundle.

They hold a node to the numbers of the machine that trained; they measure nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from model.domain import Sex, View
from model.phantom.cohort import VirtualPatient, sample
from model.phantom.render import render
from model.phantom.scenario import Acquisition

_SIZE: Final = (150, 122)
_PATIENTS: Final = 60
_SEED: Final = 150

Picture = npt.NDArray[np.float32]

GOLDEN_PEOPLE: Final[tuple[tuple[str, float, Sex, float | None], ...]] = (
    ("female-pa", 74.0, Sex.FEMALE, 52.0),
    ("female-pa", 74.0, Sex.FEMALE, None),
    ("female-ap", 56.0, Sex.FEMALE, 71.0),
    ("male-pa", 81.0, Sex.MALE, 55.0),
    ("male-ap", 60.0, Sex.MALE, 84.0),
    ("male-ap", 97.0, Sex.MALE, 121.0),
)
"""Picture, age in years, sex, weight in kg or None: image only; the last beyond the range of the clinical model."""


def golden_pictures() -> dict[str, Picture]:
    """Both sexes, both views and either truth; the same film in three wrong poses; no film at all."""
    patients = sample(_PATIENTS, _SEED)
    upright = {
        f"{sex.name.lower()}-{view.value.lower()}": _film(patients, sex, view, osteoporosis=osteoporosis)
        for sex in (Sex.FEMALE, Sex.MALE)
        for view, osteoporosis in ((View.PA, True), (View.AP, False))
    }
    first = upright["female-pa"]
    noise = np.random.default_rng(0).random(_SIZE, dtype=np.float32)
    wrong = {"inverted": 1 - first, "mirrored": first[:, ::-1].copy(), "upside-down": first[::-1].copy()}
    return {**upright, **wrong, "noise": noise}


def _film(patients: tuple[VirtualPatient, ...], sex: Sex, view: View, *, osteoporosis: bool) -> Picture:
    patient = next(p for p in patients if p.sex is sex and p.osteoporosis is osteoporosis)
    return render(patient.subject, Acquisition(view=view), patient.index, _SIZE)
