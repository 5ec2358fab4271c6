"""HL7 v2 messages -> facts: what the node takes from each type and event (clinical-data.md section 5).

Segments are read in order with the patient they stand under: one ORU may carry several patients, and taking the first
PID for all would join one patient's values to another. Only ADT is an authority on demographics; a PID that comes along
with results or orders is dated `UNDATED`, so that it serves only while nothing better is known.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from model.domain import Identifier
from node.facts import CancelFact, Fact, MergeKind, TombstoneFact
from node.feeds import hl7_drugs, hl7_merges, hl7_orders, hl7_values
from node.feeds.er7 import Message, Segment
from node.feeds.hl7_person import identifiers, person
from node.feeds.hl7_rules import Envelope, Reading, Rules, envelope
from node.feeds.observations import RawObservation, Remark, read_observation
from node.names import UNDATED

PERSON_EVENTS: Final = frozenset({"A01", "A04", "A05", "A08", "A28", "A31"})
CANCELLED_VISITS: Final = frozenset({"A11", "A38", "A23"})
LINKS: Final = frozenset({"A24", "A37"})
UNUSED_TYPE: Final = "UNUSED_TYPE"


class Family(enum.Enum):
    """How a message is read."""

    PERSON = enum.auto()
    MERGE = enum.auto()
    REVIEW = enum.auto()
    """Moves things between patients in a way that needs a person: quarantined."""
    LINK = enum.auto()
    """Says that two patients may be one, or are not: noted, nothing done."""
    CANCEL = enum.auto()
    DELETE = enum.auto()
    RESULT = enum.auto()
    ORDER = enum.auto()
    DRUG = enum.auto()
    UNUSED = enum.auto()


_OTHERS = {
    ("ADT", "A29"): Family.DELETE,
    ("ORU", "R01"): Family.RESULT,
    ("ORM", "O01"): Family.ORDER,
    ("OMG", "O19"): Family.ORDER,
    ("OMI", "O23"): Family.ORDER,
    ("RDE", "O11"): Family.DRUG,
    ("RDE", "O01"): Family.DRUG,
    ("RAS", "O17"): Family.DRUG,
    ("RAS", "O01"): Family.DRUG,
}
_EVENTS = {
    **dict.fromkeys(PERSON_EVENTS, Family.PERSON),
    **dict.fromkeys(hl7_merges.MERGES | hl7_merges.CHANGES, Family.MERGE),
    **dict.fromkeys(hl7_merges.FOR_REVIEW, Family.REVIEW),
    **dict.fromkeys(CANCELLED_VISITS, Family.CANCEL),
    **dict.fromkeys(LINKS, Family.LINK),
}


def family(message: Message) -> Family:
    """How a message is read, by MSH-9."""
    kind, event = message.header.text(9), message.header.text(9, 2)
    if kind == "ADT" and event in _EVENTS:
        return _EVENTS[event]
    return _OTHERS.get((kind, event), Family.UNUSED)


def read_message(message: Message, rules: Rules, *, received_at: dt.datetime) -> Reading:
    """The facts of a message. A type that the node does not use gives none (`UNUSED_TYPE`)."""
    reader = _Reader(message, envelope(message, rules, received_at))
    kind = family(message)
    if kind is Family.UNUSED:
        reader.envelope.remarks[UNUSED_TYPE] += 1
    elif kind is Family.LINK:
        reader.envelope.remarks["LINK"] += 1
    elif kind is Family.REVIEW:
        reader.quarantine = "REVIEW_" + message.header.text(9, 2)
    else:
        reader.read(kind)
    reader.envelope.remarks.update(message.warnings)
    return Reading(
        facts=tuple(reader.facts), remarks=tuple(sorted(reader.envelope.remarks.items())), quarantine=reader.quarantine
    )


class _Reader:
    """Collects the facts of one message, patient by patient."""

    def __init__(self, message: Message, opened: Envelope) -> None:
        self.envelope = opened
        self.facts: list[Fact] = []
        self.quarantine = ""
        self._event = message.header.text(9, 2)
        self._segments = message.segments
        self._nothing = Segment("", message.separators, message.codec)

    def read(self, kind: Family) -> None:
        """Read every patient of the message."""
        on: dict[Family, Callable[[Identifier, Sequence[Segment]], None]] = {
            Family.PERSON: self._values_of_visit,
            Family.CANCEL: self._cancelled_visit,
            Family.RESULT: self._results,
            Family.ORDER: self._orders,
            Family.DRUG: self._drugs,
        }
        authority = kind in (Family.PERSON, Family.MERGE)
        for pid, rest in _patients(self._segments):
            found = person(pid, self.envelope.rules, valid_since=self.envelope.valid_since if authority else UNDATED)
            own = found.identity.identifiers
            if not own:
                self.quarantine = "NO_ID"
                continue
            if kind is Family.DELETE:
                self.facts.append(TombstoneFact(patient=own[0]))
            elif kind is Family.MERGE:
                # Before the person: the list of identifiers may name both, and is one person's only after the merge.
                self._merges(own, rest)
                self.facts.append(found)
            else:
                self.facts.append(found)
                on[kind](own[0], rest)

    def _merges(self, survivor: tuple[Identifier, ...], rest: Sequence[Segment]) -> None:
        kind = MergeKind.CHANGE if self._event in hl7_merges.CHANGES else MergeKind.MERGE
        for mrg in (s for s in rest if s.id == "MRG"):
            prior = identifiers(mrg, 1, self.envelope.rules)
            found = hl7_merges.merges(survivor, prior, kind)
            if not found and not (prior and self._event == hl7_merges.ACCOUNT_ONLY):
                self.quarantine = "SELF_MERGE" if prior else "NO_ID"
            self.facts += found

    def _values_of_visit(self, patient: Identifier, rest: Sequence[Segment]) -> None:
        self._values(patient, rest, visit=_visit(rest))

    def _cancelled_visit(self, patient: Identifier, rest: Sequence[Segment]) -> None:
        """The values of the visit, and those that the cancelling message itself carries; the person stays."""
        visit = _visit(rest)
        if visit:
            self.facts.append(CancelFact(patient=patient, visit=visit))
        else:
            self.envelope.remarks["NO_VISIT"] += 1
        self._values(patient, rest, visit=visit, void=True)

    def _results(self, patient: Identifier, rest: Sequence[Segment]) -> None:
        self._values(patient, rest)

    def _values(self, patient: Identifier, rest: Sequence[Segment], *, visit: str = "", void: bool = False) -> None:
        group = hl7_values.group(patient, self._nothing, self._nothing, self.envelope, visit=visit)
        for position, segment in enumerate(rest):
            if segment.id == "OBX":
                readable = segment.text(2) in hl7_values.VALUE_TYPES or not segment.raw(5)
                if not readable:
                    self.envelope.remarks["VALUE_TYPE"] += 1
                if readable or hl7_values.replaces(segment, group):
                    withdrawn = void or not readable
                    self._judge(hl7_values.observation(segment, group, self.envelope, void=withdrawn))
            elif segment.id == "OBR":
                specimen = self._specimen(rest[position + 1 :])
                group = hl7_values.group(patient, segment, specimen, self.envelope, visit=visit)
            elif segment.id in ("DG1", "AL1"):
                found = hl7_values.finding(segment, group, self.envelope, void=void)
                if found is not None:
                    self._judge(found)

    def _specimen(self, following: Sequence[Segment]) -> Segment:
        """The specimen (SPM) of an order: it stands behind the values."""
        ahead = (segment for segment in following if segment.id in ("SPM", "OBR"))
        found = next(ahead, self._nothing)
        return found if found.id == "SPM" else self._nothing

    def _orders(self, patient: Identifier, rest: Sequence[Segment]) -> None:
        self.facts += hl7_orders.orders(rest, patient)
        self._values(patient, rest)

    def _drugs(self, patient: Identifier, rest: Sequence[Segment]) -> None:
        order = self._nothing
        for segment in rest:
            if segment.id == "ORC":
                order = segment
            elif segment.id in ("RXE", "RXA"):
                found = hl7_drugs.exposure(segment, order, patient, self.envelope)
                if isinstance(found, RawObservation):
                    self._judge(found)
                elif found is not None:
                    self.facts.append(found)
                else:
                    self.envelope.remarks["DRUG_UNUSED"] += 1

    def _judge(self, raw: RawObservation) -> None:
        fact = read_observation(raw, self.envelope.rules.codes)
        if isinstance(fact, Remark):
            self.envelope.remarks[fact] += 1
        else:
            self.facts.append(fact)


def _patients(segments: Sequence[Segment]) -> Iterator[tuple[Segment, Sequence[Segment]]]:
    """Each PID with the segments that follow it, up to the next."""
    starts = [i for i, segment in enumerate(segments) if segment.id == "PID"]
    for start, end in zip(starts, [*starts[1:], len(segments)], strict=True):
        yield segments[start], segments[start + 1 : end]


def _visit(rest: Sequence[Segment]) -> str:
    """PV1-19 with its authority: two hospitals may use one visit number."""
    for segment in rest:
        if segment.id == "PV1" and segment.text(19):
            authority = segment.text(19, 4, 1) or segment.text(19, 4, 2)
            return f"{segment.text(19)}^{authority}" if authority else segment.text(19)
    return ""
