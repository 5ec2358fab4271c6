"""What a result says, in every language: sentences of `dicom_io.words`, filled with one result.

A flagged image is worded "possible low bone density", an image below the threshold "not flagged; does not exclude":
opportunistic screening cannot rule anything out. `forbidden` finds what no output may say in any language; the tests
run it over every phrase and outcome and `dicom_io.report_check` over every finished document. Nothing here words a
result as a diagnosis. Figures follow the language (decimal comma in German); codes and their meanings do not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from dicom_io import words
from dicom_io.outcomes import NotAnalysed, Statement, Withdrawn
from dicom_io.words import Language, Phrase
from model.domain import ClinicalInput, Comparator, MatchClass, Mode, Quality, Reason, Scored

DISCLAIMER: Final = words.DISCLAIMER.en
SIMULATED: Final = words.SIMULATED.en
MANUFACTURER: Final = "Osteon project"
TRACKING: Final = "Osteoporosis screening result"
"""Tracking Identifier: the same in all versions, so in all languages."""
SEX_VARIABLES: Final = ("sex", "female")
MAX_DECIMALS: Final = 12
_ENGLISH: Final = Language.ENGLISH
_FORBIDDEN: Final = re.compile(
    r"\b(?:ab)?normal\w*|\bnegative\b|\bhealthy\b|\brul(?:e|ed|es|ing)[ -]+out\b|\bno (?:sign of )?osteopor\w*"
    r"|\bno (?:evidence|fracture risk)\b|\bunremarkable\b|\bbenign\b|\bdiagnosed\b|\bdiagnostic of\b|\bhas osteopor\w*"
    r"|\bt[ -]?score|\b(?<!not )excludes?d? (?:osteopor|low bone)\w*"
    r"|\b(?:un)?auffällig\w*|\bgesund\w*|\bnegativ\w*|\bregelrecht\w*|\bgutartig\w*|\bausgeschlossen\w*|\bausschlu(?:ss|ß)\w*"
    r"|\bkein(?:e|en|er)? (?:osteopor|hinweis|anhalt|nachweis|zeichen|frakturrisiko|krankhaft)\w*"
    r"|\b(?:ohne|kein)(?: pathologische[rn]?)? befund\b"
    r"|\bt-wert\b|\bo\. ?b\.|\bhat (?:eine )?osteopor\w*|\bleidet\b|\bdiagnose:? osteopor\w*|\bentwarnung\b"
    r"|\bschlie(?:ß|ss)t\b(?![^.;]*\bnicht aus\b)[^.;]*\baus\b",
    re.IGNORECASE,
)


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
    printed = [p for p in (result.p_image, result.p_clinical, result.p_fused, *limits) if p is not None]
    decimals = _decimals(result.probability, limits, printed)
    return Percentages(
        decisive=_percent(result.probability, decimals),
        image=_percent(result.p_image, decimals),
        clinical=None if result.p_clinical is None else _percent(result.p_clinical, decimals),
        fused=None if result.p_fused is None else _percent(result.p_fused, decimals),
        t_high=_percent(result.t_high, decimals),
        t_low=_percent(result.t_low, decimals) if zone else None,
    )


def figure(printed: str, language: Language = _ENGLISH) -> str:
    """A printed number with the language's decimal sign."""
    return printed.replace(".", ",") if language is Language.GERMAN else printed


def disclaimer(language: Language = _ENGLISH) -> str:
    """What the result is not."""
    return words.DISCLAIMER.say(language)


def simulated_training(language: Language = _ENGLISH) -> str:
    """What every output of a model trained on simulated images says."""
    return words.SIMULATED.say(language)


def headline(outcome: Scored | Statement, *, language: Language = _ENGLISH) -> str:
    """The outcome as one word or two, for the eye."""
    match outcome:
        case NotAnalysed():
            return words.NOT_ANALYSED.say(language)
        case Withdrawn():
            return words.WITHDRAWN.say(language)
        case Scored():
            return words.HEADLINES[outcome.category].say(language)


def advice(outcome: Scored | Statement, *, language: Language = _ENGLISH) -> str:
    """What the outcome means and what it does not."""
    match outcome:
        case NotAnalysed():
            return words.NOT_ANALYSED_ADVICE.say(language)
        case Withdrawn():
            return words.WITHDRAWN_ADVICE.say(language)
        case Scored():
            return words.ADVICE[outcome.category].say(language)


