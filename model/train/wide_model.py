"""What fusion gives where the clinical columns carry more than age, sex and weight: 12 columns of virtual patients.

Fitted on virtual patients of another seed and stacked with the image in folds; part of no bundle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.special import expit

from model.domain import Sex
from model.evaluation.cohort import Floats
from model.logistic import fit_logistic
from model.phantom.cohort import VirtualPatient, sample

_TRAINING: Final = 8000
_SEED: Final = 977
_FOLDS: Final = 5
_STACK_PENALTY_C: Final = 10.0
"""Weak; keeps the stack finite where a handful of patients is separated without error."""


def wide_probabilities(patients: Sequence[VirtualPatient], p_image: Floats) -> Floats:
    """Image and a 12-column clinical model fused by a logit stack whose weights are fitted in the other folds."""
    drawn = sample(_TRAINING, _SEED)
    columns, own = _columns(drawn), _columns(patients)
    mean, sd = columns.mean(axis=0), columns.std(axis=0)
    line = fit_logistic((columns - mean) / sd, _truth(drawn), penalty_c=1.0)
    clinical = (own - mean) / sd @ line.coefficients + line.intercept
    both = np.column_stack([np.log(p_image / (1 - p_image)), clinical])
    truth, fused = _truth(patients), np.empty(len(patients))
    folds = np.arange(len(patients)) % _FOLDS
    for k in range(_FOLDS):
        stack = fit_logistic(both[folds != k], truth[folds != k], penalty_c=_STACK_PENALTY_C, non_negative=True)
        fused[folds == k] = expit(both[folds == k] @ stack.coefficients + stack.intercept)
    return fused


def _columns(patients: Sequence[VirtualPatient]) -> Floats:
    return np.array(
        [
            (
                p.sex is Sex.FEMALE, p.age_years, p.height_cm, p.weight_kg, p.bmi, p.calcium, p.phosphate,
                p.urea_nitrogen, p.creatinine, p.egfr, math.log(p.alp), p.fracture,
            )
            for p in patients
        ],
        dtype=np.float64,
    )  # fmt: skip


def _truth(patients: Sequence[VirtualPatient]) -> Floats:
    return np.array([p.osteoporosis for p in patients], dtype=np.float64)
