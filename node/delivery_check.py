"""What `osteon doctor` says of delivery: whether each destination answers, and whether anybody looks for gaps.

A destination that is away is no failure of the node, which keeps its reports until it is back: a warning.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Final

from config.settings import Delivery, Destination, Settings
from dicom_io.echo_scu import verify
from dicom_io.errors import PeerRefused, PeerUnavailable
from node.finding import Finding, Mark

ECHO_SECONDS: Final = 3.0
"""The longest wait for each step of a C-ECHO, where `delivery.acse_timeout` is not shorter; somebody is watching."""


def examine_delivery(settings: Settings) -> Iterator[Finding]:
    """Ask every destination by C-ECHO, and say who is compared with the ledger."""
    delivery, archive = settings.delivery, settings.reconciliation.archive
    if not delivery.destinations:
        remedy = "add [[delivery.destinations]] for each archive that is to have them"
        what = "delivery.destinations is empty: results are recorded and go nowhere"
        yield Finding(mark=Mark.WARN, what=what, remedy=remedy)
    for one in delivery.destinations:
        yield _destination(one, _impatient(delivery))
    if archive:
        yield Finding(mark=Mark.OK, what=f"reconciliation asks {archive} each night which images it has")
    else:
        yield Finding(mark=Mark.OK, what="reconciliation.archive is empty: nobody looks for images that never came")


def _destination(to: Destination, delivery: Delivery) -> Finding:
    try:
        with _in_our_words():
            verify(to, delivery)
    except (PeerUnavailable, PeerRefused) as error:
        keys = f"host, port and ae_title of delivery.destinations, and that it knows {delivery.ae_title}"
        return Finding(mark=Mark.WARN, what=f"destination {error}", remedy=f"reports wait for it; check {keys}")
    return Finding(mark=Mark.OK, what=f"destination {to.name} answers C-ECHO at {to.host}:{to.port}")


@contextlib.contextmanager
def _in_our_words() -> Iterator[None]:
    """Keep what pynetdicom would log of a fault from between the findings, one of which says it."""
    logger = logging.getLogger("pynetdicom")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _impatient(delivery: Delivery) -> Delivery:
    wait = min(ECHO_SECONDS, delivery.acse_timeout)
    return delivery.model_copy(update={"acse_timeout": wait, "dimse_timeout": wait})
