"""Divides virtual patients, never films, into training, calibration and test, stratified by sex and class.

A patient in two parts would make every figure a recollection. Not allowed here: pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.phantom.cohort import VirtualPatient


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Positions of the patients in the sequence that was split; disjoint and complete."""

    train: tuple[int, ...]
    calibration: tuple[int, ...]
    test: tuple[int, ...]


def split_patients(
    patients: Sequence[VirtualPatient], *, seed: int, calibration: float = 0.175, test: float = 0.175
) -> Split:
    """Cut each stratum of sex x class by the same shares. Raises ValueError when a patient occurs twice."""
    if len({patient.index for patient in patients}) != len(patients):
        msg = "a patient occurs twice; give each film its own patient"
        raise ValueError(msg)
    rng = np.random.default_rng(seed)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    strata = [(patient.subject.sex.value, patient.osteoporosis) for patient in patients]
    for stratum in sorted(set(strata)):
        members = rng.permutation([i for i, own in enumerate(strata) if own == stratum])
        first = round(len(members) * calibration)
        second = first + round(len(members) * test)
        for part, chosen in zip(parts, (members[second:], members[:first], members[first:second]), strict=True):
            part.extend(int(i) for i in chosen)
    train, held, unseen = (tuple(sorted(part)) for part in parts)
    return Split(train=train, calibration=held, test=unseen)
