"""The clinical code table: which code and unit mean which variable, as data in `clinical_codes.toml`.

One reading of the table for both feeds. A table that breaks a rule (LOINC check digit, a code twice, a unit without a
factor) is refused as a whole: a wrong row would silently change patients' values.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOINC = "LN"
"""HL7 table 0396 name of LOINC."""
_LOINC_CODE = re.compile(r"(\d{1,6})-(\d)")


class CodeTableError(Exception):
    """The code table cannot be used. One line: which entry and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRule:
    """How a raw value in this unit becomes canonical: value * factor + offset."""

    factor: float
    offset: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A clinical variable in its canonical UCUM unit with the range outside of which a value is an error."""

    name: str
    unit: str
    low: float
    high: float
    lookback_days: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRule:
    """What one code means. Exactly one of `variable` and `dxa_region` is set, or neither for a code known as unused."""

    code: str
    variable: Variable | None = None
    dxa_region: str = ""
    units: Mapping[str, UnitRule]
    """By exact, case-sensitive UCUM unit; other units do not fit the code's property."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTable:
    """All codes by (coding system, code), and the spellings of units that sites use."""

    version: str
    codes: Mapping[tuple[str, str], CodeRule]
    variables: Mapping[str, Variable]
    unit_aliases: Mapping[str, str]

    def unit(self, raw: str) -> str:
        """The UCUM unit meant by `raw`; unchanged when no alias is known."""
        return self.unit_aliases.get(raw.strip(), raw.strip())

    def find(self, code: str, system: str) -> CodeRule | None:
        """The rule of a code, or None when the table does not know it."""
        return self.codes.get((system.strip(), code.strip()))


def loinc_check_digit(number: str) -> int:
    """Check digit of a LOINC number's digits (Mod 10, LOINC Users' Guide)."""
    total = 0
    for position, digit in enumerate(reversed(number)):
        doubled = int(digit) * (2 if position % 2 == 0 else 1)
        total += doubled // 10 + doubled % 10
    return -total % 10


def valid_loinc(code: str) -> bool:
    """Whether `code` has the form of a LOINC code and its check digit is right."""
    match = _LOINC_CODE.fullmatch(code)
    return match is not None and loinc_check_digit(match[1]) == int(match[2])


@functools.cache
def shipped() -> CodeTable:
    """The table that ships with the package."""
    return parse(tomllib.loads(Path(__file__).with_name("clinical_codes.toml").read_text(encoding="utf-8")))


def parse(table: dict[str, Any]) -> CodeTable:
    """Check a parsed TOML table.

    Raises:
        CodeTableError: an entry is incomplete, occurs twice or fails its check digit.

    """
    try:
        variables = {
            name: Variable(
                name=name, unit=v["unit"], low=v["range"][0], high=v["range"][1], lookback_days=v["lookback_days"]
            )
            for name, v in table["variables"].items()
        }
        codes: dict[tuple[str, str], CodeRule] = {}
        for entry in table["codes"]:
            rule = _rule(entry, variables)
            if codes.setdefault((entry.get("system", LOINC), rule.code), rule) is not rule:
                msg = f"code {rule.code} occurs twice"
                raise CodeTableError(msg)
        return CodeTable(
            version=table["version"], codes=codes, variables=variables, unit_aliases=dict(table["unit_aliases"])
        )
    except (KeyError, IndexError, TypeError) as error:
        msg = f"the code table lacks an entry: {error}"
        raise CodeTableError(msg) from error


def _rule(entry: dict[str, Any], variables: Mapping[str, Variable]) -> CodeRule:
    code = entry["code"]
    if entry.get("system", LOINC) == LOINC and not valid_loinc(code):
        msg = f"{code} is no LOINC code (check digit)"
        raise CodeTableError(msg)
    units = {unit: UnitRule(factor=u[0], offset=u[1]) for unit, u in entry.get("units", {}).items()}
    ignored, region = entry.get("ignored", False), entry.get("dxa_region", "")
    if not ignored and not units:
        msg = f"code {code} has no unit"
        raise CodeTableError(msg)
    variable = None if ignored or region else variables[entry["variable"]]
    return CodeRule(code=code, variable=variable, dxa_region=region, units=units)
