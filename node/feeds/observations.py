"""One coded value of a feed -> a fact: the same rules for OBX segments and CSV rows (clinical-data.md 7 and 8).

A value is used only when code, status, unit, range and reference range all allow it. What is not used is kept as sent
with the reason; it is never clipped, converted by guess or imputed. DXA leaves through a type of its own and never
becomes an observation; scores of others and drugs that follow the diagnosis become nothing at all.

A value whose code is not in the table makes no fact: it may hold anything, also names. It stays where it is kept raw
already, in the frame of the inbox, is counted, and is read again when the inbox is replayed under a larger table.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass, replace
from functools import lru_cache

from config.codes import LOINC, REGIONS, CodeRule, CodeTable, Measure, Use, Variable
from model.asof import precise_enough
from model.domain import Identifier
from node.facts import DxaFact, ObservationFact, StatusFact, Unusable
from node.feeds.hl7_time import Interval
from node.feeds.measures import Judged, Sent, canonical, measured, split_comparator

DXA_LIMITS = {Measure.T_SCORE: (-8.0, 8.0), Measure.Z_SCORE: (-8.0, 8.0), Measure.BMD: (0.2, 2.5)}
"""Outside are errors of transmission. Only here may a number be negative. BMD in g/cm2."""
MAX_RAW = 200
"""Characters of a raw value that are kept: enough for any number or code, too few for a letter about a patient."""


class Status(enum.Enum):
    """What a result status (HL7 table 0085) lets the node do with a value."""

    USABLE = "usable"
    KEPT = "kept"
    """Stored, not used: preliminary, unverified, ordered only."""
    FINAL_NOW = "final_now"
    """U: what was sent as preliminary is final; the value is not sent again."""
    NONE = "none"
    """X: there is no result; one that was sent before is withdrawn."""
    VOID = "void"
    """D, W, and C without a value: the earlier row of the same key was wrong."""


_TAKEN_BACK = (Status.VOID, Status.NONE)


class Remark(enum.StrEnum):
    """Why a value made no fact. Counted and logged, without the value."""

    CODE_UNKNOWN = "CODE_UNKNOWN"
    CODE_UNCONFIRMED = "CODE_UNCONFIRMED"
    """In the table with a source that does not count; a site's file can switch it on."""
    CODE_CONFLICT = "CODE_CONFLICT"
    """The two codes of one value mean different things."""
    CODE_UNUSED = "CODE_UNUSED"
    """Known as another test than it seems."""
    DRUG = "DRUG"
    """A drug that follows the diagnosis: never a value of a variable."""
    DXA_DOCUMENT = "DXA_DOCUMENT"
    NO_TIME = "NO_TIME"
    NO_VALUE = "NO_VALUE"
    SCORE = "SCORE"
    """A score that others computed: context only."""
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
    visit: str = ""
    """PV1-19 of a value that an ADT message carried."""
    decimal_comma: bool = False
    """The feed declares that it writes 61,5 for 61.5."""
    answers: tuple[tuple[str, str], ...] = ()
    """(code, coding system) of a coded value (CE, CWE, CNE), in the order of preference; empty for any other type."""
    reference: str = ""
    """The laboratory's reference range (OBX-7)."""
    text: str = ""
    """Name of the code as sent (OBX-3.2); tells regions of a DXA apart where the site says so."""
    sub_id: str = ""
    """OBX-4."""
    weak_time: bool = False
    """`observed` is only when it was reported or sent."""
    named: str = ""
    """As the fact's."""
    sent_at: dt.datetime | None = None
    """MSH-7."""


Read = ObservationFact | DxaFact | StatusFact | Remark


def read_observation(raw: RawObservation, table: CodeTable) -> Read:
    """Judge one value by the code table."""
    rule = _rule(raw.codes, table)
    if isinstance(rule, Remark):
        return rule
    status = _status(raw, rule)
    if remark := _nothing(raw, rule, status):
        return remark
    if status is Status.FINAL_NOW:
        return StatusFact(patient=raw.patient, key=raw.key, available_at=raw.available_at, source=raw.source)
    if raw.value.lstrip().startswith(("<", ">")):
        comparator, value = split_comparator(raw.value)
        raw = replace(raw, comparator=comparator, value=value)
    if rule.variable is None:
        return _dxa(raw, rule, status, table)
    return _observation(raw, rule, rule.variable, status, table)


def status_of(code: str) -> Status:
    """Meaning of an OBX-11 code; an absent or unknown one is not taken for final."""
    if code in ("F", "C", "V", "A", "B"):
        return Status.USABLE
    others = {"U": Status.FINAL_NOW, "X": Status.NONE, "D": Status.VOID, "W": Status.VOID}
    return others.get(code, Status.KEPT)


@lru_cache(maxsize=8192)  # a feed has few codes and sends them all day
def _rule(codes: tuple[tuple[str, str], ...], table: CodeTable) -> CodeRule | Remark:
    """The rule of a value that carries one or more codes, or why none holds."""
    rules = [rule for rule in (table.find(code, system) for code, system in codes) if rule is not None]
    unused = {Use.TRAP: Remark.CODE_UNUSED, Use.SCORE: Remark.SCORE, Use.DRUG: Remark.DRUG}
    for rule in rules:
        if rule.use in unused:
            return unused[rule.use]
    confirmed = [rule for rule in rules if rule.confirmed]
    if not confirmed:
        return Remark.CODE_UNCONFIRMED if rules else Remark.CODE_UNKNOWN
    if len({(rule.variable and rule.variable.name, rule.measure) for rule in confirmed}) > 1:
        return Remark.CODE_CONFLICT
    return Remark.DXA_DOCUMENT if confirmed[0].measure is Measure.DOCUMENT else confirmed[0]


