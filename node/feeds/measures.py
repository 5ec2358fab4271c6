"""A value as sent -> its canonical number, by the rule of its code (clinical-data.md sections 7 and 8).

The number, its comparator, its unit, its hard range, and whether the laboratory's own reference range (OBX-7) fits the
unit: a swapped unit that the hard range lets pass usually carries its old reference range with it. Nothing is clipped,
guessed or imputed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from config.codes import CodeRule, CodeTable, UnitRule, Variable
from node.facts import Unusable

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)
_COMMA_NUMBER = re.compile(r"[+-]?\d+(?:,\d+)?", re.ASCII)
_COMPARATOR = re.compile(r"(<=|>=|<|>)\s*(.*)", re.DOTALL)
_FROM_TO = re.compile(r"(\+?[\d.,]+)\s*[-\u2013]\s*(\+?[\d.,]+)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A number as a feed sent it."""

    value: str
    comparator: str = ""
    unit: str = ""
    reference: str = ""
    """The laboratory's reference range (OBX-7), in the same unit."""
    decimal_comma: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The canonical value, or why there is none."""

    value: float | None
    reason: str = ""


def split_comparator(text: str) -> tuple[str, str]:
    """(comparator, the rest) of `<5`; ("", text) where there is none."""
    match = _COMPARATOR.fullmatch(text.strip())
    return (match[1], match[2]) if match else ("", text.strip())


def number(text: str, *, decimal_comma: bool = False) -> float | None:
    """A number in HL7 NM form, None for anything else (an exponent, a word, the other decimal mark)."""
    match = (_COMMA_NUMBER if decimal_comma else _NUMBER).fullmatch(text.strip())
    found = float(match[0].replace(",", ".")) if match else math.inf
    return found if math.isfinite(found) else None


def canonical(sent: Sent, rule: CodeRule, table: CodeTable, comparators: frozenset[str] = frozenset()) -> Judged:
    """The value in the canonical unit: a number, without a comparator unless the policy allows it, in a unit that fits.

    The unit must be one of the code's own: another one does not fit the code's property (mass or moles per volume).
    """
    if sent.comparator not in ("", "=", *comparators):
        return Judged(value=None, reason=Unusable.COMPARATOR)
    value = number(sent.value, decimal_comma=sent.decimal_comma)
    if value is None:
        return Judged(value=None, reason=Unusable.NUMBER)
    unit = table.unit(sent.unit) or rule.fixed_unit
    if not unit:
        return Judged(value=None, reason=Unusable.NO_UNIT)
    if unit not in rule.units:
        return Judged(value=None, reason=Unusable.UNIT)
    return Judged(value=rule.units[unit].apply(value))


def measured(sent: Sent, rule: CodeRule, variable: Variable, table: CodeTable) -> Judged:
    """The value of a numeric variable, within its hard range and beside a reference range that fits its unit."""
    judged = canonical(sent, rule, table, variable.comparators)
    if judged.value is None:
        return judged
    if not variable.ranged and not variable.stored_only:
        return Judged(value=None, reason=Unusable.NO_RANGE)
    if not variable.low <= judged.value <= variable.high:
        return Judged(value=None, reason=Unusable.RANGE)
    unit = rule.units[table.unit(sent.unit) or rule.fixed_unit]
    if not _reference_fits(sent, unit, variable):
        return Judged(value=None, reason=Unusable.REFERENCE)
    return judged


def _reference_fits(sent: Sent, unit: UnitRule, variable: Variable) -> bool:
    """Whether the stated limits, read in the stated unit, are such as a laboratory could state for the variable."""
    low, high = _limits(sent.reference, decimal_comma=sent.decimal_comma)
    return all(
        limit is None or expected is None or expected[0] <= unit.apply(limit) <= expected[1]
        for limit, expected in ((low, variable.reference_low), (high, variable.reference_high))
    )


@lru_cache(maxsize=4096)  # a laboratory has few of them
def _limits(text: str, *, decimal_comma: bool) -> tuple[float | None, float | None]:
    """(lower, upper) limit of a reference range; None where it states none. A lower limit of 0 states none."""
    comparator, bound = split_comparator(text)
    if comparator:
        limit = number(bound, decimal_comma=decimal_comma)
        return (limit, None) if comparator.startswith(">") else (None, limit)
    match = _FROM_TO.fullmatch(bound)
    if match is None:
        return None, None
    return number(match[1], decimal_comma=decimal_comma) or None, number(match[2], decimal_comma=decimal_comma)
