"""What a feed's messages are read by, and what reading one gives."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from config.codes import CodeTable
from model.domain import AssigningAuthority
from node.facts import UNSTATED, Fact
from node.feeds.er7 import Message
from node.feeds.hl7_encoding import Separators
from node.feeds.hl7_time import Interval, instant, interval
from node.issuers import Issuers

_UNLISTED = Issuers()
_MINUTE = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a feed is read by."""

    zone: ZoneInfo
    """Zone of times without an offset."""
    codes: CodeTable
    default_issuer: AssigningAuthority = UNSTATED
    """Authority of identifiers that state none (CX.4); without it such identifiers are not used."""
    decimal_comma: bool = False
    """The feed writes 61,5 for 61.5. Without it a comma makes a value no number."""
    issuers: Issuers = _UNLISTED
    """The site's assigning authorities: an identifier is stored in their spelling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a message said."""

    facts: tuple[Fact, ...] = ()
    remarks: tuple[tuple[str, int], ...] = ()
    """Coded remarks with their counts, without patient data."""
    quarantine: str = ""
    """Code of what a person must look at; empty when all is well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a message says about itself, and where its remarks are counted."""

    rules: Rules
    sent_at: dt.datetime
    """MSH-7, else receipt."""
    valid_since: dt.datetime
    """EVN-2, else MSH-7: since when its demographics hold."""
    source: str
    """`HL7 ORU^R01 <MSH-10>`."""
    separators: Separators
    remarks: Counter[str]


def envelope(message: Message, rules: Rules, received_at: dt.datetime) -> Envelope:
    """Read MSH and EVN."""
    header = message.header
    sent_at = instant(header.text(7), rules.zone) or received_at
    event = interval(message.first("EVN").text(2), rules.zone)
    return Envelope(
        rules=rules,
        sent_at=sent_at,
        valid_since=min(_moment(event, sent_at) if event else sent_at, received_at),
        source=f"HL7 {header.text(9)}^{header.text(9, 2)} {header.text(10)}",
        separators=message.separators,
        remarks=Counter(),
    )


def _moment(event: Interval, sent_at: dt.datetime) -> dt.datetime:
    """EVN-2; one that names a day only is told apart from the day's other messages by the time of sending.

    A sender whose clock runs ahead must not hold the future against later messages: receipt is the latest moment.
    """
    vague = event.end - event.start > _MINUTE
    return sent_at if vague and event.start <= sent_at < event.end else event.start
