"""Virtual patients whose clinical values, T-scores and films belong together.

Drawn from per-sex copulas fitted on a published table (`cohort.json` states which); alkaline phosphatase and fracture
history are not in it and are simulated. The film shows the lowest T-score plus a fixed noise, so the best possible
image AUC is known (.966). Truth and latents are for evaluation: they must not reach a model's inputs.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from scipy.special import expit, ndtri

from model.domain import Sex
from model.phantom.copula import Array, Copula
from model.phantom.subject import Subject

IMAGE_NOISE = 0.45
"""SD in T-score units between the lowest T-score and what the thoracic skeleton shows."""
OSTEOPOROSIS_T = -2.5
_TEXTURE_NOISE = 0.8
_TBS_MEAN, _TBS_SD = 1.30, 0.105
_ALP_MEDIAN, _ALP_LOG_SD, _ALP_CORRELATION = 78.0, 0.27, -0.30
_FRACTURE_LOGIT, _FRACTURE_PER_T, _FRACTURE_PER_YEAR = -2.6, -0.55, 0.03
_YOUNGEST = 50.0
_EXTRA_DRAWS = 5
"""Standard normals per patient beside the copula's: sex, film, texture, alkaline phosphatase, fracture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualPatient:
    """One patient of the simulation: clinical values in their usual units, the truth, and what a film shows."""

    index: int
    subject: Subject
    t_lowest: float
    """Lowest of the three T-scores, the truth's measure."""
    t_lumbar: float
    t_total_hip: float
    t_femoral_neck: float
    age_years: float
    sex: Sex
    height_cm: float
    weight_kg: float
    calcium: float
    """mg/dL."""
    phosphate: float
    """mg/dL."""
    urea_nitrogen: float
    """mg/dL."""
    creatinine: float
    """mg/dL."""
    egfr: float
    """mL/min/1.73 m2."""
    alp: float
    """Alkaline phosphatase in U/L; simulated."""
    fracture: bool
    """Earlier fragility fracture; simulated."""

    @property
    def osteoporosis(self) -> bool:
        """The truth: lowest T-score <= -2.5."""
        return self.t_lowest <= OSTEOPOROSIS_T

    @property
    def bmi(self) -> float:
        """Body mass index in kg/m2."""
        return self.weight_kg / (self.height_cm / 100.0) ** 2


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Population:
    female_share: float
    t_mean: float
    t_sd: float
    copulas: dict[Sex, Copula]


def sample(count: int, seed: int) -> tuple[VirtualPatient, ...]:
    """Draw `count` patients aged 50 and more, numbered from 0; the same `seed` gives the same patients."""
    population = _population()
    columns = len(population.copulas[Sex.FEMALE].names)
    white = np.random.default_rng(seed).standard_normal((count, columns + _EXTRA_DRAWS))
    joint, extra = white[:, :columns], white[:, columns:]
    female = extra[:, 0] < _normal_quantile(population.female_share)
    values = np.empty((count, columns))
    for sex, chosen in ((Sex.FEMALE, female), (Sex.MALE, ~female)):
        values[chosen] = population.copulas[sex].values(joint[chosen])
    names = population.copulas[Sex.FEMALE].names
    rows = (dict(zip(names, map(float, row), strict=True)) for row in values)
    sexes = (Sex.FEMALE if one else Sex.MALE for one in female)
    drawn = zip(rows, sexes, extra[:, 1:], strict=True)
    return tuple(_patient(index, row, sex, own, population) for index, (row, sex, own) in enumerate(drawn))


def _patient(index: int, row: dict[str, float], sex: Sex, own: Array, population: _Population) -> VirtualPatient:
    lowest = min(row["ls_t"], row["th_t"], row["fn_t"])
    film, texture, alp, fracture = map(float, own)
    return VirtualPatient(
        index=index,
        subject=Subject(
            sex=sex,
            age_years=max(row["age"], _YOUNGEST),
            height_cm=row["height"],
            weight_kg=row["weight"],
            t_image=lowest + IMAGE_NOISE * film,
            texture=(row["tbs"] - _TBS_MEAN) / _TBS_SD + _TEXTURE_NOISE * texture,
        ),
        t_lowest=lowest,
        t_lumbar=row["ls_t"],
        t_total_hip=row["th_t"],
        t_femoral_neck=row["fn_t"],
        age_years=max(row["age"], _YOUNGEST),
        sex=sex,
        height_cm=row["height"],
        weight_kg=row["weight"],
        calcium=row["ca"],
        phosphate=row["p"],
        urea_nitrogen=row["bun"],
        creatinine=row["cr"],
        egfr=row["egfr"],
        alp=_alkaline_phosphatase((lowest - population.t_mean) / population.t_sd, alp),
        fracture=_fractured(lowest, row["age"], fracture),
    )


def _alkaline_phosphatase(t_standardised: float, own: float) -> float:
    score = _ALP_CORRELATION * t_standardised + np.sqrt(1 - _ALP_CORRELATION**2) * own
    return float(_ALP_MEDIAN * np.exp(_ALP_LOG_SD * score))


def _fractured(lowest: float, age: float, own: float) -> bool:
    risk = expit(_FRACTURE_LOGIT + _FRACTURE_PER_T * (lowest + 1) + _FRACTURE_PER_YEAR * (age - 65))
    return own < _normal_quantile(float(risk))


def _normal_quantile(share: float) -> float:
    return float(ndtri(share))


@functools.cache
def _population() -> _Population:
    text = resources.files("model.phantom").joinpath("cohort.json").read_text(encoding="utf-8")
    stored: dict[str, Any] = json.loads(text)
    names = tuple(stored["columns"])
    copulas = {
        Sex(sex): Copula(
            names=names,
            correlation=np.array(fitted["correlation"], dtype=np.float64),
            quantiles=np.array([fitted["quantiles"][name] for name in names], dtype=np.float64),
        )
        for sex, fitted in stored["by_sex"].items()
    }
    lowest = stored["lowest_t"]
    return _Population(female_share=stored["female_share"], t_mean=lowest["mean"], t_sd=lowest["sd"], copulas=copulas)
