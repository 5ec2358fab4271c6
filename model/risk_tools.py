"""Published risk tools, computed beside the model as comparators and never fed into it (model.md section 7).

Only tools whose inputs the node receives: OST and OSTA (BMC Musculoskelet Disord 2008;9:13 Table 1; Koh 2001). ORAI,
SCORE and OSIRIS ask for oestrogen, race or fracture site and are not guessed. FRAX is never computed: its algorithm is
unpublished. Cut-offs are population-bound; a band describes the tool's own scale, not the patient.
"""

from __future__ import annotations

import math

from model.domain import Comparator, Sex

OST_CUT_OFF = {Sex.FEMALE: 2, Sex.MALE: 4}
"""OST flags an index below this."""
OSTA_LOW_ABOVE = -1
OSTA_HIGH_BELOW = -4
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


def _index(age_years: float | None, weight_kg: float | None) -> int | None:
    """0.2 (weight - age), truncated toward zero."""
    if age_years is None or weight_kg is None or not (math.isfinite(age_years) and math.isfinite(weight_kg)):
        return None
    return math.trunc(round((weight_kg - age_years) / 5, _EXACT_DIGITS))
