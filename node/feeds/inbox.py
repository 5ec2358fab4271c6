"""What happens to a frame before it is answered: only what needs no database.

Framing is done, processing comes later; here the message is decoded and its header checked (`hl7_check`), so that the
sender learns at once of what it can mend. Everything found afterwards quarantines the message: the sender has its AA.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass

from config.hl7_feed import Mllp
from model.domain import AssigningAuthority
from node.feeds.er7 import HL7Error, Message, Segment, parse
from node.feeds.hl7_ack import Header, acknowledge, answer_code, recognise
from node.feeds.hl7_check import Checks, IsPrior, check
from node.issuers import Issuers


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameMeta:
    """What the inbox keeps of a frame beside its bytes."""

    sending_app: str
    sending_facility: str
    message_type: str
    control_id: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A frame and its answer. The answer may be sent only once the frame is committed."""

    meta: FrameMeta
    header: Header
    ack: bytes | None
    error: HL7Error | None = None
    """Why it was refused; None when it is to be processed."""

    @property
    def ack_code(self) -> str:
        """MSA-1 of the answer; empty when none is sent."""
        return answer_code(self.header, self.error) or ""


def accept(frame: bytes, *, at: dt.datetime, settings: Mllp | None = None, is_prior: IsPrior | None = None) -> Accepted:
    """Check a frame by the feed's settings (None: the defaults) and build its answer.

    Never raises on any bytes; what `is_prior` raises goes through.
    """
    settings = settings or Mllp()
    header = recognise(frame, default_charset=settings.default_charset, pinned_charset=settings.pinned_charset)
    error: HL7Error | None = None
    try:
        _check(read(frame, settings), settings, is_prior)
    except HL7Error as found:
        error = found
    meta = FrameMeta(
        sending_app=header.raw(3)[:200],
        sending_facility=header.raw(4)[:200],
        message_type=header.raw(9)[:40],
        control_id=header.raw(10)[:200],
        sha256=hashlib.sha256(frame).hexdigest(),
    )
    return Accepted(meta=meta, header=header, ack=acknowledge(header, error, at), error=error)


def read(frame: bytes, settings: Mllp) -> Message:
    """Read a frame in the feed's character sets; raises HL7Error."""
    return parse(frame, default_charset=settings.default_charset, pinned_charset=settings.pinned_charset)


def default_issuer(settings: Mllp, issuers: Issuers | None = None) -> AssigningAuthority:
    """Authority of the feed's identifiers that state none; unstated where none is set."""
    return (issuers or Issuers()).named(settings.default_issuer)


def _check(message: Message, settings: Mllp, is_prior: IsPrior | None) -> None:
    """Raise what the sender is told; 207 for one that is not listed, which cannot mend it by other content."""
    checks = Checks(
        accept_test=settings.accept_test,
        strict_types=settings.strict_types,
        default_issuer=default_issuer(settings),
        is_prior=is_prior,
    )
    check(message, checks)
    if not _listed(message.header, settings):
        raise HL7Error(207, "MSH-3")


def _listed(header: Segment, settings: Mllp) -> bool:
    """Whether the sender is one of `sending_applications`, or there is no such list."""
    application, facility = header.text(3), header.text(4)
    allowed = settings.sending_applications
    return not allowed or any(s.application == application and s.facility in ("", facility) for s in allowed)
