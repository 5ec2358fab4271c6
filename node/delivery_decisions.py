"""What a person decides about a destination: hold it back, let it go on, try again what it refused, give it up.

Each is one transaction of the ledger, kept over restarts, and a line of the audit trail; a running listener sees it at
its next look.
"""

from __future__ import annotations

import datetime as dt

from config.settings import Settings
from node import breaker, places
from node.audit import AuditTrail
from node.delivery_record import end_if_served, resume_delivery
from node.store import alerts, delivery_list, destinations, jobs, outbox
from node.store.alerts import AlertKind
from node.store.destinations import Breaker
from node.store.engine import Connection
from node.store.errors import NoSuchCase
from node.store.outbox import DeliveryState
from node.tasks import destination_lane


def pause(settings: Settings, name: str, *, reason: str, by: str) -> str:
    """Send nothing to a destination until `resume`; reports wait for it. Says so.

    Raises:
        NoSuchCase: nobody knows the destination.

    """
    ledger = places.open_settings_ledger(settings)
    with ledger.begin() as c:
        _require_known(c, settings, name)
        changed = destinations.pause(c, name, why=f"{reason} ({by})", at=dt.datetime.now(dt.UTC))
    ledger.close()
    if not changed:
        return f"{name} is paused already"
    _audit(settings, "deliveries.paused", name, reason=reason, by=by)
    return f"{name} is paused; its reports wait in the ledger"


def resume(settings: Settings, name: str, *, by: str) -> str:
    """Let the deliveries of a paused destination go on, in order and at a bounded rate. Says so.

    Raises:
        NoSuchCase: nobody knows the destination.

    """
    ledger, now = places.open_settings_ledger(settings), dt.datetime.now(dt.UTC)
    with ledger.begin() as c:
        _require_known(c, settings, name)
        changed = destinations.resume(c, name)
        if changed:
            outbox.be_patient_again(c, name, at=now)
            if destinations.get(c, name).breaker is not Breaker.OPEN:
                breaker.release(c, name, now)
    ledger.close()
    if not changed:
        return f"{name} is not paused"
    _audit(settings, "deliveries.resumed", name, by=by)
    return f"{name} goes on"


def retry(settings: Settings, name: str, *, by: str) -> str:
    """Take up again everything that a destination refused, or could not take for days; says how much.

    Raises:
        NoSuchCase: it refused nothing.

    """
    ledger = places.open_settings_ledger(settings)
    with ledger.read() as c:
        refused = outbox.deliveries(c, destination=name, state=DeliveryState.REFUSED)
    for case_id in sorted({one.case_id for one in refused}):
        with ledger.begin() as c:  # one case at a time: nobody else waits for a long transaction
            resume_delivery(c, case_id, only=name)
    ledger.close()
    if not refused:
        msg = f"{name} has refused nothing; there is nothing to retry"
        raise NoSuchCase(msg)
    _audit(settings, "deliveries.retried", name, by=by, count=len(refused))
    return f"{len(refused)} deliveries are on their way to {name} again"


def drop(settings: Settings, name: str, *, reason: str, by: str) -> str:
    """Give up everything that is still to be brought to a destination that is no longer in the settings; says how much.

    Raises:
        NoSuchCase: the destination is in the settings, or nothing waits for it.

    """
    if any(d.name == name for d in settings.delivery.destinations):
        msg = f"{name} is in the settings; remove it from delivery.destinations first, or pause it"
        raise NoSuchCase(msg)
    ledger = places.open_settings_ledger(settings)
    with ledger.read() as c:
        open_ones = [d for d in outbox.deliveries(c, destination=name) if d.state in outbox.UNRESOLVED]
    for one in open_ones:
        with ledger.begin() as c:
            outbox.drop(c, one.case_id, one.version, name, error=f"given up by {by}: {reason}")
            end_if_served(c, one.case_id, one.version)
    with ledger.begin() as c:
        for kind in (AlertKind.DESTINATION_REMOVED, AlertKind.DELIVERY_REFUSED, AlertKind.DESTINATION_DOWN):
            alerts.settle(c, kind, breaker.subject(name))
        dropped = jobs.drop_lane(c, destination_lane(name))
    ledger.close()
    if not open_ones:
        msg = f"nothing waits for {name}"
        raise NoSuchCase(msg)
    _audit(settings, "deliveries.dropped", name, reason=reason, by=by, count=len(open_ones), tasks=dropped)
    return f"{len(open_ones)} deliveries to {name} are given up"


def _require_known(c: Connection, settings: Settings, name: str) -> None:
    known = {d.name for d in settings.delivery.destinations} | {one.destination for one in delivery_list.counts(c)}
    if name not in known:
        msg = f"no destination is called {name!r}; there are {', '.join(sorted(known)) or 'none'}"
        raise NoSuchCase(msg)


def _audit(settings: Settings, event: str, name: str, **facts: str | int) -> None:
    audit = AuditTrail(settings.storage.data_dir / "audit")
    audit.record(event, destination=name, **facts)
    audit.flush()
