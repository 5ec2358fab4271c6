"""Warns before the node's TLS certificate expires: at 30, 7 and 1 days, once a day and at each start."""

from __future__ import annotations

import structlog

from config.settings import SettingsError
from config.tls import ServerTls
from dicom_io.tls import days_left

WARN_DAYS = 30
"""A hospital's certificate authority answers within weeks."""
URGENT_DAYS = 7
LAST_DAYS = 1

log = structlog.get_logger()


def watch_certificate(settings: ServerTls) -> int | None:
    """Log what is due and return the days left; None without TLS, or when the file cannot be read just now."""
    if not settings.enabled:
        return None
    try:
        days = days_left(settings)
    except SettingsError as error:
        log.error("certificate.unreadable", error=str(error))  # noqa: TRY400 - the message says it all
        return None
    if days < 0:
        remedy = f"renew {settings.where}.certificate; no restart needed"
        log.error("certificate.expired", days_left=days, remedy=remedy)
    elif days <= WARN_DAYS:
        report = log.error if days <= LAST_DAYS else log.warning
        report("certificate.expires", where=settings.where, days_left=days, urgent=days <= URGENT_DAYS)
    return days
