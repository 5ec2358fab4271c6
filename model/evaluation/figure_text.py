"""Figures as text, the same in every report and card; what is missing is NaN in memory and null in JSON.

What is not defined is "-" and never "nan"; what has a value and no interval says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NOTHING = "-"


def known(number: float | None) -> bool:
    """Whether there is a number."""
    return number is not None and not math.isnan(number)


def interval(own: Mapping[str, Any] | None) -> str:
    """Value and limits; empty for a figure that was not asked for."""
    if own is None:
        return ""
    digits = 1 if known(own["value"]) and own["value"] >= 2 else 3  # noqa: PLR2004 - ratios against shares
    return _with_limits(own, f".{digits}f")


def signed(own: Mapping[str, Any] | None, *, digits: int = 3) -> str:
    """A difference with its sign."""
    return "" if own is None else _with_limits(own, f"+.{digits}f")


def number(value: float | None, form: str) -> str:
    """One number in a format such as `+.3f`."""
    return format(value, form) if known(value) else NOTHING


def p_value(p: float | None) -> str:
    """Four digits, and never 0."""
    return "< .0001" if p is not None and p < 1e-4 else number(p, ".4f")  # noqa: PLR2004 - four digits are printed


def beyond_zero(own: Mapping[str, Any]) -> int:
    """1 or -1 where the whole interval lies above or below 0, else 0; 0 as well without an interval."""
    if not known(own["low"]):
        return 0
    return int(own["low"] > 0) - int(own["high"] < 0)


def _with_limits(own: Mapping[str, Any], form: str) -> str:
    if not known(own["value"]):
        return NOTHING
    limits = f"{own['low']:{form}} to {own['high']:{form}}" if known(own["low"]) else "no interval"
    return f"{own['value']:{form}} ({limits})"
