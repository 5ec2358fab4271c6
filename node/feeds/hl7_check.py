"""What is checked before a message is answered: only what the sender can mend or must be told at once.

Framing, decoding and grammar are done when this runs (`er7.parse`). Everything found later (an unknown code, a bad
unit, a merge cycle) quarantines the message instead: the sender already has its AA. The one look-up that needs a store
comes as a callable, and only where the site asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from model.domain import AssigningAuthority, Identifier
from node.facts import UNSTATED
from node.feeds.er7 import HL7Error, Message, Segment
from node.feeds.hl7_merges import ACCOUNT_ONLY
from node.feeds.hl7_messages import Family, family
from node.names import same_issuer

_REQUIRED: Final = {
    "ADT": ("PID",),
    "ORU": ("PID", "OBR"),
    "ORM": ("PID",),
    "OMG": ("PID", "OBR"),
    "OMI": ("PID", "IPC"),
    "RDE": ("PID", "RXE"),
    "RAS": ("PID", "RXA"),
}
"""Types that are read, and the segments without which a message of one says nothing about anybody."""
_VERSION_2: Final = re.compile(r"2(\.\d){0,2}")

IsPrior = Callable[[Identifier], bool]
"""Whether an identifier was merged into another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What a feed lets pass."""

    accept_test: bool = False
    """Take messages of training and debugging systems (MSH-11 T and D)."""
    strict_types: bool = False
    """Refuse types and events that the node does not read. Off: many interface engines stop at an AR."""
    default_issuer: AssigningAuthority = UNSTATED
    """Authority of identifiers that state none (CX.4)."""
    is_prior: IsPrior | None = None
    """Given where the site refuses messages about a patient who was merged into another."""


def check(message: Message, checks: Checks = Checks()) -> None:
    """Refuse what must be refused before the answer.

    Raises:
        HL7Error: 101 MSH-9, MSH-10, MSH-11, MSH-12 or MRG-1 missing; 202 not a production message; 203 not HL7 v2;
            200, 201 a type or event not read (`strict_types`); 100 a segment missing; 205 a patient merged into itself;
            204 a patient merged into another (`is_prior`).

    """
    _check_header(message.header, checks)
    kind, event = message.header.text(9), message.header.text(9, 2)
    if (used := family(message)) is Family.UNUSED:
        if checks.strict_types:
            raise HL7Error(201 if kind in _REQUIRED else 200, "MSH-9")
        return
    present = {segment.id for segment in message.segments}
    for segment_id in _REQUIRED[kind]:
        if segment_id not in present:
            raise HL7Error(100, segment_id)
    if used is Family.MERGE:
        _check_merge(message, event, checks.default_issuer)
    if checks.is_prior is not None:
        _check_survivors(message, checks.default_issuer, checks.is_prior)


def _check_header(header: Segment, checks: Checks) -> None:
    for number in (9, 10, 11, 12):
        if not header.text(number):
            raise HL7Error(101, f"MSH-{number}")
    if header.text(11) not in (("P", "T", "D") if checks.accept_test else ("P",)):
        raise HL7Error(202, "MSH-11")
    if not _VERSION_2.fullmatch(header.text(12)):
        raise HL7Error(203, "MSH-12")


def _check_merge(message: Message, event: str, default: AssigningAuthority) -> None:
    """Refuse a merge that leaves nothing to merge: both sides may list the same national number, but not only that."""
    survivor: tuple[Identifier, ...] | None = None
    merges = 0
    for segment in message.segments:
        if segment.id == "PID":
            survivor = _identifiers(segment, 3, default)
        elif segment.id == "MRG":
            merges += 1
            prior = _identifiers(segment, 1, default)
            if survivor is None:
                raise HL7Error(100, "PID")
            if not prior:
                raise HL7Error(101, "MRG-1", sequence=merges)
            if event != ACCOUNT_ONLY and all(any(_same(one, own) for own in survivor) for one in prior):
                raise HL7Error(205, "MRG-1", sequence=merges)
    if not merges:
        raise HL7Error(100, "MRG")


def _check_survivors(message: Message, default: AssigningAuthority, is_prior: IsPrior) -> None:
    """Refuse a PID-3 that knows, of some issuer, nothing but identifiers that were merged into another."""
    patients = (segment for segment in message.segments if segment.id == "PID")
    for sequence, segment in enumerate(patients, 1):
        found = _identifiers(segment, 3, default)
        priors = {identifier for identifier in found if is_prior(identifier)}
        living = [identifier for identifier in found if identifier not in priors]
        for prior in priors:
            if not any(same_issuer(prior.authority, other.authority) for other in living):
                raise HL7Error(204, "PID-3", sequence=sequence)


def _same(one: Identifier, other: Identifier) -> bool:
    """Two statements of one identifier; without any issuer, equal values."""
    if one.authority.stated or other.authority.stated:
        return one.value == other.value and same_issuer(one.authority, other.authority)
    return one.value == other.value


def _identifiers(segment: Segment, field: int, default: AssigningAuthority) -> tuple[Identifier, ...]:
    """The repetitions of a CX field that hold a value."""
    found = []
    for r in range(1, segment.repetitions(field) + 1):
        stated = AssigningAuthority(
            namespace=segment.text(field, 4, 1, repetition=r),
            universal_id=segment.text(field, 4, 2, repetition=r),
            universal_id_type=segment.text(field, 4, 3, repetition=r),
        )
        value = segment.text(field, 1, repetition=r)
        if value:
            found.append(Identifier(value=value, authority=stated if stated.stated else default))
    return tuple(found)
