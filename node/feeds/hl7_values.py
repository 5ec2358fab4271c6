"""OBX, DG1 and AL1 -> values as sent, with the key, the times and the status of clinical-data.md section 7.

The key is stable under resending: a correction or a void finds the row it means. So it holds nothing that changes from
one message to the next, such as the time of sending.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from model.domain import Identifier
from node.facts import key_start
from node.feeds.er7 import DELETE, Segment
from node.feeds.hl7_encoding import Separators
from node.feeds.hl7_rules import Envelope
from node.feeds.hl7_time import Interval, instant, interval
from node.feeds.observations import RawObservation, Remark

VALUE_TYPES = frozenset({"NM", "SN", "ST", "TX", "CE", "CWE", "CNE"})
_CODED = frozenset({"CE", "CWE", "CNE"})
_GROUP_FINAL = frozenset({"", "F", "C", "A", "M", "U"})
"""OBR-25 (table 0123) that leaves the word to OBX-11; any other keeps the whole group from use."""
_VOID = frozenset({"D", "W"})
_REPLACED = _VOID | {"C", "X"}
_FINAL_DIAGNOSIS = frozenset({"", "F"})
"""DG1-6 (table 0052): an admitting or a working diagnosis is a suspicion."""

Code = tuple[str, str]
"""(code, coding system)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What values stand under: the patient, what the order says of all of them, the visit if an ADT carries them."""

    patient: Identifier
    number: str
    """The order number; with one, keys need no time."""
    final: bool
    """Whether OBR-25 leaves the word to OBX-11."""
    void: str
    """D or W where OBR-25 takes the whole group back."""
    observed: Interval | None
    """OBR-7, else SPM-17."""
    reported: Interval | None
    """OBR-22."""
    visit: str
    seen: Counter[Code]
    """How often each code came without a sub-ID."""


def group(patient: Identifier, order: Segment, specimen: Segment, envelope: Envelope, *, visit: str = "") -> Group:
    """Read once what holds for every value of an order (OBR, SPM); of an empty segment nothing does."""
    zone, status = envelope.rules.zone, order.text(25)
    number = entity(order, 3) or entity(order, 2)
    return Group(
        patient=patient,
        number=number,
        final=status in _GROUP_FINAL,
        void=status if status in _VOID else "",
        observed=interval(order.text(7), zone) or interval(specimen.text(17), zone),
        reported=interval(order.text(22), zone),
        visit=visit,
        seen=Counter(),
    )


def observation(obx: Segment, group: Group, envelope: Envelope, *, void: bool = False) -> RawObservation:
    """One OBX as sent. `void`: the message takes back what it carries."""
    kind, value = obx.text(2), obx.text(5)
    codes, name = _identified(obx, envelope)
    stated = interval(obx.text(14), envelope.rules.zone) or group.observed
    observed = stated or _weak_time(group, envelope)
    comparator, value = _structured(obx) if kind == "SN" else ("", value)
    sub_id = obx.text(4)
    own = sub_id or _ordinal(codes[0], group, envelope)
    return RawObservation(
        patient=group.patient,
        key=_key(group, codes[0], own, stated, observed),
        codes=codes,
        value=value,
        comparator=comparator,
        unit=obx.text(6) if obx.raw(6).isalnum() else _unit(obx, envelope),
        status=_status(obx, group, void=void),
        observed=observed,
        available_at=_available(obx, group, envelope),
        source=envelope.source,
        visit=group.visit,
        decimal_comma=envelope.rules.decimal_comma,
        answers=code_pairs(obx, 5) if kind in _CODED else (),
        reference=obx.text(7),
        text=name,
        sub_id=sub_id,
        weak_time=stated is None,
        named=_named(group, codes[0], sub_id) if group.number else "",
        sent_at=envelope.sent_at,
    )


def replaces(obx: Segment, group: Group) -> bool:
    """Whether it speaks of a value sent before (C, D, W, X): that one holds no more, whatever stands in its place."""
    return bool(group.void) or obx.text(11) in _REPLACED


def finding(segment: Segment, group: Group, envelope: Envelope, *, void: bool = False) -> RawObservation | None:
    """A diagnosis (DG1) or an allergy (AL1) that the code table has; None for all others.

    Most diagnoses of a patient are none of the node's business: they are neither stored nor counted by code.
    """
    codes = code_pairs(segment, 3)
    if all(envelope.rules.codes.find(code, system) is None for code, system in codes):
        return None
    diagnosis = segment.id == "DG1"
    stated = interval(segment.text(5 if diagnosis else 6), envelope.rules.zone)
    deleted = segment.text(21 if diagnosis else 7) == "D"
    suspected = diagnosis and segment.text(6) not in _FINAL_DIAGNOSIS
    return RawObservation(
        patient=group.patient,
        key=_key(group, codes[0], segment.id, stated, None),
        codes=codes,
        value="",
        unit="",
        status="D" if void or deleted else "P" if suspected else "F",
        observed=stated or _weak_time(group, envelope),
        available_at=envelope.sent_at,
        source=envelope.source,
        visit=group.visit,
        weak_time=stated is None,
    )


def code_pairs(segment: Segment, number: int) -> tuple[Code, ...]:
    """Both triplets of a coded field, LOINC first."""
    first, other = segment.text(number, 1), segment.text(number, 4)
    if not other:
        return ((first, segment.text(number, 3) if first else ""),)
    pairs = [(first, segment.text(number, 3)), (other, segment.text(number, 6))]
    return tuple(sorted((p for p in pairs if p[0]), key=lambda p: p[1] != "LN"))


def entity(segment: Segment, number: int) -> str:
    """An entity identifier with its namespace, so that two laboratories' order numbers differ."""
    parts = (segment.text(number, 1), segment.text(number, 2), segment.text(number, 3))
    return "^".join(parts).rstrip("^") if parts[0] else ""


