"""Every sentence that leaves the node, in one place, so that one test can read them all.

A flagged image is worded "possible low bone density", an image below the threshold "not flagged; does not exclude":
opportunistic screening cannot rule anything out. `forbidden` finds what no output may say; the tests run it over every
outcome and `dicom_io.report_check` over every finished document. Nothing here words a result as a diagnosis.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from model.domain import Category, ClinicalInput, MatchClass, Mode, Quality, Reason, Scored

DISCLAIMER: Final = (
    "Opportunistic screening aid. Not for primary diagnosis. Not a bone density measurement. "
    "Confirm by DXA / clinical assessment."
)
SIMULATED: Final = "TRAINED ON SIMULATED IMAGES - NOT FOR CLINICAL USE"
MANUFACTURER: Final = "Osteon project"
TRACKING: Final = "Osteoporosis screening result"
UNNAMED_SOURCE: Final = "source not stated"
NOT_USED: Final = "not used: image-only result"
SEX_VARIABLES: Final = ("sex", "female")
MAX_DECIMALS: Final = 12
_FORBIDDEN: Final = re.compile(
    r"\b(?:ab)?normal\w*|\bnegative\b|\bhealthy\b|\brul(?:e|ed|es|ing)[ -]+out\b|\bno (?:sign of )?osteopor\w*"
    r"|\bno (?:evidence|fracture risk)\b|\bunremarkable\b|\bbenign\b|\bdiagnosed\b|\bdiagnostic of\b|\bhas osteopor\w*"
    r"|\bt[ -]?score|\b(?<!not )excludes?d? (?:osteopor|low bone)\w*",
    re.IGNORECASE,
)

_HEADLINES: Final = {
    Category.ABOVE: "FLAGGED",
    Category.BETWEEN: "INDETERMINATE",
    Category.BELOW: "NOT FLAGGED",
}
_ADVICE: Final = {
    Category.ABOVE: "Possible low bone density; consider clinical bone-health assessment / DXA.",
    Category.BETWEEN: "Between the two thresholds; does not exclude low bone density. Weigh clinical risk factors.",
    Category.BELOW: "Not flagged; does not exclude low bone density.",
}
_MATCHES: Final = {
    MatchClass.MATCH_ISSUER: "clinical record found by identifier and its issuer",
    MatchClass.MATCH_DEMOG: "clinical record found by identifier and demographics",
    MatchClass.UNKNOWN_PATIENT: "no clinical record known for this patient",
    MatchClass.CONFLICT: "clinical record contradicts the image's patient data; not used",
    MatchClass.AMBIGUOUS: "several clinical records could fit; none used",
    MatchClass.NO_ID: "image carries no patient identifier",
    MatchClass.BLOCKED: "clinical record is blocked from use",
    MatchClass.CODES_UNCONFIRMED: "clinical code table not confirmed by the site; clinical record not used",
}
_REASONS: Final = {
    Reason.OWN_RESULT: "Object made by Osteon itself.",
    Reason.MODALITY: "Neither CR nor DX.",
    Reason.MULTIFRAME: "More than one frame.",
    Reason.NO_PIXELS: "No pixel data.",
    Reason.FOR_PROCESSING: "Image is For Processing, not For Presentation.",
    Reason.TOO_SMALL: "Too few pixels.",
    Reason.NOISE_OR_BLANK: "Blank image or noise.",
    Reason.SATURATED: "Part of the image is saturated.",
    Reason.LOW_CONTRAST: "Low contrast.",
    Reason.BODY_PART: "Header names a body part other than the chest.",
    Reason.NOT_CHEST: "Image does not look like a chest.",
    Reason.PARTIAL_CHEST: "Chest is only partly in the image.",
    Reason.VIEW_LATERAL: "Lateral view.",
    Reason.VIEW_UNKNOWN: "View is not stated.",
    Reason.INVERTED: "Grey scale seems inverted against the header.",
    Reason.ROTATED_90: "Image seems rotated by 90 degrees.",
    Reason.UPSIDE_DOWN: "Image seems upside down.",
    Reason.NOT_HUMAN: "Not a human subject.",
    Reason.AGE_UNDER: "Patient is younger than the screening age.",
    Reason.AGE_UNKNOWN: "Age is not known.",
    Reason.SEX_UNKNOWN: "Sex is not known.",
    Reason.OUT_OF_DIST: "Image is unlike those the model was trained on.",
    Reason.MIRRORED: "Image seems flipped left to right.",
    Reason.LOSSY: "Image was lossily compressed.",
    Reason.AP_VIEW: "Antero-posterior view, usually a bedside film.",
    Reason.OUTSIDE_TRAINING: "A clinical value lies outside the range of the training data.",
}
_VARIABLES: Final = {
    "age": "Age",
    "sex": "Sex",
    "female": "Sex",
    "weight": "Body weight",
    "height": "Body height",
    "bmi": "Body mass index",
    "alp": "Alkaline phosphatase",
    "egfr": "eGFR",
    "urea_nitrogen": "Urea nitrogen",
    "vitamin_d": "25-hydroxyvitamin D",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentages:
    """A result's probabilities in percent, at the fewest decimals that keep every order; strings as printed."""

    decisive: str
    image: str
    clinical: str | None
    fused: str | None
    t_high: str
    t_low: str | None
    """None when there is no indeterminate zone (t_low >= t_high)."""


