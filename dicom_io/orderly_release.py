"""Requestor associations that a peer may talk to while they are being released, without an end to them.

pynetdicom serves an N-EVENT-REPORT in a thread of its own, and that thread moves the flag by which `release` knows that
the association's reactor has stopped. So a report that came at the moment of a release was answered after the A-RELEASE
request, which is no event of that state (PS3.8 table 9-10, Evt9 in Sta7) and ended the upper layer: the release took
its whole time-out; or the flag was lost, and the release waited for ever, and with it a thread of the delivery. Found
by `make chaos`. Here the flag is what the reactor does, and a release and an answer take turns.
"""

from __future__ import annotations

import threading
from typing import Any

from pynetdicom.association import Association

from dicom_io.checkpoint import Checkpoint


def orderly(association: Association) -> Association:
    """The same association, established and started, with an orderly release."""
    association._reactor_checkpoint = StoppingPlace()  # type: ignore[assignment] # noqa: SLF001 - see CONTRACT
    association._turn = threading.RLock()  # type: ignore[attr-defined] # noqa: SLF001
    association.__class__ = OrderlyAssociation  # pynetdicom makes its associations itself and takes no other class
    return association


class OrderlyAssociation(Association):
    """See the module; made by `orderly`."""

    _turn: threading.RLock

    @property
    def _is_paused(self) -> bool:
        checkpoint: Any = self._reactor_checkpoint
        return checkpoint.stopped or not self.is_alive()

    @_is_paused.setter
    def _is_paused(self, said: bool) -> None:
        """What other threads say about the reactor is not listened to."""

    def release(self) -> None:
        """Release when no report is being answered; one that comes meanwhile is recorded after it."""
        with self._turn:
            super().release()

    def _serve_request(self, msg: Any, context_id: int) -> None:
        with self._turn:
            super()._serve_request(msg, context_id)


class StoppingPlace(Checkpoint):
    """Where the reactor stops, and says so itself."""

    def __init__(self) -> None:
        super().__init__()
        self._here = False

    @property
    def stopped(self) -> bool:
        """Whether the reactor stands here and will not go on by itself."""
        with self._changed:
            return self._here and not self._open

    def wait(self) -> None:
        """Stand here for as long as the reactor may not run."""
        with self._changed:
            self._here = True
            while not self._open:
                self._changed.wait()
            self._here = False
