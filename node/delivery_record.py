"""What deliveries mean for their case: opened with the report, taken up again, ended, given up.

All of it is statements in the caller's transaction. A case is delivered when every destination that is to get its
newest version has it, each with its proof; one whose destinations a person gave up, every one, has failed.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable

import structlog

from config.settings import Destination
from node.case import Delivered, Failed, Proof, Reported, Withdrawn
from node.errors import FailureCode
from node.parcel import class_sent
from node.store import alerts, cases, jobs, outbox, sent
from node.store.alerts import AlertKind
from node.store.delivery_list import UNPROVED
from node.store.engine import Connection
from node.store.outbox import DeliveryState
from node.tasks import DELIVER, deliver_key, destination_lane

AHEAD_SECONDS = 3650 * 86_400.0
"""A withdrawal is due so long ago that it goes before everything else in its lane."""
RESENDS = 3
"""How often an archive that does not keep a report gets it again before a person must look."""

log = structlog.get_logger()


def direct_undirected(c: Connection, destinations: tuple[Destination, ...]) -> int:
    """Open deliveries for reports made while no destination was configured; how many reports. Call it at start."""
    directed = 0
    before = None
    while page := cases.find(c, state=Reported.__name__, before=before):
        before = page[-1].case_id
        for summary in page:
            case = cases.load(c, summary.case_id)
            if isinstance(case, Reported) and not outbox.deliveries(c, case_id=case.case_id, version=case.version):
                begin_deliveries(c, case.case_id, case.version, tuple(d.name for d in destinations))
                directed += 1
    return directed


def begin_deliveries(c: Connection, case_id: int, version: int, names: tuple[str, ...], *, ahead: bool = False) -> None:
    """Have a frozen version of a report brought to `names`, each by its own task in its own lane.

    `ahead`: before everything else that waits there.
    """
    outbox.open_deliveries(c, case_id, version, names)
    for name in names:
        delay = -AHEAD_SECONDS if ahead else 0.0
        jobs.enqueue(c, DELIVER, deliver_key(case_id, version, name), lane=destination_lane(name), delay=delay)


def resume_delivery(c: Connection, case_id: int, *, only: str | None = None) -> tuple[str, ...]:
    """Take the refused deliveries of a case up again, now; their destinations. `only`: to one of them."""
    cases.lock_case(c, case_id)  # a newer version that is just made cancels these; they must not come back after it
    refused = outbox.deliveries(c, case_id=case_id, destination=only, state=DeliveryState.REFUSED)
    for item in refused:
        outbox.wait_again(c, case_id, item.version, item.destination)
        key = deliver_key(case_id, item.version, item.destination)
        jobs.touch(c, DELIVER, key, lane=destination_lane(item.destination))
        if not outbox.deliveries(c, destination=item.destination, state=DeliveryState.REFUSED):
            alerts.settle(c, AlertKind.DELIVERY_REFUSED, f"destination {item.destination}")
    return tuple(item.destination for item in refused)


def under_way(c: Connection, case_id: int) -> bool:
    """Whether a send of some version of the case is going on: only when it has ended is it known what left."""
    keys = (deliver_key(case_id, d.version, d.destination) for d in outbox.deliveries(c, case_id=case_id))
    return any(jobs.being_done(c, DELIVER, key) for key in keys)


def record_delivered(
    case_id: int, version: int, name: str, at: dt.datetime, *, proof: str = UNPROVED
) -> Callable[[Connection], None]:
    """Record in the completion that a destination has a version; the case ends when all have its newest."""

    def then(c: Connection) -> None:
        all_served = outbox.mark_delivered(c, case_id, version, name, proof=proof, at=at)
        log.info("report.delivered", case=case_id, version=version, destination=name, proof=proof)
        if all_served:
            _end(c, case_id, version)

    return then


def refuse(c: Connection, case_id: int, version: int, name: str, *, error: str) -> None:
    """Put a delivery before a person; `error` says why without patient data."""
    outbox.mark_refused(c, case_id, version, name, error=error)
    if outbox.one(c, case_id, version, name).state is DeliveryState.REFUSED:
        alerts.raise_alert(c, AlertKind.DELIVERY_REFUSED, f"destination {name}", f"case {case_id}: {error}")
        log.error("report.refused", case=case_id, version=version, destination=name, error=error)


def end_if_served(c: Connection, case_id: int, version: int) -> None:
    """End the case when nobody is still to get its newest version."""
    if outbox.served(c, case_id, version):
        _end(c, case_id, version)


def _end(c: Connection, case_id: int, version: int) -> None:
    """End the case if this version, which nobody is still to get, is its newest."""
    case = cases.load(c, case_id)
    if not isinstance(case, Reported | Withdrawn) or case.version != version:
        return
    if isinstance(case, Withdrawn) and not case.stated:  # a send of the report itself that was still running
        return
    known = sent.of_case(c, case_id)
    proofs = tuple(
        dataclasses.replace(p, sr_class=class_sent([s for s in known if s.destination == p.destination], version))
        for p in outbox.proofs(c, case_id, version)
    )
    if isinstance(case, Withdrawn):
        cases.note(c, case_id, f"every destination is told: {_listed(proofs)}")
    elif proofs:
        delivered = Delivered(
            case_id=case_id,
            source=case.source,
            match=case.match,
            result=case.result,
            objects=case.objects,
            proofs=proofs,
            version=version,
        )
        cases.save(c, delivered, why=_listed(proofs))
    else:
        failed = Failed(case_id=case_id, source=case.source, code=FailureCode.NOT_DELIVERED, detail=f"v{version}")
        cases.save(c, failed, why="every destination was given up by a person; nobody has the report")


def _listed(proofs: tuple[Proof, ...]) -> str:
    return ", ".join(f"{p.destination} ({p.kind}, {p.sr_class or 'sr'})" for p in proofs) or "nobody had it"
