"""Looks, by the listener's clock, whether reception has the disk it needs; one alert while it has not.

Reception decides for itself at every sender (`dicom_io.watermark`) and writes nothing to the ledger for it: an alert
that cannot be written, perhaps for want of the same disk, must keep no image out. It is written at a later look.
"""

from __future__ import annotations

import socket

import structlog

from config.settings import Reception
from dicom_io.errors import SpoolUnavailable
from dicom_io.spool import Spool
from dicom_io.watermark import Level, level_of
from node.store import alerts
from node.store.alerts import AlertKind
from node.store.engine import Ledger
from node.store.errors import LedgerUnavailable

log = structlog.get_logger()


class DiskWatch:
    """Keeps the alert `DISK_LOW` of one listener."""

    def __init__(self, spool: Spool, settings: Reception, ledger: Ledger) -> None:
        self._spool = spool
        self._settings = settings
        self._ledger = ledger
        self._subject = f"reception at {socket.gethostname()[:60]}" if spool.shared else "reception"
        self._told: Level | None = None

    def look(self) -> None:
        """Tell of a change of level; the first look also settles what an earlier run left open."""
        try:
            if self._spool.shared and self._spool.marker() is None:
                return  # storage that is away counts as full for senders: `SpoolWatch` tells of it
            used = self._spool.used_percent()
            level = level_of(used, low_at=self._settings.reject_at_percent, full_at=self._settings.full_at_percent)
            if level is self._told:
                return
            with self._ledger.begin() as c:
                alerts.keep(c, AlertKind.DISK_LOW, self._subject, _words(level, used))
        except (OSError, SpoolUnavailable, LedgerUnavailable) as error:
            log.warning("reception.disk_not_told", error=type(error).__name__)
            return
        self._told = level


def _words(level: Level, used_percent: float) -> str:
    return "" if level is Level.OK else f"{level.value}, {used_percent:.0f} % used"
