"""What `osteon doctor` says of a fleet: whether this host can use what the hosts share. Nothing is left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator

from config.settings import Settings, SettingsError
from dicom_io.errors import SpoolFull, SpoolUnavailable
from node import places
from node.finding import Finding, Mark
from node.shared_spool import open_spool
from node.store import installation
from node.store.engine import Ledger
from node.store.errors import LedgerError, LedgerUnavailable
from node.store.migrate import is_current

CLOCK_WARN_SECONDS = 1.0


def examine_fleet(settings: Settings) -> Iterator[Finding]:
    """Look at the spool, the broker, the clock, and at what must be alike on all hosts; nothing without PostgreSQL."""
    if not settings.storage.database_url.startswith("postgresql"):
        return
    try:
        ledger = places.look_into_ledger(settings)
    except (LedgerError, LedgerUnavailable, SettingsError):
        return  # said already
    try:
        if settings.fleet.spool:
            yield _spool(settings, ledger)
            yield from _alike(settings)
        yield _clock(settings, ledger)
    except LedgerUnavailable as error:
        yield Finding(mark=Mark.FAIL, what=str(error), remedy="start the database")
    finally:
        ledger.close()
    if settings.fleet.hints == "celery":
        yield _broker(settings)


def _spool(settings: Settings, ledger: Ledger) -> Finding:
    where = settings.fleet.spool
    with ledger.read() as c:
        known = installation.namespace_of(c) if is_current(c, name=ledger.url) else None
    try:
        spool = open_spool(settings)
        marker = spool.marker()
        if marker is None:
            what = f"fleet.spool {where} is not marked as a spool yet"
            return Finding(mark=Mark.WARN, what=what, remedy="right before the first start of all; else mount it")
        if known is not None and marker != known:
            what = f"FLEET-SPOOL: fleet.spool {where} belongs to another node"
            return Finding(mark=Mark.FAIL, what=what, remedy="give this one its own")
        spool.probe()
    except SettingsError as error:
        what, _, remedy = str(error).partition("; ")
        return Finding(mark=Mark.FAIL, what=what, remedy=remedy)
    except (SpoolUnavailable, SpoolFull, OSError) as error:
        remedy = "mend the mount, the bucket, its credentials or the network"
        return Finding(mark=Mark.FAIL, what=f"FLEET-SPOOL: {where}: {error}", remedy=remedy)
    return Finding(mark=Mark.OK, what=f"the shared spool {where} takes, gives back and deletes a file")


def _broker(settings: Settings) -> Finding:
    try:
        from node.dispatch.celery_app import celery_app  # noqa: PLC0415 - an extra

        with celery_app(settings.fleet.broker).connection_for_read() as connection:
            connection.connect()
    except ImportError:
        remedy = "install the extra `fleet` (install.md, Extras)"
        return Finding(mark=Mark.FAIL, what="FLEET-EXTRA: Celery is missing", remedy=remedy)
    except Exception as error:  # noqa: BLE001 - whatever a client raises; its text may hold the password
        what = f"FLEET-BROKER: the broker does not answer ({type(error).__name__}): work is found by the poll only"
        return Finding(mark=Mark.WARN, what=what, remedy="start RabbitMQ, or correct fleet.broker")
    return Finding(mark=Mark.OK, what="the broker of hints answers")


def _clock(settings: Settings, ledger: Ledger) -> Finding:
    """Leases are compared between hosts, so their clocks must agree."""
    before = time.time()
    with ledger.read() as c:
        theirs = installation.database_time(c)
    offset = theirs - (before + time.time()) / 2
    what = f"this host's clock and the database's differ by {abs(offset):.1f} s"
    if abs(offset) > settings.fleet.lease / 6:
        return Finding(mark=Mark.FAIL, what=f"{what}: leases cannot be trusted", remedy="synchronise the clocks (NTP)")
    if abs(offset) > CLOCK_WARN_SECONDS:
        return Finding(mark=Mark.WARN, what=what, remedy="synchronise the clocks (NTP)")
    return Finding(mark=Mark.OK, what=what)


def _alike(settings: Settings) -> Iterator[Finding]:
    if settings.model.bundle is None:
        what = "model.bundle is empty: each host serves the bundle that was activated on it"
        yield Finding(mark=Mark.WARN, what=what, remedy="name the same bundle in model.bundle on every host")
    alone = [peer.ae_title for peer in settings.reception.peers if peer.commitment_port is None]
    if settings.reception.commitment and alone:
        what = f"{', '.join(alone)} can be told of a commitment only by the listener that was asked"
        yield Finding(mark=Mark.WARN, what=what, remedy="set commitment_port in their entries of reception.peers")
