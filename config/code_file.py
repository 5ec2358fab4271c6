"""Reading the clinical code table: the shipped TOML, and a site's file laid over it.

A table that breaks a rule (LOINC check digit, a code twice, a unit without a factor, a level that the variable does not
have) is refused as a whole: a wrong row would silently change patients' values. The hash of the content is part of the
version, so a site's confirmation holds for exactly what was confirmed.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from config.codes import (
    EVER_DAYS,
    LOINC,
    REGIONS,
    CodeRule,
    CodeTable,
    CodeTableError,
    Measure,
    RegionRule,
    UnitRule,
    Use,
    Variable,
    comparable,
    valid_loinc,
)

_SHIPPED: Final = Path(__file__).with_name("clinical_codes.toml")
_SITE_TABLES: Final = frozenset({"codes", "variables", "unit_aliases", "systems", "dxa_regions"})
_CONFIRMED_MARKS: Final = frozenset("MDTFP")
"""A second source had the code. G (public code only) and m (memory) do not count: three of the latter were wrong."""
_CODE_KEYS: Final = frozenset(
    {
        *(use.value for use in Use),
        *("code", "system", "region", "units", "fixed_unit", "answers", "level", "source", "confirmed", "note"),
    }
)
_VARIABLE_KEYS: Final = frozenset(
    {
        *("unit", "units", "levels", "range", "lookback_days", "stored_only", "feature", "comparators"),
        *("reference_low", "reference_high", "median", "note"),
    }
)


@functools.cache
def code_table(site_file: Path | None = None) -> CodeTable:
    """The shipped table, with the site's file laid over it.

    Raises:
        CodeTableError: the site's file cannot be read, or the result breaks a rule.

    """
    shipped = tomllib.loads(_SHIPPED.read_text(encoding="utf-8"))
    if site_file is None:
        return parse(shipped)
    try:
        site = tomllib.loads(site_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"code table {site_file}: cannot be read ({error})"
        raise CodeTableError(msg) from error
    try:
        return parse(overlaid(shipped, site))
    except (CodeTableError, TypeError, AttributeError, ValueError) as error:
        msg = f"code table {site_file}: {error}"
        raise CodeTableError(msg) from error


def overlaid(shipped: dict[str, Any], site: dict[str, Any]) -> dict[str, Any]:
    """The shipped table with the site's: an entry of the same key is extended or changed, a new one is added."""
    if unknown := site.keys() - _SITE_TABLES:
        msg = f"unknown table {min(unknown)!r}; there are {', '.join(sorted(_SITE_TABLES))}"
        raise CodeTableError(msg)
    codes = _by_key(shipped["codes"])
    for key, entry in _by_key(site.get("codes", [])).items():
        own = entry if key in codes else {"source": "site", "confirmed": True} | entry
        codes[key] = codes.get(key, {}) | own
    variables = {name: dict(entry) for name, entry in shipped["variables"].items()}
    for name, entry in site.get("variables", {}).items():
        before = variables.setdefault(name, {})
        if entry.get("feature") and not before.get("feature"):
            msg = f"variable {name}: a site's file cannot make it a model input; the list of inputs ships with the node"
            raise CodeTableError(msg)
        units = before.get("units", {}) | entry.get("units", {})
        variables[name] = before | entry | ({"units": units} if units else {})
    return shipped | {
        "codes": list(codes.values()),
        "variables": variables,
        "unit_aliases": shipped["unit_aliases"] | site.get("unit_aliases", {}),
        "systems": shipped["systems"] | site.get("systems", {}),
        "dxa_regions": site.get("dxa_regions", []),
    }


def parse(table: dict[str, Any]) -> CodeTable:
    """Check a parsed TOML table.

    Raises:
        CodeTableError: an entry is incomplete, occurs twice or fails its check digit.

    """
    try:
        variables = {name: _variable(name, entry) for name, entry in table["variables"].items()}
        rules = {key: _rule(entry, variables) for key, entry in _by_key(table["codes"]).items()}
        families = (r for r in rules.values() if r.code.endswith("*"))
        return CodeTable(
            version=f"{table['version']}+{_digest(table)}",
            codes={key: rule for key, rule in rules.items() if not rule.code.endswith("*")},
            families=tuple(sorted(families, key=lambda r: -len(r.code))),
            variables=variables,
            unit_aliases=dict(table["unit_aliases"]),
            systems=dict(table["systems"]),
            regions=tuple(_region(entry) for entry in table.get("dxa_regions", [])),
            notice=table["notice"],
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        msg = f"the code table lacks an entry or holds a wrong value: {error}"
        raise CodeTableError(msg) from error


def _digest(table: dict[str, Any]) -> str:
    """First 12 digits of the SHA-256 of the content; order of codes and comments do not matter."""
    content = {"dxa_regions": []} | table | {"codes": sorted(table["codes"], key=_key)}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:12]


def _key(entry: Mapping[str, Any]) -> tuple[str, str]:
    system = entry.get("system", LOINC)
    return system, comparable(entry["code"], system)