def percentages(result: Scored) -> Percentages:
    """Print probabilities so that printed value and printed thresholds compare as the unrounded ones do.

    Raises:
        ValueError: no number of decimals up to `MAX_DECIMALS` can tell the value from its threshold.

    """
    zone = result.t_low < result.t_high
    limits = (result.t_high, result.t_low) if zone else (result.t_high,)
    for decimals in range(1, MAX_DECIMALS + 1):
        if all(_keeps_order(result.probability, limit, decimals) for limit in limits):
            break
    else:
        msg = f"the probability cannot be told from its threshold at {MAX_DECIMALS} decimals"
        raise ValueError(msg)
    return Percentages(
        decisive=_percent(result.probability, decimals),
        image=_percent(result.p_image, decimals),
        clinical=None if result.p_clinical is None else _percent(result.p_clinical, decimals),
        fused=None if result.p_fused is None else _percent(result.p_fused, decimals),
        t_high=_percent(result.t_high, decimals),
        t_low=_percent(result.t_low, decimals) if zone else None,
    )


def headline(result: Scored) -> str:
    """The category as one word or two, for the eye."""
    return _HEADLINES[result.category]


def advice(result: Scored) -> str:
    """What the category means and what it does not."""
    return _ADVICE[result.category]


def comment(result: Scored) -> str:
    """One-line summary with disclaimer: the first visible item of the report."""
    shown = percentages(result)
    thresholds = f"threshold {shown.t_high} %"
    if shown.t_low is not None:
        thresholds += f", indeterminate from {shown.t_low} %"
    parts = [
        f"Osteoporosis screening: {headline(result)} (probability {shown.decisive} %, {thresholds}).",
        *([f"{SIMULATED}."] if result.model.simulated_training else []),
        advice(result),
        f"Based on {inputs_used(result)}.",
        *(["Input quality limited; interpret with caution."] if result.quality is Quality.LIMITED else []),
        DISCLAIMER,
    ]
    return " ".join(parts)


def inputs_used(result: Scored) -> str:
    """Which inputs the decision rests on, with the reason where clinical data are not among them."""
    if result.mode is Mode.IMAGE_AND_CLINICAL:
        return "image and clinical data"
    if not result.match.joins:
        return f"image only, no clinical data ({result.match}: {match(result.match)})"
    return "image only, clinical data incomplete"


def intended_use(*, simulated: bool) -> str:
    """The full disclaimer; a model trained on simulated images says so first."""
    return f"{SIMULATED}. {DISCLAIMER}" if simulated else DISCLAIMER


def series_description(*, page: bool, simulated: bool) -> str:
    """Series Description (0008,103E), at most 64 characters (LO)."""
    if simulated:
        return f"AI {'page' if page else 'screen'}: {SIMULATED}"
    return f"AI osteoporosis {'page' if page else 'screen'} - NOT FOR DIAGNOSIS"


def page_description(version: int, *, simulated: bool) -> str:
    """Series Description of a page; each version has a series of its own and says first which it is."""
    words = series_description(page=True, simulated=simulated)
    return words if version == 1 else f"v{version} {words}"


def replaces(version: int, moment: str) -> str:
    """What an amended page says of the one before it; `moment` is when that one was made."""
    return f"Version {version}, replaces the result of {moment}"


def match(outcome: MatchClass) -> str:
    """A match class in words."""
    return _MATCHES[outcome]


def reason(code: Reason) -> str:
    """A limitation in words."""
    return _REASONS[code]


def missing_because(result: Scored) -> str:
    """Why an expected clinical value is missing."""
    return "no usable value in the look-back period" if result.match.joins else match(result.match)


def variable(name: str) -> str:
    """A clinical variable's name for the eye."""
    return _VARIABLES.get(name, name.replace("_", " ").capitalize())


def value(item: ClinicalInput) -> str:
    """A clinical value with its unit, or "missing"; sex is coded 1 for female and 0 for male, as the model's column."""
    if item.value is None:
        return "missing"
    if item.variable in SEX_VARIABLES:
        return "female" if item.value else "male"
    if item.unit == _YEARS:
        return f"{math.floor(item.value)} years"  # completed years, as people count them
    return f"{round(item.value, 2):g} {_UNIT_WORDS.get(item.unit, item.unit)}".strip()


def value_age(days: float) -> str:
    """How long before the image a value was observed."""
    if days < 1:
        return "same day"
    if days < _MONTHS_FROM_DAYS:
        return f"{days:.0f} day{'' if round(days) == 1 else 's'} before"
    return f"{days / 30.44:.0f} months before"


def forbidden(text: str) -> tuple[str, ...]:
    """Every phrase in `text` that no output may contain, as found."""
    return tuple(found.group() for found in _FORBIDDEN.finditer(text))


_YEARS: Final = "a"
"""UCUM for a year."""
_UNIT_WORDS: Final = {"1": "", "{score}": ""}
_MONTHS_FROM_DAYS: Final = 100


def _percent(probability: float, decimals: int) -> str:
    """Exact decimal rounding: the float's own binary error must not decide a tie."""
    return str((Decimal(probability) * 100).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN))


def _keeps_order(probability: float, limit: float, decimals: int) -> bool:
    printed, printed_limit = Decimal(_percent(probability, decimals)), Decimal(_percent(limit, decimals))
    return (probability > limit) == (printed > printed_limit) and (probability < limit) == (printed < printed_limit)
