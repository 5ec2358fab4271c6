"""What `osteon codes` shows: the whole code table as one document that a person at the site can check and sign."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from config.clinical import Codes
from config.code_file import code_table
from config.codes import CodeRule, CodeTable, UnitRule, Use, Variable
from config.settings import Settings
from node import places
from node.feeds.code_census import census
from node.feeds.er7 import HL7Error, Message
from node.feeds.inbox import read
from node.store import inbox

MINIMUM_WIDTH: Final = 150
"""Columns; printed into a file or to a printer there is no terminal to ask."""
LOOKED_AT: Final = 20_000
"""Newest messages whose codes are counted."""
PAGE: Final = 500
_SOURCES: Final = (
    "Source: M MIMIC-IV, D OHDSI DataQualityDashboard, T OHDSI Themis, F HL7 FHIR vital signs, P laboratories' test "
    "directories; G public code only and m memory are not used until a site file says `confirmed = true`."
)
_CHECK: Final = (
    "Check every row against your laboratory's and ward systems' codes and units, then write into the configuration:"
)


def show_codes(settings: Settings, *, site_file: Path | None, as_json: bool) -> None:
    """Print the table that the configuration, or `site_file`, gives.

    Raises:
        CodeTableError: it breaks a rule.

    """
    codes = settings.clinical.codes
    table = code_table(site_file or codes.file)
    if as_json:
        print(json.dumps(_facts(table, codes), indent=1, ensure_ascii=False))  # noqa: T201 - the command's output
        return
    console = Console(highlight=False, markup=False)
    console = Console(highlight=False, markup=False, width=max(console.width, MINIMUM_WIDTH))
    console.print(f"Clinical code table, version {table.version}")
    console.print("\nVariables")
    console.print(_variables(table))
    console.print("\nCodes")
    console.print(_codes(table))
    console.print(f"\n{_SOURCES}")
    console.print("\nSpellings of units: " + ", ".join(f"{a} = {u}" for a, u in table.unit_aliases.items()))
    console.print("Names of coding systems: " + ", ".join(f"{a} = {s}" for a, s in table.systems.items()))
    for region in table.regions:
        console.print(
            f"DXA region {region.region}: code {region.code!r}, text {region.text!r}, sub-ID {region.sub_id!r}"
        )
    console.print(f"\n{table.notice}\n")
    _confirmation(console, table, codes)


def show_seen(settings: Settings, *, site_file: Path | None, as_json: bool) -> None:
    """Print which codes and units the newest messages of the inbox carry, and what the table makes of them.

    Raises:
        CodeTableError: the table breaks a rule.

    """
    table = code_table(site_file or settings.clinical.codes.file)
    found = census(_messages(settings), table)
    if as_json:
        rows = [{**dataclasses.asdict(one), "count": count} for one, count in found.most_common()]
        print(json.dumps(rows, indent=1, ensure_ascii=False))  # noqa: T201 - the command's output
        return
    shown = Table("count", "system", "code", "unit", "means", "unit fits", box=None, pad_edge=False)
    for one, count in found.most_common():
        shown.add_row(str(count), one.system, one.code, one.unit, one.means, "yes" if one.unit_fits else "NO")
    Console(highlight=False, markup=False).print(shown if found else "no value has come by HL7 yet")


def _messages(settings: Settings) -> Iterator[Message]:
    """The readable ones among the newest messages, a page at a time."""
    places.open_settings_ledger(settings).close()  # it may still hold an older node's messages
    box = places.open_settings_inbox(settings)
    try:
        with box.read() as c:
            newest = next((info.seq for info in inbox.listed(c, limit=1)), 0)
            position = max(newest - LOOKED_AT, 0)
            while frames := inbox.after(c, position, PAGE):
                position = frames[-1].seq
                for frame in frames:
                    with contextlib.suppress(HL7Error):
                        yield read(frame.body, settings.clinical.mllp)
    finally:
        box.close()


def _variables(table: CodeTable) -> Table:
    shown = Table("variable", "unit", "range", "look-back", "model input", "levels, note", box=None, pad_edge=False)
    for v in table.variables.values():
        levels = ", ".join(f"{level} = {number:g}" for level, number in v.levels.items())
        shown.add_row(v.name, v.unit, _range(v), _lookback(v), _input(v), "; ".join(filter(None, [levels, v.note])))
    return shown


def _codes(table: CodeTable) -> Table:
    shown = Table("use", "system", "code", "means", "unit, factor", "source", "used", "note", box=None, pad_edge=False)
    order = {name: number for number, name in enumerate(table.variables)}
    uses = list(Use)
    rules = sorted(table.rules, key=lambda r: (uses.index(r.use), order.get(r.variable.name, 0) if r.variable else 0))
    for rule in rules:
        used = "yes" if rule.confirmed else "NOT CONFIRMED"
        used = used if rule.use in (Use.VARIABLE, Use.DXA) else "never"
        units = [_unit(name, unit) for name, unit in rule.units.items()]
        units += [f"{answer} = {level or 'unknown'}" for answer, level in rule.answers.items()]
        units += [f"without a unit: {rule.fixed_unit}"] if rule.fixed_unit else []
        note = rule.note if rule.use in (Use.VARIABLE, Use.DXA) else ""
        shown.add_row(rule.use.value, rule.system, rule.code, _means(rule), ", ".join(units), rule.source, used, note)
    return shown


def _confirmation(console: Console, table: CodeTable, codes: Codes) -> None:
    if codes.confirmed(table.version):
        console.print(f"Confirmed by {codes.confirmed_by} for this version.")
        return
    why = "for another version" if codes.confirmed_by else "by nobody"
    console.print(f"This version was confirmed {why}: every result is image-only until it is.")
    console.print(_CHECK)
    console.print(f'[clinical.codes]\nconfirmed_by = "<name>"\nconfirmed_version = "{table.version}"')


def _facts(table: CodeTable, codes: Codes) -> dict[str, Any]:
    return {
        "version": table.version,
        "confirmed": codes.confirmed(table.version),
        "confirmed_by": codes.confirmed_by,
        "confirmed_version": codes.confirmed_version,
        "notice": table.notice,
        "variables": [_variable_facts(v) for v in table.variables.values()],
        "codes": [_code_facts(rule) for rule in table.rules],
        "unit_aliases": dict(table.unit_aliases),
        "systems": dict(table.systems),
        "dxa_regions": [
            {"region": r.region, "code": r.code, "text": r.text, "sub_id": r.sub_id} for r in table.regions
        ],
    }


def _variable_facts(v: Variable) -> dict[str, Any]:
    return {
        "name": v.name,
        "unit": v.unit,
        "units": {name: [u.factor, u.offset] for name, u in v.units.items()},
        "levels": dict(v.levels),
        "range": [v.low, v.high] if math.isfinite(v.high) else None,
        "lookback_days": v.lookback_days,
        "feature": v.feature,
        "stored_only": v.stored_only,
        "comparators": sorted(v.comparators),
        "reference_low": v.reference_low,
        "reference_high": v.reference_high,
        "median": v.median,
        "note": v.note,
    }


def _code_facts(rule: CodeRule) -> dict[str, Any]:
    return {
        "system": rule.system,
        "code": rule.code,
        "use": rule.use.value,
        "means": _means(rule),
        "units": {name: [u.factor, u.offset] for name, u in rule.units.items()},
        "fixed_unit": rule.fixed_unit,
        "answers": dict(rule.answers),
        "level": rule.level,
        "source": rule.source,
        "confirmed": rule.confirmed,
        "note": rule.note,
    }


def _means(rule: CodeRule) -> str:
    if rule.variable is not None:
        return f"{rule.variable.name} = {rule.level}" if rule.level else rule.variable.name
    if rule.measure is not None:
        return f"{rule.measure.value} {rule.region or '(region by the site)'}"
    return rule.note


def _unit(name: str, unit: UnitRule) -> str:
    offset = f" + {unit.offset:g}" if unit.offset else ""
    return f"{name} x {unit.factor:g}{offset}"


def _range(v: Variable) -> str:
    if v.levels:
        return "category"
    return f"{v.low:g} to {v.high:g}" if v.ranged else "none stated"


def _lookback(v: Variable) -> str:
    if v.ever:
        return "ever before"
    return "" if v.lookback_days is None else f"{v.lookback_days:g} days"


def _input(v: Variable) -> str:
    if v.stored_only:
        return "stored only"
    return "allowed" if v.feature and v.lookback_days is not None else "never" if not v.feature else "no look-back yet"
