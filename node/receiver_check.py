"""What `osteon doctor` says of HL7 receivers: whether something listens there.

A connection is made and closed, no message is sent. A receiver that is away is no failure of the node, which keeps its
messages until it is back: a warning.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Final

from config.hl7_out import Hl7Receiver, ResultsOut
from node.finding import Finding, Mark

CONNECT_SECONDS: Final = 3.0
"""The longest wait, where `results.connect_timeout` is not shorter; somebody is watching."""


def examine_receivers(settings: ResultsOut) -> Iterator[Finding]:
    """Try to reach every receiver; nothing where there is none."""
    for one in settings.receivers:
        yield _receiver(one, min(CONNECT_SECONDS, settings.connect_timeout))


def _receiver(one: Hl7Receiver, seconds: float) -> Finding:
    where = f"HL7 receiver {one.name} at {one.host}:{one.port}"
    try:
        socket.create_connection((one.host, one.port), timeout=seconds).close()
    except OSError as error:
        why = error.strerror or "no answer in time"
        remedy = "messages wait for it; check host and port of results.receivers, and the receiver"
        return Finding(mark=Mark.WARN, what=f"{where} is not reached: {why}", remedy=remedy)
    return Finding(mark=Mark.OK, what=f"{where} accepts connections")
