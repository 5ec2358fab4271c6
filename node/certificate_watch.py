"""Watches, by the listener's clock, the TLS certificate that clients are shown, and whether its renewal was taken over.

What is in use counts, not what lies in the file: a renewal that cannot be used says nothing of the days that are left.
One alert for each server that speaks TLS, open for as long as a person must act; the log repeats it every day.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

import structlog

from dicom_io.certificate import Validity
from dicom_io.tls import InUse, TlsFiles
from node.store import alerts
from node.store.alerts import AlertKind
from node.store.engine import Ledger
from node.store.errors import LedgerUnavailable

WARN_DAYS: Final = 30
"""A hospital's certificate authority answers within weeks."""
URGENT_DAYS: Final = 7
"""From here on it is an alert."""
LAST_DAYS: Final = 1

log = structlog.get_logger()


class CertificateWatch:
    """Keeps the alert `CERTIFICATE` of one server.

    Args:
        where: the server's table in the configuration.
        files: what it takes its certificate from; None where TLS is off, which settles what an earlier run left open.
        ledger: where the alert is kept.
        host: of a fleet, which of its hosts this is.

    """

    def __init__(self, where: str, files: TlsFiles | None, ledger: Ledger, *, host: str = "") -> None:
        self._where = where
        self._files = files
        self._ledger = ledger
        self._subject = f"{where} at {host}" if host else where
        self._told: str | None = None

    def look(self) -> None:
        """Raise the alert, change its words or settle it; a ledger that does not take it now is asked again."""
        why = _words(self._files.in_use(), dt.datetime.now(dt.UTC)) if self._files else ""
        if why == self._told:
            return
        try:
            with self._ledger.begin() as c:
                alerts.keep(c, AlertKind.CERTIFICATE, self._subject, why)
        except LedgerUnavailable as error:
            log.warning("certificate.not_told", error=str(error))
            return
        self._told = why

    def remind(self) -> int | None:
        """Log what a person must know of, for every day's log and each start; the days left, None without TLS."""
        if self._files is None:
            return None
        now, in_use = dt.datetime.now(dt.UTC), self._files.in_use()
        days, remedy = in_use.validity.days_left(now), f"renew {self._where}.certificate; no restart needed"
        if in_use.refused:
            log.error("certificate.renewal_refused", where=self._where, days_left=days, error=in_use.refused)
        if now < in_use.validity.begins:
            begins = in_use.validity.begins.isoformat()
            log.error("certificate.not_yet_valid", where=self._where, begins=begins, remedy=remedy)
        elif now > in_use.validity.ends:
            log.error("certificate.expired", where=self._where, days_left=days, remedy=remedy)
        elif days <= WARN_DAYS:
            report = log.error if days <= LAST_DAYS else log.warning
            report("certificate.expires", where=self._where, days_left=days, urgent=days <= URGENT_DAYS)
        return days


def _words(in_use: InUse, now: dt.datetime) -> str:
    """Why a person must act, of the certificate in use first; empty where nobody need."""
    days = in_use.validity.days_left(now)
    if not in_use.refused:
        return _of_validity(in_use.validity, now) if days <= URGENT_DAYS or now < in_use.validity.begins else ""
    return f"{_of_validity(in_use.validity, now)}; its renewal is refused: {in_use.refused}"


def _of_validity(validity: Validity, now: dt.datetime) -> str:
    if now < validity.begins:
        return f"in use: not valid before {validity.begins:%Y-%m-%d %H:%M} UTC"
    if now > validity.ends:
        return f"in use: expired on {validity.ends:%Y-%m-%d}"
    return f"in use: {validity.days_left(now)} days left"
