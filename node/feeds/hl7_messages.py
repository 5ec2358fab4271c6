"""HL7 v2 messages -> facts: what the node takes from ADT, ORU^R01 and ORM^O01 (clinical-data.md section 5).

Segments are read in order with the patient they stand under: one ORU may carry several patients, and taking the first
PID for all would join one patient's values to another. Only ADT is an authority on demographics; a PID that comes along
with results is dated `UNDATED`, so that it serves only while nothing better is known.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from config.codes import CodeTable
from model.domain import AssigningAuthority, Identifier, NameGroup, PatientIdentity, PersonName, Sex
from node.facts import UNSTATED, Fact, MergeFact, OrderFact, PersonFact
from node.feeds.er7 import DELETE, Message, Segment
from node.feeds.hl7_time import Interval, date, instant, interval
from node.feeds.observations import RawObservation, Remark, read_observation
from node.names import UNDATED, blocklisted, same_issuer

_PERSON_EVENTS = frozenset({"A01", "A04", "A05", "A08", "A28", "A31"})
_NOT_A_PERSON = frozenset({"AN", "ANC", "AND", "ANT", "VN", "VS", "FI", "XX"})
"""CX.5 types (table 0203) of accounts, visits and organisations: such a number may be another person's MRN."""
_GROUP_FINAL = frozenset({"", "F", "C", "A", "M", "U"})
"""OBR-25 (table 0123) that leaves the word to OBX-11; any other keeps the whole group from use."""
_VALUE_TYPES = frozenset({"NM", "SN", "ST", "TX", "CE", "CWE", "CNE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a feed is read by."""

    zone: ZoneInfo
    """Zone of times without an offset."""
    codes: CodeTable
    default_issuer: AssigningAuthority = UNSTATED
    """Authority of identifiers that state none (CX.4); without it such identifiers are not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a message said."""

    facts: tuple[Fact, ...] = ()
    remarks: tuple[tuple[str, int], ...] = ()
    """Coded remarks with their counts, without patient data."""
    quarantine: str = ""
    """Code of what a person must look at; empty when all is well."""


def read_message(message: Message, rules: Rules, *, received_at: dt.datetime) -> Reading:
    """The facts of a message. A type that the node does not use gives none (`UNUSED_TYPE`)."""
    reader = _Reader(message, rules, received_at)
    kind, event = message.header.text(9), message.header.text(9, 2)
    if kind == "ADT" and event in _PERSON_EVENTS:
        reader.read(authority=True)
    elif kind == "ADT" and event == "A40":
        reader.read(authority=True, merges=True)
    elif (kind, event) == ("ORU", "R01"):
        reader.read(authority=False)
    elif (kind, event) == ("ORM", "O01"):
        reader.read(authority=False, orders=True)
    else:
        reader.remarks["UNUSED_TYPE"] += 1
    return Reading(
        facts=tuple(reader.facts), remarks=tuple(sorted(reader.remarks.items())), quarantine=reader.quarantine
    )


def identity(pid: Segment, rules: Rules) -> PatientIdentity:
    """Who a PID segment is about: every usable repetition of PID-3, the legal name, birth date and sex."""
    sexes = {"F": Sex.FEMALE, "M": Sex.MALE, "O": Sex.OTHER, "A": Sex.OTHER}
    return PatientIdentity(
        identifiers=_identifiers(pid, 3, rules),
        name=_name(pid),
        birth_date=date(pid.text(7)),
        sex=sexes.get(pid.text(8).upper(), Sex.UNKNOWN),
    )


@dataclass(slots=True)
class _Group:
    """The order that OBX segments stand under, and how often each of its codes came without a sub-ID."""

    order: Segment
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)


class _Reader:
    """Walks the segments of one message, keeping the patient and the order they belong to."""

    def __init__(self, message: Message, rules: Rules, received_at: dt.datetime) -> None:
        header = message.header
        self.facts: list[Fact] = []
        self.remarks: Counter[str] = Counter()
        self.quarantine = ""
        self._message = message
        self._rules = rules
        self._sent_at = instant(header.text(7), rules.zone) or received_at
        self._valid_since = instant(message.first("EVN").text(2), rules.zone) or self._sent_at
        self._source = f"HL7 {header.text(9)}^{header.text(9, 2)} {header.text(10)}"
        self._nothing = Segment("", message.separators, message.codec)
        self._patient: PatientIdentity | None = None
        self._group = _Group(self._nothing)

    def read(self, *, authority: bool, merges: bool = False, orders: bool = False) -> None:
        on: dict[str, Callable[[Segment], None]] = {"OBX": self._observation, "OBR": self._order_group}
        if merges:
            on["MRG"] = self._merge
        if orders:
            on["OBR"] = self._order
        for segment in self._message.segments:
            if segment.id == "PID":
                self._person(segment, authority=authority)
            elif segment.id in on and self._patient is not None:
                on[segment.id](segment)

    def _person(self, pid: Segment, *, authority: bool) -> None:
        found = identity(pid, self._rules)
        self._group = _Group(self._nothing)
        self._patient = found if found.identifiers else None
        if self._patient is None:
            self.quarantine = "NO_ID"
            return
        self.facts.append(PersonFact(identity=found, valid_since=self._valid_since if authority else UNDATED))

    def _merge(self, mrg: Segment) -> None:
        assert self._patient is not None  # noqa: S101 - read() calls it below a PID only
        priors = _identifiers(mrg, 1, self._rules)
        if not priors:
            self.quarantine = "NO_ID"
        for prior in priors:
            own = self._patient.identifiers
            survivor = next((i for i in own if same_issuer(i.authority, prior.authority)), own[0])
            self.facts.append(MergeFact(survivor=survivor, prior=prior))

    def _order_group(self, obr: Segment) -> None:
        self._group = _Group(obr)

    def _order(self, obr: Segment) -> None:
        self._group = _Group(obr)
        assert self._patient is not None  # noqa: S101 - read() calls it below a PID only
        if obr.text(18):
            self.facts.append(OrderFact(accession=obr.text(18), patient=self._patient.identifiers[0]))

    def _observation(self, obx: Segment) -> None:
        if obx.text(2) not in _VALUE_TYPES:
            self.remarks["VALUE_TYPE"] += 1
            return
        fact = read_observation(self._raw(obx), self._rules.codes)
        if isinstance(fact, Remark):
            self.remarks[fact] += 1
        else:
            self.facts.append(fact)

    def _raw(self, obx: Segment) -> RawObservation:
        assert self._patient is not None  # noqa: S101 - read() calls it below a PID only
        patient = self._patient.identifiers[0]
        observed = self._observed(obx)
        codes = _codes(obx)
        comparator, value = _number_parts(obx)
        return RawObservation(
            patient=patient,
            key=self._key(obx, patient, codes[0], observed),
            codes=codes,
            value=value,
            comparator=comparator,
            unit=obx.text(6),
            status=self._status(obx),
            observed=observed,
            available_at=self._available(obx),
            source=self._source,
        )

    def _status(self, obx: Segment) -> str:
        """OBX-11, held back while the group (OBR-25) is not final; an explicit deletion of the value is a void."""
        status = obx.text(11)
        if status in ("D", "W") or obx.get(5) == DELETE:
            return "D"
        return status if self._group.order.text(25) in _GROUP_FINAL else "P"

    def _key(self, obx: Segment, patient: Identifier, code: tuple[str, str], observed: Interval) -> str:
        """Stable under resending; repeats of a code without a sub-ID are told apart by their ordinal."""
        sub_id = obx.text(4)
        if not sub_id:
            self._group.seen[code] += 1
            if self._group.seen[code] > 1:
                sub_id = f"#{self._group.seen[code]}"
                self.remarks["REPEAT_WITHOUT_SUB_ID"] += 1
        order = self._group.order
        group = _entity(order, 3) or _entity(order, 2)
        stated = self._stated_time(obx)
        # The time of sending is no part of the key: a correction would not find the row that it corrects.
        at = "" if group and stated is None else observed.start.astimezone(dt.UTC).isoformat()
        issuer = patient.authority.namespace or patient.authority.universal_id
        return "|".join(["HL7", issuer, patient.value, group, code[1], code[0], sub_id, at])

    def _observed(self, obx: Segment) -> Interval:
        stated = self._stated_time(obx)
        if stated is not None:
            return stated
        self.remarks[Remark.TIME_WEAK] += 1
        reported = interval(self._group.order.text(22), self._rules.zone)
        return reported or Interval(start=self._sent_at, end=self._sent_at)

    def _stated_time(self, obx: Segment) -> Interval | None:
        zone = self._rules.zone
        return interval(obx.text(14), zone) or interval(self._group.order.text(7), zone)

    def _available(self, obx: Segment) -> dt.datetime:
        zone = self._rules.zone
        return instant(obx.text(19), zone) or instant(self._group.order.text(22), zone) or self._sent_at


def _identifiers(segment: Segment, number: int, rules: Rules) -> tuple[Identifier, ...]:
    """The repetitions of a CX field that identify a person and state (or are given) who issued them."""
    found: list[Identifier] = []
    for r in range(1, segment.repetitions(number) + 1):
        value = segment.text(number, repetition=r)
        stated = AssigningAuthority(
            namespace=segment.text(number, 4, 1, repetition=r),
            universal_id=segment.text(number, 4, 2, repetition=r),
            universal_id_type=segment.text(number, 4, 3, repetition=r),
        )
        authority = stated if stated.stated else rules.default_issuer
        kind = segment.text(number, 5, repetition=r)
        if authority.stated and kind not in _NOT_A_PERSON and not blocklisted(value):
            found.append(Identifier(value=value, authority=authority))
    return tuple(dict.fromkeys(found))


def _name(pid: Segment) -> PersonName:
    """PID-5: the legal name (XPN.7 = L) if there is one, else the first kind; one group per representation (XPN.8)."""
    repetitions = range(1, pid.repetitions(5) + 1)
    kinds = [pid.text(5, 7, repetition=r) for r in repetitions]
    kind = "L" if "L" in kinds else (kinds[0] if kinds else "")
    groups: dict[str, NameGroup] = {}
    for r in repetitions:
        if kinds[r - 1] == kind:
            group = NameGroup(family=pid.text(5, 1, repetition=r), given=pid.text(5, 2, repetition=r))
            groups.setdefault(pid.text(5, 8, repetition=r) or "A", group)
    nothing = NameGroup()
    return PersonName(
        alphabetic=groups.get("A", nothing), ideographic=groups.get("I", nothing), phonetic=groups.get("P", nothing)
    )


def _codes(obx: Segment) -> tuple[tuple[str, str], ...]:
    """Both triplets of OBX-3, LOINC first."""
    pairs = [(obx.text(3, 1), obx.text(3, 3)), (obx.text(3, 4), obx.text(3, 6))]
    filled = [p for p in pairs if p[0]]
    return tuple(sorted(filled, key=lambda p: p[1] != "LN")) or (("", ""),)


def _number_parts(obx: Segment) -> tuple[str, str]:
    """(comparator, value) of OBX-5; a structured number of two parts (range, ratio) is no number."""
    if obx.text(2) != "SN":
        return "", obx.text(5)
    if obx.text(5, 3) or obx.text(5, 4):
        return obx.text(5, 1) or "..", obx.text(5, 2) + obx.text(5, 3) + obx.text(5, 4)
    return obx.text(5, 1), obx.text(5, 2)


def _entity(order: Segment, number: int) -> str:
    """An entity identifier with its namespace, so that two laboratories' order numbers differ."""
    parts = (order.text(number, 1), order.text(number, 2), order.text(number, 3))
    return "^".join(parts).rstrip("^") if parts[0] else ""
