"""Reactors of upper layer and association that sleep until something happens; pynetdicom's look 1000 times a second.

What both kinds of association share: `transport` builds its receive path on it, `orderly_association` what the node
opens itself. Private parts of pynetdicom that are used here are listed in `transport_check.CONTRACT`.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import Final

from pynetdicom import dul
from pynetdicom.association import Association

from dicom_io.connection import WAIT_SECONDS, WakingQueue

AVAILABLE: Final = hasattr(os, "eventfd") and hasattr(select, "poll")
"""Whether this platform has what it takes."""
CLOSING: Final = "Sta13"
"""Waiting for the connection to close (PS3.8 table 9-5): nobody sleeps, pynetdicom closes when nothing more comes."""


class SleepingProvider(dul.DULServiceProvider):
    """The upper layer of one association, awake only while there is something to do. `_is_transport_event` sleeps."""

    def __init__(self, association: Association, place: type[SleepingPlace]) -> None:
        """Raises OSError where no descriptor is left."""
        super().__init__(association)
        self._run_loop_delay = 0.0
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.Lock()
        self.ended = False
        self.checkpoint = place(association, self)
        self.event_queue = WakingQueue(self.wake)
        self.to_provider_queue = WakingQueue(self.wake)
        self.to_user_queue = WakingQueue(self.checkpoint.wake)

    def serve(self) -> None:
        """Take the place of the association's provider, before its start."""
        association = self.assoc
        association.dul = self
        # These setters pass their value to the provider's timers.
        association.acse_timeout, association.network_timeout = association.acse_timeout, association.network_timeout
        association.dimse.msg_queue = WakingQueue(self.checkpoint.wake)
        association._reactor_checkpoint = self.checkpoint  # type: ignore[assignment] # noqa: SLF001 - see CONTRACT

    def wake(self) -> None:
        """End the reactor's sleep; from any thread, at any time."""
        with self._wake_lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def kill_dul(self) -> None:
        """End the reactor."""
        super().kill_dul()
        self.wake()

    def stop_dul(self) -> bool:
        """End the reactor if it is idle (Sta1); whether it was."""
        self.wake()
        if self.state_machine.current_state == "Sta1":
            self.kill_dul()
        return super().stop_dul()

    def run_reactor(self) -> None:
        """Run until the association is over, then let nothing of it remain."""
        try:
            super().run_reactor()
        finally:
            self.ended = True
            with self._wake_lock:
                os.close(self._wake)
                self._wake = -1
            self.checkpoint.wake()

    def woken(self) -> None:
        """The sleep is over, whatever ended it."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)


class SleepingPlace:
    """Where the association's reactor sleeps until it has something to look at, or may not run.

    Stands in for the event by which pynetdicom stops a reactor, which is set most of the time.
    """

    def __init__(self, association: Association, provider: SleepingProvider | None) -> None:
        """Without a provider that wakes it, it only stops the reactor, which then looks by itself."""
        self._changed = threading.Condition()
        self._open = True
        self._here = False
        self._association = association
        self._provider = provider

    def set(self) -> None:
        """Let the reactor run."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Stop the reactor at its next `wait`, while another thread uses the association."""
        with self._changed:
            self._open = False

    def is_set(self) -> bool:
        """Whether the reactor may run."""
        return self._open

    @property
    def stopped(self) -> bool:
        """Whether the reactor stands here and will not go on by itself."""
        with self._changed:
            return self._here and not self._open

    def wake(self) -> None:
        """Something changed."""
        with self._changed:
            self._changed.notify_all()

    def wait(self) -> None:
        """Sleep until the reactor may run and has a reason to; the idle timer is looked at every second."""
        with self._changed:
            self._here = True
            while not (self._open and self._reason()):
                self._changed.wait(WAIT_SECONDS)
            self._here = False

    def _reason(self) -> bool:
        return not self._association.dimse.msg_queue.empty() or self._reason_to_leave()

    def _reason_to_leave(self) -> bool:
        """Whether the reactor has more to look at than messages."""
        provider = self._provider
        return (
            provider is None
            or not provider.to_user_queue.empty()
            or provider.ended
            or self._association._kill  # noqa: SLF001 - see CONTRACT
            or provider.idle_timer_expired()
        )


class ServingPlace(SleepingPlace):
    """Where an acceptor's reactor also serves messages: its own way from one to the next has a `time.sleep(0.001)`."""

    def wait(self) -> None:
        """Sleep and serve until there is something else to look at."""
        super().wait()
        association = self._association
        while not self._reason_to_leave():
            association._is_paused = False  # noqa: SLF001 - as the reactor does around each look for a message
            context_id, message = association.dimse.get_msg(block=False)
            if message is not None:
                association._serve_request(message, context_id or 0)  # noqa: SLF001
            association._is_paused = True  # noqa: SLF001
            super().wait()
