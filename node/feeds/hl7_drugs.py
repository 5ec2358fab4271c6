"""RXE and RXA -> drugs by ATC code: systemic glucocorticoids as a variable, anti-osteoporotic drugs set apart.

An anti-osteoporotic drug (M05B) follows the diagnosis: it is kept as a fact of a type that no feature is made from.
Which ATC code means what stands in the code table; a drug that is not in it is not stored.
"""

from __future__ import annotations

import datetime as dt

from config.codes import Use
from model.domain import Identifier
from node.facts import ExposureFact, key_start
from node.feeds.er7 import Segment
from node.feeds.hl7_rules import Envelope
from node.feeds.hl7_time import Interval, interval
from node.feeds.hl7_values import Code, code_pairs, entity
from node.feeds.observations import RawObservation

_CANCELS = frozenset({"CA", "CR", "OC", "OD"})
_NOT_GIVEN = frozenset({"NA", "RE"})
"""RXA-20 (table 0322): not administered, refused."""


def exposure(
    drug: Segment, order: Segment, patient: Identifier, envelope: Envelope
) -> ExposureFact | RawObservation | None:
    """A drug that was ordered (RXE-2, RXE-31) or given (RXA-5); None when the code table has none of its codes."""
    given = drug.id == "RXA"
    fields = (5,) if given else (2, 31)
    codes = tuple(pair for number in fields for pair in code_pairs(drug, number) if pair[0])
    rules = [r for r in (envelope.rules.codes.find(*pair) for pair in codes) if r is not None]
    if not rules:
        return None
    stated = interval(drug.text(3 if given else 32), envelope.rules.zone) or interval(
        order.text(9), envelope.rules.zone
    )
    at = stated or Interval(start=envelope.sent_at, end=envelope.sent_at)
    cancelled = drug.text(20) in _NOT_GIVEN if given else order.text(1) in _CANCELS
    key = _key(codes[0], order, patient, at, each=given)
    if rules[0].use is Use.DRUG:
        code = next(code for code, system in codes if envelope.rules.codes.find(code, system) is rules[0])
        return ExposureFact(
            patient=patient,
            key=key,
            code=code[:16],
            observed_start=at.start,
            observed_end=at.end,
            available_at=envelope.sent_at,
            cancelled=cancelled,
            source=envelope.source,
            weak_time=stated is None,
        )
    return RawObservation(
        patient=patient,
        key=key,
        codes=codes,
        value="",
        unit="",
        status="D" if cancelled else "F",
        observed=at,
        available_at=envelope.sent_at,
        source=envelope.source,
        weak_time=stated is None,
    )


def _key(code: Code, order: Segment, patient: Identifier, at: Interval, *, each: bool) -> str:
    """By the order number, which a cancellation repeats; by the time where there is none, and each time it is given."""
    number = entity(order, 3) or entity(order, 2)
    time = at.start.astimezone(dt.UTC).isoformat() if each or not number else ""
    return key_start(patient) + "|".join([number, code[1], code[0], "RX", time])
