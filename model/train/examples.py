"""Films with what the network attended to, for the report: one of each outcome, chosen by rule, never by looks.

The most and the least certain call would flatter; each example is the median one of its outcome by probability. What is
outlined is a region of high model attention, never a cause.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from model.domain import Scored
from model.evaluation import plots
from model.evaluation.cohort import Cohort, Patient
from model.phantom.cohort import sample
from model.screener import Screener
from model.train.phantom_cohort import film_of, record_of


def attention_examples(cohort: Cohort, screener: Screener, seed: int) -> dict[str, str]:
    """SVG by caption for a cohort of virtual patients drawn with `seed`."""
    most = max((p.number for p in cohort.patients), default=-1) + 1
    patients = sample(most, seed) if most else ()
    drawn = {}
    for outcome, chosen in _by_outcome(cohort, screener.bundle.fusion.image_points.t_high):
        film = film_of(patients[chosen.number], seed)
        result = screener.screen(film, record_of(patients[chosen.number]))
        if isinstance(result, Scored):
            caption = f"Model attention, {outcome} (image probability {chosen.p_image:.2f}; simulated film)"
            drawn[caption] = plots.attention(
                film.pixels, result.attention, result.analysed_region, simulated=cohort.simulated
            )
    return drawn


def _by_outcome(cohort: Cohort, threshold: float) -> Iterable[tuple[str, Patient]]:
    flagged, ill = cohort.column("p_image") >= threshold, cohort.truth == 1
    for outcome, mask in (
        ("low bone density, flagged", flagged & ill),
        ("low bone density, not flagged", ~flagged & ill),
        ("no low bone density, flagged", flagged & ~ill),
        ("no low bone density, not flagged", ~flagged & ~ill),
    ):
        members = sorted((cohort.patients[i] for i in np.flatnonzero(mask)), key=lambda p: (p.p_image, p.number))
        if members:
            yield outcome, members[len(members) // 2]
