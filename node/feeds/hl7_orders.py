"""ORC, OBR, IPC and ZDS -> imaging orders: which accession number and Study Instance UID belong to the patient.

ORM^O01 and OMG^O19 state the accession number in OBR-18 and the Study Instance UID, by the custom that DICOM's
worklists grew from, in ZDS-1; OMI^O23 has a segment of its own for both (IPC-1, IPC-3).
"""

from __future__ import annotations

from collections.abc import Sequence

from model.domain import Identifier
from node.facts import OrderFact
from node.feeds.er7 import Segment
from node.feeds.hl7_values import entity

_CANCELS = frozenset({"CA", "CR", "OC", "OD", "DC"})
"""ORC-1 (table 0119): the order, or what remains of it, will not take place."""
_NOTHING = frozenset({"UC", "UD", "UX", "SS", "SR"})
"""ORC-1 that reports a state or a failure and orders nothing."""


def orders(segments: Sequence[Segment], patient: Identifier) -> tuple[OrderFact, ...]:
    """The orders that follow one PID. An order without accession number and Study UID links nothing."""
    found: list[OrderFact] = []
    control = segments[0] if segments else None
    for position, segment in enumerate(segments):
        if segment.id == "ORC":
            control = segment
        elif segment.id == "OBR":
            found += _of_request(segment, control, _following(segments, position), patient)
    return tuple(dict.fromkeys(found))


def _of_request(
    obr: Segment, orc: Segment | None, following: Sequence[Segment], patient: Identifier
) -> list[OrderFact]:
    control = orc.text(1) if orc is not None and orc.id == "ORC" else ""
    if control in _NOTHING:
        return []
    own = orc if orc is not None and orc.id == "ORC" else obr
    study = next((s.text(1) for s in following if s.id == "ZDS"), "")
    named = [(s.text(1), s.text(3)) for s in following if s.id == "IPC"] or [(obr.text(18), study)]
    return [
        OrderFact(
            accession=accession,
            patient=patient,
            placer=entity(obr, 2) or entity(own, 2),
            filler=entity(obr, 3) or entity(own, 3),
            study_uid=study_uid,
            cancelled=control in _CANCELS,
        )
        for accession, study_uid in named
        if accession or study_uid
    ]


def _following(segments: Sequence[Segment], position: int) -> list[Segment]:
    """What belongs to the OBR at `position`: up to the next order. A ZDS may also close the message."""
    rest: list[Segment] = []
    for segment in segments[position + 1 :]:
        if segment.id in ("OBR", "ORC"):
            break
        rest.append(segment)
    return rest