def because(statement: Statement, *, language: Language = _ENGLISH) -> tuple[str, ...]:
    """Why there is no score, one sentence each: the reasons in words, or what the person who withdrew it wrote."""
    match statement:
        case NotAnalysed():
            return tuple(reason(code, language=language) for code in statement.reasons)
        case Withdrawn():
            return (statement.reason,)


def comment(result: Scored, *, language: Language = _ENGLISH) -> str:
    """One-line summary with disclaimer: the first visible item of the report."""
    shown = percentages(result)
    thresholds = [words.THRESHOLD_IS.say(language, high=figure(shown.t_high, language))]
    if shown.t_low is not None:
        thresholds.append(words.ZONE_IS.say(language, low=figure(shown.t_low, language)))
    parts = [
        words.COMMENT.say(
            language,
            headline=headline(result, language=language),
            value=figure(shown.decisive, language),
            thresholds=", ".join(thresholds),
        ),
        *([f"{simulated_training(language)}."] if result.model.simulated_training else []),
        advice(result, language=language),
        words.BASED_ON.say(language, inputs=inputs_used(result, language=language)),
        *([] if result.prevalence is None else [at_prevalence(result.prevalence, language=language)]),
        *([words.QUALITY_LIMITED.say(language)] if result.quality is Quality.LIMITED else []),
        disclaimer(language),
    ]
    return " ".join(parts)


def statement_comment(statement: Statement, *, language: Language = _ENGLISH) -> str:
    """The first visible item of a report without a number."""
    parts = [
        f"{headline(statement, language=language)}:",
        *(_sentence(why) for why in because(statement, language=language)),
        *([f"{simulated_training(language)}."] if statement.model.simulated_training else []),
        advice(statement, language=language),
        disclaimer(language),
    ]
    return " ".join(parts)


def inputs_used(result: Scored, *, language: Language = _ENGLISH) -> str:
    """Which inputs the decision rests on, with the reason where clinical data are not among them."""
    if result.mode is Mode.IMAGE_AND_CLINICAL:
        return words.IMAGE_AND_CLINICAL.say(language)
    if not result.match.joins:
        why = match(result.match, language=language)
        return words.IMAGE_ONLY_NO_DATA.say(language, code=result.match, why=why)
    complete = all(item.value is not None for item in result.inputs)
    return (words.IMAGE_ONLY_NOT_APPLICABLE if complete else words.IMAGE_ONLY_INCOMPLETE).say(language)


def at_prevalence(share: float, *, language: Language = _ENGLISH) -> str:
    """For which share of positives the printed probabilities hold."""
    return words.AT_PREVALENCE.say(language, percent=figure(f"{100 * share:.3g}", language))


def intended_use(*, simulated: bool, language: Language = _ENGLISH) -> str:
    """The full disclaimer; a model trained on simulated images says so first."""
    return f"{simulated_training(language)}. {disclaimer(language)}" if simulated else disclaimer(language)


def series_description(*, simulated: bool, language: Language = _ENGLISH) -> str:
    """Series Description (0008,103E) of the SR, at most 64 characters (LO)."""
    return _series(words.SERIES, words.SIMULATED_SERIES, simulated=simulated, language=language)


def companion_series(kind: str, version: int = 1, *, simulated: bool, language: Language = _ENGLISH) -> str:
    """Series Description of what is sent beside the SR: each version has a series of its own and says first which."""
    own = _series(words.COMPANIONS[kind], words.SIMULATED_COMPANIONS[kind], simulated=simulated, language=language)
    return own if version == 1 else f"v{version} {own}"


def replaces(version: int, moment: str, *, language: Language = _ENGLISH) -> str:
    """What an amended page says of the one before it; `moment` is when that one was made."""
    return words.REPLACES.say(language, version=version, moment=moment)


def match(outcome: MatchClass, *, language: Language = _ENGLISH) -> str:
    """A match class in words."""
    return words.MATCHES[outcome].say(language)


def reason(code: Reason, *, language: Language = _ENGLISH) -> str:
    """A limitation in words."""
    return words.REASONS[code].say(language)


def missing_because(item: ClinicalInput, outcome: MatchClass, *, language: Language = _ENGLISH) -> str:
    """Why an expected clinical value is missing; empty where the match class says it already."""
    if item.variable in SEX_VARIABLES:
        return words.SEX_MISSING.say(language)
    return words.MISSING_BECAUSE.say(language) if outcome.joins else ""


