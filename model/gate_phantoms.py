"""The phantoms a gate is fitted on: upright films of the sizes a node is served, laterals, and what is no chest.

Of served sizes, because a gate that knew phantoms of one rendering size refused one in thirty of another as inverted.
The laterals and the others show people of their own; upright films are of whom the caller gives, by other exposures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from model.gate import Pose
from model.phantom.cohort import VirtualPatient, sample
from model.phantom.render import render
from model.phantom.scenario import draw_acquisition
from model.phantom.unfit.lateral import render_lateral
from model.phantom.unfit.strangers import Stranger, render_stranger

Picture = npt.NDArray[np.float32]
"""(rows, columns) in [0, 1], bone bright."""

SERVED_SIZES: Final = ((500, 410), (560, 459), (640, 525), (560, 560), (500, 410), (560, 459), (640, 525), (1240, 1017))
"""Sizes in turn; the last is of a real detector's order."""
UNFIT_PICTURES: Final = 60
_SEED_OFFSET: Final = 7_000_000
_SEVERAL: Final = 3


def frontal_phantoms(patients: Sequence[VirtualPatient], seed: int) -> tuple[Picture, ...]:
    """One upright film of each patient, in sizes that take turns."""
    return tuple(_frontal(patient, seed, SERVED_SIZES[n % len(SERVED_SIZES)]) for n, patient in enumerate(patients))


def unfit_phantoms(seed: int, *, count: int = UNFIT_PICTURES) -> dict[Pose, tuple[Picture, ...]]:
    """`count` laterals facing either way and `count` pictures of other things."""
    patients = sample(count, seed + _SEED_OFFSET)
    return {
        Pose.LATERAL: tuple(_lateral(patient, seed) for patient in patients),
        Pose.OTHER: tuple(_stranger(patient, seed) for patient in patients),
    }


def _frontal(patient: VirtualPatient, seed: int, size: tuple[int, int]) -> Picture:
    rng = _rng(patient, seed)
    return render(patient.subject, draw_acquisition(rng), int(rng.integers(2**31)), size)


def _lateral(patient: VirtualPatient, seed: int) -> Picture:
    rng, size = _rng(patient, seed), SERVED_SIZES[patient.index % _SEVERAL]
    facing = -1 if patient.index % 2 else 1
    return render_lateral(patient.subject, draw_acquisition(rng), int(rng.integers(2**31)), size, facing=facing)


def _stranger(patient: VirtualPatient, seed: int) -> Picture:
    rng, kinds = _rng(patient, seed), tuple(Stranger)
    kind, size = kinds[patient.index % len(kinds)], SERVED_SIZES[patient.index // len(kinds) % _SEVERAL]
    return render_stranger(kind, patient.subject, draw_acquisition(rng), int(rng.integers(2**31)), size)


def _rng(patient: VirtualPatient, seed: int) -> np.random.Generator:
    return np.random.default_rng([_SEED_OFFSET, seed, patient.index])
