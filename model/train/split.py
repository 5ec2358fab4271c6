"""Divides films by patient: the last months held out for one final measurement, the rest in folds.

Every figure that is fitted on predictions (calibration, fusion, thresholds) uses those about patients a network never
saw: the folds', or those kept apart from the one that ships; the held-out patients are looked at once. A patient in two
parts would make every figure a recollection, so the division is checked after it is made, whoever made it. Not allowed
here: pixels.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.train.people import Member


class LeakageError(Exception):
    """Something that the model must not know would reach it. One line: what, where, and what to do."""


class TooFewPatients(ValueError):
    """A part of the data, or a class in it, has too few patients to fit or to measure anything. One line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Positions in the sequence that was divided."""

    folds: tuple[tuple[int, ...], ...]
    """Disjoint; together the training part."""
    test: tuple[int, ...]
    """Films of patients whose last film is among the latest."""
    left_out: tuple[int, ...]
    """Earlier films of held-out patients: in neither part."""
    cut: dt.date
    """First day of the test part."""
    apart: tuple[int, ...] = ()
    """Kept from the network that ships, to calibrate it by: some of the folds' patients, and those of no fold."""

    @property
    def train(self) -> tuple[int, ...]:
        """All folds, sorted."""
        return tuple(sorted(position for fold in self.folds for position in fold))

    @property
    def shipped(self) -> tuple[int, ...]:
        """What the network that ships is trained on, sorted."""
        return tuple(sorted(set(self.train) - set(self.apart)))

    def without(self, fold: int) -> tuple[int, ...]:
        """What the network of `fold` is trained on, sorted."""
        return tuple(sorted(p for k, own in enumerate(self.folds) if k != fold for p in own))


def split_by_time(members: Sequence[Member], *, folds: int, held_out: float, seed: int, apart: float = 0.0) -> Split:
    """Hold out the share `held_out` of patients who came last, and divide the others into `folds`.

    Folds are balanced by stratum, and so is the share `apart` of their patients; a patient of several strata counts by
    the last film.

    Raises:
        LeakageError: a patient would be in two parts.
        TooFewPatients: too few for the folds.

    """
    films: dict[str, list[int]] = defaultdict(list)
    for position, member in enumerate(members):
        films[member.patient].append(position)
    last = {patient: max(members[p].acquired_on for p in own) for patient, own in films.items()}
    order = sorted(films, key=lambda patient: (last[patient], films[patient][0]))
    kept = len(order) - round(len(order) * held_out)
    if kept < folds:
        msg = f"{len(order)} patients are too few for {folds} folds and a hold-out of {held_out:g}"
        raise TooFewPatients(msg)
    cut = last[order[kept]] if kept < len(order) else last[order[-1]] + dt.timedelta(days=1)
    early = [patient for patient in order if last[patient] < cut] or order[:kept]
    later = set(order) - set(early)
    training = {patient: films[patient] for patient in early}
    split = Split(
        folds=_folds(training, members, folds, seed),
        apart=_apart(training, members, apart, seed),
        test=tuple(sorted(p for patient in later for p in films[patient] if members[p].acquired_on >= cut)),
        left_out=tuple(sorted(p for patient in later for p in films[patient] if members[p].acquired_on < cut)),
        cut=cut,
    )
    refuse_shared_patients(split, members)
    return split


def latest_films(positions: Sequence[int], members: Sequence[Member]) -> tuple[int, ...]:
    """Of each patient among `positions` the latest film, in the order of `positions`."""
    latest: dict[str, int] = {}
    for position in sorted(positions, key=lambda p: (members[p].acquired_on, p)):
        latest[members[position].patient] = position
    chosen = set(latest.values())
    return tuple(position for position in positions if position in chosen)


def one_film_each(split: Split, members: Sequence[Member]) -> Split:
    """What networks are asked about: each patient's latest film in each part.

    An interval over several films of a patient takes them for as many patients, and is too narrow.
    """
    return dataclasses.replace(
        split,
        folds=tuple(latest_films(fold, members) for fold in split.folds),
        test=latest_films(split.test, members),
        apart=latest_films(split.apart, members),
    )


def refuse_shared_patients(split: Split, members: Sequence[Member]) -> None:
    """Raise LeakageError where one patient has films in two folds, or in a fold and in the test part."""
    part_of: dict[str, int] = {}
    for part, positions in enumerate((*split.folds, split.test)):
        for position in positions:
            if part_of.setdefault(members[position].patient, part) != part:
                msg = f"film {position}: its patient is in two parts of the data; divide by patient, not by film"
                raise LeakageError(msg)


def _folds(
    films: dict[str, list[int]], members: Sequence[Member], count: int, seed: int
) -> tuple[tuple[int, ...], ...]:
    rng = np.random.default_rng(seed)
    strata = _strata(films, members)
    parts: list[list[int]] = [[] for _ in range(count)]
    dealt = 0
    for stratum in sorted(strata):
        for row in rng.permutation(len(strata[stratum])):
            parts[dealt % count].extend(films[strata[stratum][row]])
            dealt += 1
    return tuple(tuple(sorted(part)) for part in parts)


def _apart(films: dict[str, list[int]], members: Sequence[Member], share: float, seed: int) -> tuple[int, ...]:
    rng = np.random.default_rng([seed, 1])
    drawn: list[int] = []
    for _, patients in sorted(_strata(films, members).items()):
        order = rng.permutation(len(patients))[: round(len(patients) * share)]
        drawn += [position for row in order for position in films[patients[row]]]
    return tuple(sorted(drawn))


def _strata(films: dict[str, list[int]], members: Sequence[Member]) -> dict[str, list[str]]:
    strata: dict[str, list[str]] = defaultdict(list)
    for patient, own in films.items():
        latest = max(own, key=lambda position: members[position].acquired_on)
        strata[members[latest].stratum].append(patient)
    return strata
