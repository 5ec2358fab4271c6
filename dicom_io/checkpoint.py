"""Where an association's reactor can be stopped: what pynetdicom keeps an event for."""

from __future__ import annotations

import threading


class Checkpoint:
    """Stands in for that event, which is set most of the time. What `wait` does is its kind's."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = True

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
