"""What wakes a lane before the next poll: notices of the ledger, messages of a broker, or nothing.

A hint says "look at the ledger", and nothing depends on it: lost, late, repeated or forged ones cost a look. So the
three kinds are one to the dispatcher, and which of them serves is a setting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Protocol

from config.settings import Settings, SettingsError
from node.store import bells, notices
from node.store.engine import Ledger

Heard = Callable[[str], None]
"""Told the lane that has work."""


class Hints(Protocol):
    """One process's connection to what tells of work."""

    def start(self, lanes: Collection[str]) -> None:
        """Begin to tell other processes of what this one enqueues, and of what comes due in any of `lanes`."""

    def follow(self, lanes: Collection[str], heard: Heard, stopping: threading.Event) -> None:
        """Call `heard` with the lane of each hint for one of `lanes`, until `stopping` is set. Runs in its own thread.

        Over at once where there are no hints. Whatever breaks is mended here; it raises nothing.
        """

    def stop(self) -> None:
        """Tell nobody any more."""


class NoHints:
    """The poll alone."""

    def start(self, lanes: Collection[str]) -> None:
        """As `Hints.start`."""

    def follow(self, lanes: Collection[str], heard: Heard, stopping: threading.Event) -> None:
        """As `Hints.follow`."""

    def stop(self) -> None:
        """As `Hints.stop`."""


class Notices:
    """PostgreSQL's NOTIFY, sent with the commit itself; on SQLite a bell that is rung after it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def start(self, lanes: Collection[str]) -> None:
        """As `Hints.start`; the commits do it."""

    def follow(self, lanes: Collection[str], heard: Heard, stopping: threading.Event) -> None:  # noqa: ARG002
        """As `Hints.follow`; a lane that is not followed is the dispatcher's to ignore."""
        if self._ledger.file is not None:
            bells.follow(self._ledger.file, heard, stopping)
        else:
            notices.follow(self._ledger, heard, stopping)

    def stop(self) -> None:
        """As `Hints.stop`."""


def make_hints(settings: Settings, ledger: Ledger) -> Hints:
    """The kind the settings name.

    Raises:
        SettingsError: FLEET-EXTRA: Celery is not installed.

    """
    match settings.fleet.hints:
        case "notify":
            return Notices(ledger)
        case "poll":
            ledger.announce(by_notice=False)
            return NoHints()
        case "celery":
            try:
                from node.dispatch.celery_app import CeleryHints  # noqa: PLC0415 - an extra
            except ImportError as error:
                msg = 'FLEET-EXTRA: fleet.hints is "celery", which the extra `fleet` brings (install.md, Extras)'
                raise SettingsError(msg) from error
            return CeleryHints(settings.fleet.broker, ledger)
