"""A report that is being written is foretold, so that an association to its archive stands when it is done.

As any hint it may be lost, late or for nothing; then the report opens its own association.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass

from config.settings import Delivery
from dicom_io.ready_associations import ReadyAssociations
from node.breaker import lane_flows
from node.dispatch.hints import Heard, Hints
from node.store.engine import Ledger
from node.store.errors import LedgerUnavailable
from node.store.notices import foretold
from node.tasks import destination_lane


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """`hints`, of which those that foretell a report have an association made ready."""

    hints: Hints
    ledger: Ledger
    settings: Delivery
    ready: ReadyAssociations

    def start(self, lanes: Collection[str]) -> None:
        """As `Hints.start`."""
        self.hints.start(lanes)

    def follow(self, lanes: Collection[str], heard: Heard, stopping: threading.Event) -> None:
        """As `Hints.follow`."""

        def sort(said: str) -> None:
            destination = foretold(said)
            if destination:
                self._prepare(destination)
            else:
                heard(said)

        self.hints.follow(lanes, sort, stopping)

    def stop(self) -> None:
        """As `Hints.stop`."""
        self.hints.stop()

    def _prepare(self, name: str) -> None:
        """Unless the destination is paused or away."""
        destination = next((d for d in self.settings.destinations if d.name == name), None)
        if destination is None:
            return
        try:
            with self.ledger.read() as c:
                flows = lane_flows(c, destination_lane(name))
        except LedgerUnavailable:
            return
        if flows:
            self.ready.prepare(destination, self.settings)