def _identified(obx: Segment, envelope: Envelope) -> tuple[tuple[Code, ...], str]:
    """OBX-3: its codes, and the name of the first."""
    raw = obx.raw(3)
    if envelope.separators.escape in raw:  # an escape that cannot be read is counted with its message
        return code_pairs(obx, 3), obx.text(3, 2)
    return _coded(raw, envelope.separators)


def _unit(obx: Segment, envelope: Envelope) -> str:
    """OBX-6."""
    raw = obx.raw(6)
    return obx.text(6) if envelope.separators.escape in raw else _plain(raw, envelope.separators)


@lru_cache(maxsize=8192)  # a feed has few codes and units, and sends them all day
def _coded(raw: str, separators: Separators) -> tuple[tuple[Code, ...], str]:
    field = _alone(raw, separators)
    return code_pairs(field, 1), field.text(1, 2)


@lru_cache(maxsize=1024)
def _plain(raw: str, separators: Separators) -> str:
    return _alone(raw, separators).text(1)


def _alone(raw: str, separators: Separators) -> Segment:
    """A field without escapes as the only one of a segment: then the codec is of no concern."""
    return Segment(f"OBX{separators.field}{raw}", separators, "utf-8")


def _key(group: Group, code: Code, sub_id: str, stated: Interval | None, weak: Interval | None) -> str:
    """Holds the observed time; one that is only the time of reporting, where no order number tells values apart."""
    used = stated or (None if group.number else weak)
    at = _utc(used.start) if used else ""
    return f"{key_start(group.patient)}{_named(group, code, sub_id)}|{at}"


def _named(group: Group, code: Code, sub_id: str) -> str:
    return f"{group.number}|{code[1]}|{code[0]}|{sub_id}"


@lru_cache(maxsize=4096)
def _utc(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).isoformat()


def _ordinal(code: Code, group: Group, envelope: Envelope) -> str:
    """Without OBX-4, repeats of a code are told apart by their order: as one key 75,000 rows collapsed to 36,000."""
    group.seen[code] += 1
    if group.seen[code] == 1:
        return ""
    envelope.remarks["REPEAT_WITHOUT_SUB_ID"] += 1
    return f"#{group.seen[code]}"


def _status(obx: Segment, group: Group, *, void: bool) -> str:
    """OBX-11, held back while the group (OBR-25) is not final; an explicit deletion of the value is a void."""
    status = obx.text(11)
    if status in _VOID or group.void:
        return "W" if "W" in (status, group.void) else "D"
    if status == "X":
        return status
    if void or obx.raw(5) == DELETE:
        return "D"
    return status if group.final or (status == "C" and not obx.raw(5)) else "P"


def _structured(obx: Segment) -> tuple[str, str]:
    """(comparator, value) of a structured number; one of two parts (range, ratio) is no number."""
    if obx.text(5, 3) or obx.text(5, 4):
        return obx.text(5, 1) or "..", obx.text(5, 2) + obx.text(5, 3) + obx.text(5, 4)
    return obx.text(5, 1), obx.text(5, 2)


def _weak_time(group: Group, envelope: Envelope) -> Interval:
    """When it was reported: OBR-22, else MSH-7."""
    envelope.remarks[Remark.TIME_WEAK] += 1
    return group.reported or Interval(start=envelope.sent_at, end=envelope.sent_at)


def _available(obx: Segment, group: Group, envelope: Envelope) -> dt.datetime:
    """When it could be known: OBX-19, else OBR-22, else MSH-7.

    What speaks of a value sent before may repeat its analysis (OBX-19); it was known when the status changed (OBR-22),
    and no later than it was sent.
    """
    reported = group.reported.start if group.reported else envelope.sent_at
    if replaces(obx, group):
        return min(reported, envelope.sent_at)
    return instant(obx.text(19), envelope.rules.zone) or reported
