"""One coded value of a feed -> a fact: the same rules for OBX segments and CSV rows (clinical-data.md 7 and 8).

A value is used only when status, unit and range all allow it. What is not used is kept as sent with the reason; it is
never clipped, converted by guess or imputed. DXA leaves through a type of its own and never becomes an observation.
"""

from __future__ import annotations

import datetime as dt
import enum
import re
from dataclasses import dataclass

from config.codes import CodeRule, CodeTable, UnitRule
from model.asof import coarser_than_a_day
from model.domain import Identifier
from node.facts import DxaFact, ObservationFact
from node.feeds.hl7_time import Interval

DXA_RANGE = (-8.0, 8.0)
"""T-scores outside are errors of transmission."""

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)


class Status(enum.Enum):
    """What a result status (HL7 table 0085) lets the node do with a value."""

    USABLE = "usable"
    KEPT = "kept"
    """Stored, not used: preliminary, unverified, ordered only."""
    VOID = "void"
    """The earlier row of the same key was wrong."""


class Remark(enum.StrEnum):
    """Why a value made no fact. Counted and logged, without the value."""

    CODE_UNKNOWN = "CODE_UNKNOWN"
    CODE_UNUSED = "CODE_UNUSED"
    DXA_UNUSABLE = "DXA_UNUSABLE"
    """A T-score whose status, unit or range is not right: it is no truth."""
    NO_TIME = "NO_TIME"
    NO_VALUE = "NO_VALUE"
    STATUS_ONLY = "STATUS_ONLY"
    """U: the status of an earlier result changed; it carries no value."""
    TIME_WEAK = "TIME_WEAK"
    """Observed time taken from the result's or the message's time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawObservation:
    """A value as a feed sent it, before any judgement."""

    patient: Identifier
    key: str
    codes: tuple[tuple[str, str], ...]
    """(code, coding system) in the order of preference."""
    value: str
    comparator: str = ""
    unit: str
    status: str
    """OBX-11 or the CSV column: F, C, P, D, W, ..."""
    observed: Interval | None
    available_at: dt.datetime
    source: str


def read_observation(raw: RawObservation, table: CodeTable) -> ObservationFact | DxaFact | Remark:
    """Judge one value by the code table."""
    rule = next((r for r in (table.find(code, system) for code, system in raw.codes) if r is not None), None)
    if rule is None:
        return Remark.CODE_UNKNOWN
    status = status_of(raw.status)
    if raw.observed is None:
        return Remark.NO_TIME
    remark = _empty(raw, rule, status)
    if remark is not None:
        return remark
    if rule.dxa_region:
        return _dxa(raw, rule, status, raw.observed, table)
    return _observation(raw, rule, status, raw.observed, table)


def status_of(code: str) -> Status:
    """Meaning of an OBX-11 code; an absent or unknown one is not taken for final."""
    if code in ("F", "C", "V", "A", "B"):
        return Status.USABLE
    return Status.VOID if code in ("D", "W") else Status.KEPT


def number(text: str) -> float | None:
    """A number in HL7 NM form; None for anything else (a decimal comma, an exponent, a word)."""
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def _empty(raw: RawObservation, rule: CodeRule, status: Status) -> Remark | None:
    """Why there is nothing to keep."""
    if rule.variable is None and not rule.dxa_region:
        return Remark.CODE_UNUSED
    if raw.status == "U":
        return Remark.STATUS_ONLY
    return Remark.NO_VALUE if not raw.value and status is not Status.VOID else None


def _observation(
    raw: RawObservation, rule: CodeRule, status: Status, observed: Interval, table: CodeTable
) -> ObservationFact:
    variable = rule.variable
    assert variable is not None  # noqa: S101 - the caller sent DXA codes elsewhere
    value, reason = _value(raw, rule, status, table)
    if value is not None and not variable.low <= value <= variable.high:
        value, reason = None, "RANGE"
    if value is not None and coarser_than_a_day(observed.start, observed.end):
        value, reason = None, "TIME"
    loinc = next((code for code, system in raw.codes if system == "LN"), "")
    return ObservationFact(
        patient=raw.patient,
        key=raw.key,
        variable=variable.name,
        raw_value=raw.comparator + raw.value,
        raw_unit=raw.unit,
        value=value,
        unit=variable.unit,
        observed_start=observed.start,
        observed_end=observed.end,
        available_at=raw.available_at,
        usable=value is not None,
        reason=reason,
        source=raw.source,
        code=loinc,
    )


def _dxa(raw: RawObservation, rule: CodeRule, status: Status, observed: Interval, table: CodeTable) -> DxaFact | Remark:
    score, _ = _value(raw, rule, status, table)
    if score is None or not DXA_RANGE[0] <= score <= DXA_RANGE[1]:
        return Remark.DXA_UNUSABLE
    return DxaFact(
        patient=raw.patient,
        key=raw.key,
        region=rule.dxa_region,
        t_score=score,
        observed_at=observed.start,
        source=raw.source,
    )


def _value(raw: RawObservation, rule: CodeRule, status: Status, table: CodeTable) -> tuple[float | None, str]:
    """(canonical value, "") or (None, why it is not used)."""
    if status is Status.VOID:
        return None, "VOID"
    if status is Status.KEPT:
        return None, "STATUS"
    if raw.comparator not in ("", "="):
        return None, "COMPARATOR"
    value = number(raw.value)
    if value is None:
        return None, "NUMBER"
    unit: UnitRule | None = rule.units.get(table.unit(raw.unit))
    if unit is None:
        return None, "UNIT"
    return value * unit.factor + unit.offset, ""
