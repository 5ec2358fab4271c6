"""What a person decides about an HL7 receiver that is no longer in the settings: its messages are given up."""

from __future__ import annotations

import contextlib

from config.settings import Settings
from node import places
from node.audit import AuditTrail
from node.feeds.hl7_meaning import Meaning
from node.results_out import settle_refusals, subject
from node.store import alerts, jobs, result_messages
from node.store.alerts import AlertKind
from node.store.errors import NoSuchCase
from node.tasks import result_lane


def drop(settings: Settings, name: str, *, reason: str, by: str) -> str:
    """Give up everything that is still to be told to a receiver that is no longer in the settings; says how much.

    Raises:
        NoSuchCase: the receiver is in the settings, or nothing waits for it.

    """
    if any(r.name == name for r in settings.results.receivers):
        msg = f"{name} is in the settings; remove it from results.receivers first"
        raise NoSuchCase(msg)
    with contextlib.closing(places.open_settings_ledger(settings)) as ledger:
        with ledger.read() as c:
            keys = result_messages.unresolved(c, receiver=name)
        for key in keys:
            with ledger.begin() as c:  # one case at a time: nobody else waits for a long transaction
                result_messages.give_up(c, key, error=f"given up by {by}: {reason}")
                settle_refusals(c, key.case_id)
        with ledger.begin() as c:
            for kind in (AlertKind.RECEIVER_REMOVED, AlertKind.RECEIVER_DOWN):
                alerts.settle(c, kind, subject(name))
            jobs.drop_lane(c, result_lane(name))
    if not keys:
        msg = f"nothing waits for {name}"
        raise NoSuchCase(msg)
    back = sorted({key.case_id for key in keys if key.meaning != Meaning.RESULT})
    audit = AuditTrail(settings.storage.data_dir / "audit")
    audit.record("results.dropped", receiver=name, reason=reason, by=by, count=len(keys), not_taken_back=len(back))
    audit.flush()
    said = f"{len(keys)} messages to {name} are given up"
    return f"{said}; not taken back there: case {', '.join(map(str, back))}" if back else said
