"""Published risk tools, computed beside the model as comparators and never fed into it (model.md section 7).

Formulas as in BMC Musculoskelet Disord 2008;9:13 Table 1 (OST, ORAI, SCORE, OSIRIS), Koh et al. 2001 (OSTA) and Sedrine
et al. 2002 (OSIRIS). A missing answer makes a tool not computable; none is guessed. SCORE has variants in use; this is
the cited one. FRAX is never computed: its algorithm is unpublished. Cut-offs are population-bound; a band describes the
tool's own scale, not the patient.
"""

from __future__ import annotations

import math

from model.domain import Comparator, Sex

OST_CUT_OFF = {Sex.FEMALE: 2, Sex.MALE: 4}
"""OST flags an index below this."""
OSTA_LOW_ABOVE = -1
OSTA_HIGH_BELOW = -4
ORAI_FLAG = 9
ORAI_MINIMUM_AGE = 45
SCORE_FLAG = 6
SCORE_SITES = frozenset({"wrist", "hip", "rib"})
OSIRIS_LOW_ABOVE = 1
OSIRIS_HIGH_BELOW = -3
POUNDS_PER_KG = 1 / 0.45359237
_EXACT_DIGITS = 9
"""Decimal inputs such as 64.9 - 59.9 must not truncate to the wrong integer for a rounding error of 1e-15."""


def comparators(*, age_years: float | None, sex: Sex, weight_kg: float | None) -> tuple[Comparator, ...]:
    """Every tool that can be computed from what is known; ages in years, weight in kg."""
    found = (
        ost(age_years=age_years, sex=sex, weight_kg=weight_kg),
        osta(age_years=age_years, weight_kg=weight_kg),
    )
    return tuple(c for c in found if c is not None)


def ost(*, age_years: float | None, sex: Sex, weight_kg: float | None) -> Comparator | None:
    """Osteoporosis Self-assessment Tool; None = not computable (an input is missing, or the sex has no cut-off)."""
    index = _index(age_years, weight_kg)
    cut_off = OST_CUT_OFF.get(sex)
    if index is None or cut_off is None:
        return None
    side = "below" if index < cut_off else "not below"
    return Comparator(tool="OST", value=float(index), band=f"{side} cut-off {cut_off}")


def osta(*, age_years: float | None, weight_kg: float | None) -> Comparator | None:
    """OST for Asians, three bands; None = not computable."""
    index = _index(age_years, weight_kg)
    if index is None:
        return None
    band = "low" if index > OSTA_LOW_ABOVE else "high" if index < OSTA_HIGH_BELOW else "moderate"
    return Comparator(tool="OSTA", value=float(index), band=f"{band} risk band")


def orai(
    *, age_years: float | None, sex: Sex, weight_kg: float | None, oestrogen_current: bool | None
) -> Comparator | None:
    """Osteoporosis Risk Assessment Instrument, women from 45; None = not computable or not made for this patient."""
    if oestrogen_current is None or not _woman(sex, age_years, weight_kg, least_age=ORAI_MINIMUM_AGE):
        return None
    assert age_years is not None and weight_kg is not None  # noqa: S101, PT018 - _woman holds
    by_age = 15 if age_years >= 75 else 9 if age_years >= 65 else 5 if age_years >= 55 else 0  # noqa: PLR2004 - the table
    by_weight = 9 if weight_kg < 60 else 3 if weight_kg < 70 else 0  # noqa: PLR2004 - the table
    points = by_age + by_weight + (0 if oestrogen_current else 2)
    return Comparator(tool="ORAI", value=float(points), band=_from(points, ORAI_FLAG))


def score(
    *,
    age_years: float | None,
    sex: Sex,
    weight_kg: float | None,
    black: bool | None,
    rheumatoid_arthritis: bool | None,
    fracture_sites: frozenset[str] | None,
    oestrogen_ever: bool | None,
) -> Comparator | None:
    """Simple Calculated Osteoporosis Risk Estimation, women; None = not computable or not made for this patient.

    `fracture_sites`: sites of low-trauma fractures after 45 as far as they are among `SCORE_SITES`; empty means none.
    The weight term is the weight in pounds divided by ten, truncated.
    """
    if black is None or rheumatoid_arthritis is None or fracture_sites is None or oestrogen_ever is None:
        return None
    if not _woman(sex, age_years, weight_kg):
        return None
    assert age_years is not None and weight_kg is not None  # noqa: S101, PT018 - _woman holds
    points = 0 if black else 5
    points += 4 if rheumatoid_arthritis else 0
    points += 4 * len(fracture_sites & SCORE_SITES)
    points += 3 * (int(age_years) // 10)
    points += 0 if oestrogen_ever else 1
    points -= math.trunc(round(weight_kg * POUNDS_PER_KG / 10, _EXACT_DIGITS))
    return Comparator(tool="SCORE", value=float(points), band=_from(points, SCORE_FLAG))


def osiris(
    *,
    age_years: float | None,
    sex: Sex,
    weight_kg: float | None,
    oestrogen_current: bool | None,
    low_impact_fracture: bool | None,
) -> Comparator | None:
    """Osteoporosis Index of Risk, women, not truncated; None = not computable or not made for this patient."""
    if oestrogen_current is None or low_impact_fracture is None or not _woman(sex, age_years, weight_kg):
        return None
    assert age_years is not None and weight_kg is not None  # noqa: S101, PT018 - _woman holds
    index = (weight_kg - age_years) / 5 + (2 if oestrogen_current else 0) - (2 if low_impact_fracture else 0)
    index = round(index, _EXACT_DIGITS)
    band = "low" if index > OSIRIS_LOW_ABOVE else "high" if index < OSIRIS_HIGH_BELOW else "moderate"
    return Comparator(tool="OSIRIS", value=index, band=f"{band} risk band")


def _woman(sex: Sex, age_years: float | None, weight_kg: float | None, *, least_age: float = 0.0) -> bool:
    """Whether a tool made for women can be computed: her age and weight are known."""
    known = age_years is not None and weight_kg is not None and math.isfinite(age_years) and math.isfinite(weight_kg)
    return sex is Sex.FEMALE and known and age_years is not None and age_years >= least_age


def _from(points: float, cut_off: int) -> str:
    return f"{'at or above' if points >= cut_off else 'below'} cut-off {cut_off}"


def _index(age_years: float | None, weight_kg: float | None) -> int | None:
    """0.2 (weight - age), truncated toward zero."""
    if age_years is None or weight_kg is None or not (math.isfinite(age_years) and math.isfinite(weight_kg)):
        return None
    return math.trunc(round((weight_kg - age_years) / 5, _EXACT_DIGITS))
