"""The clinical code table: which code and unit mean which variable, for both feeds.

The rows are data (`clinical_codes.toml`, read by `config.code_file`); here is what they mean. A code that is known but
not confirmed, or known as something else than it seems, is in the table too, so that it is never taken for new.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

LOINC: Final = "LN"
"""HL7 table 0396 name of LOINC."""
ICD_10_CM: Final = "I10C"
"""HL7 table 0396 name of ICD-10-CM. Its codes are compared without their dots: feeds send `M80.08XA` and `M8008XA`."""
EVER_DAYS: Final = 43_830.0
"""Look-back of "ever before": 120 years."""
REGIONS: Final = frozenset({"lumbar", "femoral_neck", "total_hip", "forearm"})
"""Regions whose DXA result is truth."""

_LOINC_CODE = re.compile(r"(\d{1,6})-(\d)")


class CodeTableError(Exception):
    """The code table cannot be used. One line: which entry and what is wrong."""


class Use(enum.Enum):
    """What the node does with a code."""

    VARIABLE = "variable"
    """A value of a clinical variable."""
    DXA = "dxa"
    """Truth for evaluation; never a feature."""
    SCORE = "score"
    """A risk score or a FRAX probability that others computed: context, never a feature."""
    DRUG = "drug"
    """A drug that follows the diagnosis (anti-osteoporotic): never a feature."""
    TRAP = "trap"
    """Looks like a variable and is another test: known so that nobody maps it by mistake."""


class Measure(enum.StrEnum):
    """What a DXA code reports."""

    T_SCORE = "t_score"
    Z_SCORE = "z_score"
    BMD = "bmd"
    """g/cm2."""
    DOCUMENT = "document"
    """A panel or a report: no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRule:
    """How a raw value in this unit becomes canonical: value * factor + offset."""

    factor: float
    offset: float = 0.0

    def apply(self, value: float) -> float:
        """The canonical value."""
        return value * self.factor + self.offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A clinical variable: a number in its canonical UCUM unit, or a category with numbered levels."""

    name: str
    unit: str
    units: Mapping[str, UnitRule]
    """Every unit with a known factor; which of them fit a code is the code's own."""
    levels: Mapping[str, float]
    """Levels of a category and their canonical numbers; empty for a number."""
    low: float
    high: float
    """Hard range: outside is an error of transmission. Never below 0; without a limit, infinite."""
    ranged: bool
    """False: the table states no range."""
    stored_only: bool
    """Kept for later, asked for by nobody; needs no range."""
    lookback_days: float | None
    """How old a value may be at the image's time; None: not asked for until the site sets it."""
    feature: bool
    """On the allow-list of what a model may be given."""
    comparators: frozenset[str]
    """Comparators whose bound may stand for the value."""
    reference_low: tuple[float, float] | None
    """Where the lower limit of a laboratory's reference range may lie, canonical unit; None: not checked."""
    reference_high: tuple[float, float] | None
    median: tuple[float, float] | None
    """Where a feed's median may lie, canonical unit; None: no drift alarm."""
    note: str

    @property
    def ever(self) -> bool:
        """Whether the look-back is "ever before": then a time known to a year only will do."""
        return self.lookback_days == EVER_DAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRule:
    """What one code means."""

    code: str
    """A trailing `*` stands for the whole family below."""
    system: str
    use: Use
    confirmed: bool
    """Only a confirmed code is used."""
    source: str
    """Marks of where it was found (clinical-data.md section 8); `site` for the site's own."""
    variable: Variable | None = None
    units: Mapping[str, UnitRule]
    """By exact, case-sensitive UCUM unit: those that fit the code's property (mass or moles per volume)."""
    fixed_unit: str = ""
    """The unit meant where the feed sends none; without it, no unit means no value."""
    answers: Mapping[str, str]
    """Coded answer -> level of the category; an empty level is an answer that says nothing ("unknown")."""
    level: str = ""
    """Level that the code states by its presence alone: a diagnosis, a drug."""
    measure: Measure | None = None
    region: str = ""
    """Of a DXA code: the region as it states it; truth only where it is one of `REGIONS` or the site maps it."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionRule:
    """The site's word on a DXA region: whatever is stated here must be equal."""

    region: str
    code: str = ""
    text: str = ""
    """Name of the code (OBX-3.2), compared without regard to case."""
    sub_id: str = ""
    """OBX-4."""

    def fits(self, code: str, text: str, sub_id: str) -> bool:
        """Whether a result is meant."""
        stated = ((self.code, code), (self.text.casefold(), text.strip().casefold()), (self.sub_id, sub_id.strip()))
        return all(not wanted or wanted == found for wanted, found in stated)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # one object per table, so that look-ups can be kept
class CodeTable:
    """All codes by (coding system, code), and the spellings that sites use."""

    version: str
    """Release and hash of the content: the same text means the same table."""
    codes: Mapping[tuple[str, str], CodeRule]
    families: tuple[CodeRule, ...]
    """Codes that end in `*`, longest first."""
    variables: Mapping[str, Variable]
    unit_aliases: Mapping[str, str]
    systems: Mapping[str, str]
    """Names of coding systems that feeds use -> the name in `codes`."""
    regions: tuple[RegionRule, ...]
    notice: str
    """Licence notice to print wherever the table is shown."""

    @property
    def lookback_days(self) -> dict[str, float]:
        """The allow-list: what a model may be given, with its look-back."""
        return {v.name: v.lookback_days for v in self.variables.values() if v.feature and v.lookback_days is not None}

    @property
    def rules(self) -> tuple[CodeRule, ...]:
        """Every row."""
        return (*self.codes.values(), *self.families)

    def unit(self, raw: str) -> str:
        """The UCUM unit meant by `raw`; unchanged when no alias is known."""
        return self.unit_aliases.get(raw.strip(), raw.strip())

    def system(self, raw: str) -> str:
        """The coding system meant by `raw`; unchanged when no alias is known."""
        return self.systems.get(raw.strip(), raw.strip())

    def find(self, code: str, system: str) -> CodeRule | None:
        """The rule of a code, or None when the table does not know it."""
        system = self.system(system)
        code = comparable(code, system)
        exact = self.codes.get((system, code))
        if exact is not None or not code:
            return exact
        families = (f for f in self.families if f.system == system)
        return next((f for f in families if code.startswith(comparable(f.code, system)[:-1])), None)

    def region(self, rule: CodeRule, text: str, sub_id: str) -> str:
        """The region of a DXA result: what the site maps it to, else what the code states."""
        mapped = (r.region for r in self.regions if r.fits(rule.code, text, sub_id))
        return next(mapped, rule.region)


def comparable(code: str, system: str) -> str:
    """A code in the form in which it is looked up."""
    return code.strip().upper().replace(".", "") if system == ICD_10_CM else code.strip()


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
