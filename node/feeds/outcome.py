"""What can happen to a connection or a message of the HL7 feed, in the words operators read."""

from __future__ import annotations

import enum


class Outcome(enum.StrEnum):
    """One outcome; `osteon inbox --feeds` counts them by sender."""

    CONNECTED = "connected"
    STORED = "stored"
    """Answered AA (CA), or taken in silence where no answer was asked for."""
    REPEATED = "repeated"
    """The very same message again; answered as before."""
    CONTROL_ID_REUSED = "control-id-reused"
    """Stored as new, although the sender used its control ID (MSH-10) for other content before."""
    REFUSED = "refused"
    """Answered AE or AR; the code is added, as in `refused-101`."""
    FAILED = "failed"
    """Answered AR 207 because of an error of ours."""
    NOT_STORED = "not-stored"
    """The disk is full or the database down: the connection was closed unanswered, the sender repeats."""
    OVERSIZE = "oversize"
    RESTARTED = "block-restarted"
    """A block that was not ended before the next began; dropped."""
    WITHOUT_CR = "end-without-cr"
    TRUNCATED = "truncated"
    """The connection ended inside a block; dropped."""
    TIMED_OUT = "block-timed-out"
    NO_PROTOCOL = "no-mllp"
    """Nothing but bytes outside of blocks; closed."""
    ADDRESS = "address-not-allowed"
    TOO_MANY = "too-many-connections"
    TOO_MANY_OF_PEER = "too-many-connections-of-peer"
    TLS = "tls-refused"
    LOST = "connection-lost"
    """Reset by the network or the sender."""


TROUBLE_FREE = frozenset({Outcome.CONNECTED, Outcome.STORED, Outcome.REPEATED})
"""What needs nobody's attention."""