def source_of(item: ClinicalInput, *, used: bool, language: Language = _ENGLISH) -> str:
    """Where a clinical value came from; one that the decision does not rest on says so."""
    known = words.SOURCES.get(item.source)
    source = known.say(language) if known else item.source or words.UNNAMED_SOURCE.say(language)
    return source if used else f"{source} ({words.NOT_USED.say(language)})"


def variable(name: str, *, language: Language = _ENGLISH) -> str:
    """A clinical variable's name for the eye."""
    phrase = words.VARIABLES.get(name)
    return name.replace("_", " ").capitalize() if phrase is None else phrase.say(language)


def value(item: ClinicalInput, *, language: Language = _ENGLISH) -> str:
    """A clinical value with its unit, or "missing"; sex is coded 1 for female and 0 for male, as the model's column."""
    if item.value is None:
        return words.MISSING.say(language)
    if item.variable in SEX_VARIABLES:
        return (words.FEMALE if item.value else words.MALE).say(language)
    if item.unit == _YEARS:  # completed years, as people count them
        return words.YEARS.say(language, count=math.floor(item.value))
    return f"{figure(f'{round(item.value, 2):g}', language)} {_UNIT_WORDS.get(item.unit, item.unit)}".strip()


def value_age(days: float, *, language: Language = _ENGLISH) -> str:
    """How long before the image a value was observed."""
    if days < 1:
        return words.SAME_DAY.say(language)
    if days < _MONTHS_FROM_DAYS:
        whole = round(days)
        return words.ONE_DAY.say(language) if whole == 1 else words.DAYS.say(language, count=whole)
    return words.MONTHS.say(language, count=round(days / _DAYS_A_MONTH))


def comparison(tools: Sequence[Comparator], *, language: Language = _ENGLISH) -> str:
    """Published tools beside the model, each with the band its authors named."""
    return "; ".join(f"{c.tool} {figure(f'{c.value:g}', language)} ({_band(c.band, language)})" for c in tools)


def forbidden(text: str) -> tuple[str, ...]:
    """Every phrase in `text` that no output may contain, as found; all languages are looked for in every text."""
    return tuple(found.group() for found in _FORBIDDEN.finditer(text))


_YEARS: Final = "a"
"""UCUM for a year."""
_DAYS_A_MONTH: Final = 30.44
_CERTAIN: Final = 4
"""Decimals at which a probability may print as 0 or 100 %."""
_UNIT_WORDS: Final = {"1": "", "{score}": "", "kg/m2": "kg/m²", "mL/min/{1.73_m2}": "mL/min/1.73 m²"}
_MONTHS_FROM_DAYS: Final = 100


def _series(plain: Phrase, before: Phrase, *, simulated: bool, language: Language) -> str:
    return before.say(language) + simulated_training(language) if simulated else plain.say(language)


def _decimals(decisive: float, limits: Sequence[float], printed: Sequence[float]) -> int:
    """The fewest that keep every order; some more where "0.0 %" or "100.0 %" would claim a certainty nobody has."""
    for decimals in range(1, MAX_DECIMALS + 1):
        ends = [_keeps_order(p, end, decimals) for p in printed for end in (0.0, 1.0)]
        certain = decimals < _CERTAIN and not all(ends)
        if not certain and all(_keeps_order(decisive, limit, decimals) for limit in limits):
            return decimals
    msg = f"the probability cannot be told from its threshold at {MAX_DECIMALS} decimals"
    raise ValueError(msg)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _band(text: str, language: Language) -> str:
    """A band of `model.risk_tools`; a figure after it is kept."""
    for known, phrase in words.BANDS.items():
        if text.startswith(known):
            return phrase.say(language) + text.removeprefix(known)
    return text


def _percent(probability: float, decimals: int) -> str:
    """Exact decimal rounding: the float's own binary error must not decide a tie."""
    return str((Decimal(float(probability)) * 100).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN))


def _keeps_order(probability: float, limit: float, decimals: int) -> bool:
    printed, printed_limit = Decimal(_percent(probability, decimals)), Decimal(_percent(limit, decimals))
    return (probability > limit) == (printed > printed_limit) and (probability < limit) == (printed < printed_limit)
