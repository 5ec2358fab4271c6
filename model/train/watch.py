"""Which films a network is watched by while it learns: those of whole patients, who are the same share of either class.

A patient on both sides would let the epoch be chosen on bones that the network has learned by heart, so the division is
checked after it is made. Not allowed here: pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.train.films import Films
from model.train.split import LeakageError, TooFewPatients


def kept_to_watch(films: Films, indices: Sequence[int], *, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Positions to train on and positions to watch, both sorted; a patient with any positive film counts as positive.

    Raises:
        TooFewPatients: a share is wanted, and of one class it is nobody.
        LeakageError: a patient would be on both sides.

    """
    rng = np.random.default_rng([seed, 1])
    own: dict[str, list[int]] = {}
    for index in indices:
        own.setdefault(films.owners[index], []).append(index)
    watched: list[int] = []
    for positive in (False, True):
        firsts = [o[0] for o in own.values() if any(films.patients[i].osteoporosis for i in o) is positive]
        drawn = rng.permutation(firsts)[: round(len(firsts) * share)]
        if share and not len(drawn):
            msg = (
                f"recipe.watch keeps {share:g} of {len(firsts)} patients of one class: nobody; set it to 0 or add films"
            )
            raise TooFewPatients(msg)
        watched += [i for first in drawn for i in own[films.owners[int(first)]]]
    seen = sorted(set(indices) - set(watched))
    refuse_watched_patients(films, seen, watched)
    return seen, sorted(watched)


def refuse_watched_patients(films: Films, seen: Sequence[int], watched: Sequence[int]) -> None:
    """Raise LeakageError where a patient has films among those that train and among those that choose the epoch."""
    if both := {films.owners[i] for i in seen} & {films.owners[i] for i in watched}:
        msg = f"{len(both)} patients both train the network and choose its epoch; divide by patient, not by film"
        raise LeakageError(msg)