def _by_key(entries: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in entries:
        if "code" not in entry:
            msg = "an entry of `codes` has no code"
            raise CodeTableError(msg)
        if _key(entry) in found:
            msg = f"code {entry['code']} occurs twice"
            raise CodeTableError(msg)
        found[_key(entry)] = entry
    return found


def _variable(name: str, entry: dict[str, Any]) -> Variable:
    _known_keys(f"variable {name}", entry, _VARIABLE_KEYS)
    levels = {level: float(number) for level, number in entry.get("levels", {}).items()}
    low, high = (float(limit) for limit in entry.get("range", (0.0, math.inf)))
    if not 0 <= low < high:
        msg = f"variable {name}: the range must increase from 0 or more; negative numbers are for DXA only"
        raise CodeTableError(msg)
    lookback = entry.get("lookback_days")
    return Variable(
        name=name,
        unit=entry["unit"],
        units={} if levels else _factors(name, entry),
        levels=levels,
        low=low,
        high=high,
        ranged="range" in entry or bool(levels),
        stored_only=entry.get("stored_only", False),
        lookback_days=EVER_DAYS if lookback == "ever" else None if lookback is None else float(lookback),
        feature=entry.get("feature", False),
        comparators=frozenset(entry.get("comparators", ())),
        reference_low=_pair(entry, "reference_low"),
        reference_high=_pair(entry, "reference_high"),
        median=_pair(entry, "median"),
        note=entry.get("note", ""),
    )


def _factors(name: str, entry: dict[str, Any]) -> dict[str, UnitRule]:
    units = {unit: UnitRule(factor=float(u[0]), offset=float(u[1])) for unit, u in entry.get("units", {}).items()}
    if units.get(entry["unit"]) != UnitRule(factor=1.0):
        msg = f"variable {name}: its own unit {entry['unit']} must be among its units as [1, 0]"
        raise CodeTableError(msg)
    if not all(math.isfinite(u.factor) and math.isfinite(u.offset) and u.factor > 0 for u in units.values()):
        msg = f"variable {name}: a unit's factor must be a positive number"
        raise CodeTableError(msg)
    return units


def _pair(entry: dict[str, Any], key: str) -> tuple[float, float] | None:
    if key not in entry:
        return None
    low, high = entry[key]
    if not low < high:
        msg = f"{key} {low}, {high} must increase"
        raise CodeTableError(msg)
    return float(low), float(high)


def _rule(entry: dict[str, Any], variables: Mapping[str, Variable]) -> CodeRule:
    code, system = entry["code"].strip(), entry.get("system", LOINC)
    use = _use(code, system, entry)
    variable = variables.get(entry["variable"]) if use is Use.VARIABLE else None
    if use is Use.VARIABLE and variable is None:
        msg = f"code {code}: no variable is called {entry['variable']!r}"
        raise CodeTableError(msg)
    measure = Measure(entry["dxa"]) if use is Use.DXA else None
    rule = CodeRule(
        code=code,
        system=system,
        use=use,
        confirmed=entry.get("confirmed", bool(_CONFIRMED_MARKS & set(entry["source"].split()))),
        source=entry["source"],
        variable=variable,
        units=_units(code, entry, variable, measure),
        fixed_unit=entry.get("fixed_unit", ""),
        answers=dict(entry.get("answers", {})),
        level=entry.get("level", ""),
        measure=measure,
        region=entry.get("region", ""),
        note=entry[use.value] if use in (Use.TRAP, Use.SCORE, Use.DRUG) else entry.get("note", ""),
    )
    _check(rule)
    return rule


def _use(code: str, system: str, entry: dict[str, Any]) -> Use:
    _known_keys(f"code {code}", entry, _CODE_KEYS)
    if system == LOINC and not valid_loinc(code):
        msg = f"{code} is no LOINC code (check digit)"
        raise CodeTableError(msg)
    uses = [use for use in Use if entry.get(use.value)]
    if len(uses) != 1:
        msg = f"code {code}: give exactly one of {', '.join(use.value for use in Use)}"
        raise CodeTableError(msg)
    return uses[0]


def _units(code: str, entry: dict[str, Any], variable: Variable | None, measure: Measure | None) -> dict[str, UnitRule]:
    """The units that fit the code's property, each with its factor."""
    names = entry.get("units", [])
    if measure is not None:
        return {name: UnitRule(factor=1.0) for name in names}
    if variable is None:
        return {}
    if without := [name for name in names if name not in variable.units]:
        msg = f"code {code}: unit {without[0]} has no factor for {variable.name}"
        raise CodeTableError(msg)
    return {name: variable.units[name] for name in names}


def _check(rule: CodeRule) -> None:
    variable = rule.variable
    number = variable is not None and not variable.levels
    measured = rule.measure not in (None, Measure.DOCUMENT)
    if (number or measured) and not rule.units:
        msg = f"code {rule.code} has no unit"
        raise CodeTableError(msg)
    if rule.fixed_unit and rule.fixed_unit not in rule.units:
        msg = f"code {rule.code}: the fixed unit {rule.fixed_unit} is none of its units"
        raise CodeTableError(msg)
    levels = {level for level in (*rule.answers.values(), rule.level) if level}
    if levels - (variable.levels.keys() if variable else set()):
        msg = f"code {rule.code}: {sorted(levels)} are not all levels of its variable"
        raise CodeTableError(msg)


def _region(entry: dict[str, Any]) -> RegionRule:
    rule = RegionRule(**entry)
    if rule.region not in REGIONS or not (rule.code or rule.text or rule.sub_id):
        msg = f"dxa_regions: give a code, text or sub_id, and a region of {', '.join(sorted(REGIONS))}"
        raise CodeTableError(msg)
    return rule


def _known_keys(what: str, entry: Mapping[str, Any], known: frozenset[str]) -> None:
    if unknown := entry.keys() - known:
        msg = f"{what}: unknown key {min(unknown)!r}"
        raise CodeTableError(msg)