def _nothing(raw: RawObservation, rule: CodeRule, status: Status) -> Remark | None:
    """Why there is nothing to keep."""
    if raw.observed is None:
        return Remark.NO_TIME
    wordless = status in (*_TAKEN_BACK, Status.FINAL_NOW)
    return None if wordless or _says_something(raw, rule) else Remark.NO_VALUE


def _status(raw: RawObservation, rule: CodeRule) -> Status:
    """What the status means here: a correction to nothing takes the value back."""
    if raw.status == "C" and not _says_something(raw, rule):
        return Status.VOID
    return status_of(raw.status)


def _says_something(raw: RawObservation, rule: CodeRule) -> bool:
    return bool(raw.value or rule.level or any(code for code, _ in raw.answers))


def _observation(
    raw: RawObservation, rule: CodeRule, variable: Variable, status: Status, table: CodeTable
) -> ObservationFact:
    assert raw.observed is not None  # noqa: S101 - `_nothing` has seen to it
    observed = raw.observed
    judged = _judged(raw, rule, variable, status, table)
    if judged.value is not None and not precise_enough(observed.start, observed.end, variable.lookback_days or 0.0):
        judged = Judged(value=None, reason=Unusable.TIME)
    kept = judged.value is not None and status is Status.KEPT
    sent = raw.codes[0][0] if rule.level and not raw.value else raw.comparator + raw.value
    return ObservationFact(
        patient=raw.patient,
        key=raw.key,
        variable=variable.name,
        raw_value=sent[:MAX_RAW],
        raw_unit=raw.unit[:MAX_RAW],
        value=judged.value,
        unit=variable.unit,
        observed_start=observed.start,
        observed_end=observed.end,
        available_at=raw.available_at,
        usable=judged.value is not None and not kept,
        reason=Unusable.STATUS if kept else judged.reason,
        source=raw.source,
        code=rule.code if rule.system == LOINC else "",
        comparator=raw.comparator,
        status=raw.status,
        table_version=table.version,
        visit=raw.visit,
        weak_time=raw.weak_time,
        named=raw.named,
        sent_at=raw.sent_at,
    )


def _judged(raw: RawObservation, rule: CodeRule, variable: Variable, status: Status, table: CodeTable) -> Judged:
    if status in _TAKEN_BACK:
        return Judged(value=None, reason=_void(raw))
    if rule.level:
        return Judged(value=variable.levels[rule.level])
    if variable.levels:
        return _category(raw, rule, variable)
    if raw.answers:
        return Judged(value=None, reason=Unusable.NUMBER)
    return measured(_sent(raw), rule, variable, table)


def _category(raw: RawObservation, rule: CodeRule, variable: Variable) -> Judged:
    """The level of a coded answer. Its code is looked up as it is: LOINC's begin with LA, a site's are its own."""
    codes = [code for code, _ in raw.answers] or [raw.value]
    level = next((rule.answers[code] for code in codes if code in rule.answers), None)
    if level is None:
        return Judged(value=None, reason=Unusable.ANSWER)
    return Judged(value=variable.levels[level]) if level else Judged(value=None, reason=Unusable.UNKNOWN)


def _dxa(raw: RawObservation, rule: CodeRule, status: Status, table: CodeTable) -> DxaFact:
    assert raw.observed is not None  # noqa: S101 - `_nothing` has seen to it
    region = table.region(rule, raw.text, raw.sub_id)
    judged = canonical(_sent(raw), rule, table)
    measure = rule.measure or Measure.T_SCORE
    low, high = DXA_LIMITS[measure]
    if status in _TAKEN_BACK:
        judged = Judged(value=None, reason=_void(raw))
    elif judged.value is not None and not low <= judged.value <= high:
        judged = Judged(value=None, reason=Unusable.RANGE)
    reason = judged.reason
    if judged.value is not None and region not in REGIONS:
        reason = Unusable.REGION
    elif judged.value is not None and status is Status.KEPT:
        reason = Unusable.STATUS
    return DxaFact(
        patient=raw.patient,
        key=raw.key,
        region=region,
        t_score=judged.value if measure is Measure.T_SCORE else None,
        z_score=judged.value if measure is Measure.Z_SCORE else None,
        bmd=judged.value if measure is Measure.BMD else None,
        observed_at=raw.observed.start,
        source=raw.source,
        usable=not reason,
        reason=reason,
        weak_time=raw.weak_time,
        named=raw.named,
    )


def _sent(raw: RawObservation) -> Sent:
    return Sent(
        value=raw.value,
        comparator=raw.comparator,
        unit=raw.unit,
        reference=raw.reference,
        decimal_comma=raw.decimal_comma,
    )


def _void(raw: RawObservation) -> str:
    return {"W": Unusable.WRONG_PATIENT, "X": Unusable.WITHDRAWN}.get(raw.status, Unusable.VOID)
