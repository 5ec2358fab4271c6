"""Reported -> Delivered: every destination gets every object, again and again until it has them.

One task per case, version and destination, in a lane of that destination: a dead archive delays nobody else. What is
sent are the frozen bytes of the outbox, so a repeated send is the archive's duplicate and never a second finding.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from config.settings import Delivery, Destination
from dicom_io.errors import PeerRefused, PeerUnavailable
from dicom_io.storage_scu import OutgoingObject, send
from node.backoff import pause
from node.case import Delivered, Reported
from node.errors import GiveUp, Retry
from node.store import cases, jobs, outbox
from node.store.engine import Connection, Ledger
from node.store.jobs import Task
from node.tasks import DELIVER, REPORT_VERSION, deliver_key, destination_lane, parse_deliver_key

REFUSALS_BEFORE_A_PERSON = 3
"""An archive that says no is asked again so often, since some say no while they restart."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverer:
    """Handles `DELIVER` tasks."""

    ledger: Ledger
    settings: Delivery

    def deliver(self, task: Task) -> Callable[[Connection], None] | None:
        """Send one report to one destination; what it means for the case is recorded in the completion transaction.

        Raises:
            Retry: the destination cannot take it now, or refused and will be asked again.
            LostLease: another process took the delivery over.

        """
        case_id, version, name = parse_deliver_key(task.key)
        destination = self._destination(name)
        with self.ledger.read() as c:
            objects = outbox.objects(c, case_id, version)
        try:
            send([_outgoing(o) for o in objects], destination, self.settings)
        except PeerUnavailable as error:
            tries = self._note_try(task, str(error))
            raise Retry(pause(tries, self.settings), str(error)) from error
        except PeerRefused as error:
            tries = self._note_try(task, str(error))
            if tries >= REFUSALS_BEFORE_A_PERSON:
                return _refused(case_id, version, name, str(error))
            raise Retry(pause(tries, self.settings), str(error)) from error
        log.info("report.delivered", case=case_id, destination=name, objects=len(objects))
        return _delivered(case_id, version, name, dt.datetime.now(dt.UTC))

    def bury(self, c: Connection, task: Task, why: GiveUp) -> None:
        """Put the delivery of a dead task before a person."""
        case_id, version, name = parse_deliver_key(task.key)
        outbox.mark_refused(c, case_id, version, name, error=str(why))
        log.error("report.undeliverable", case=case_id, destination=name)

    def _destination(self, name: str) -> Destination:
        return next(d for d in self.settings.destinations if d.name == name)

    def _note_try(self, task: Task, error: str) -> int:
        """Record a try without success; returns how many there were."""
        case_id, version, name = parse_deliver_key(task.key)
        with self.ledger.begin() as c:
            jobs.checkpoint(c, task)
            outbox.mark_tried(c, case_id, version, name, error=error)
            found = outbox.deliveries(c, case_id=case_id, version=version)
        tries = next(d.tries for d in found if d.destination == name)
        log.warning("report.waiting", case=case_id, destination=name, tries=tries, error=error)
        return tries


def direct_undirected(c: Connection, destinations: tuple[Destination, ...]) -> int:
    """Open deliveries for reports made while no destination was configured; how many reports. Call it at start."""
    directed = 0
    before = None
    while page := cases.find(c, state=Reported.__name__, before=before):
        before = page[-1].case_id
        for summary in page:
            if not outbox.deliveries(c, case_id=summary.case_id):
                begin_deliveries(c, summary.case_id, tuple(d.name for d in destinations))
                directed += 1
    return directed


def begin_deliveries(c: Connection, case_id: int, names: tuple[str, ...]) -> None:
    """Have the frozen report of a case brought to `names`, each by its own task in its own lane."""
    outbox.open_deliveries(c, case_id, REPORT_VERSION, names)
    for name in names:
        jobs.enqueue(c, DELIVER, deliver_key(case_id, REPORT_VERSION, name), lane=destination_lane(name))


def resume_delivery(c: Connection, case_id: int) -> tuple[str, ...]:
    """Take the refused deliveries of a case up again, now; their destinations."""
    refused = outbox.deliveries(c, case_id=case_id, state=outbox.DeliveryState.REFUSED)
    for item in refused:
        outbox.wait_again(c, case_id, item.version, item.destination)
        key = deliver_key(case_id, item.version, item.destination)
        jobs.touch(c, DELIVER, key, lane=destination_lane(item.destination))
    return tuple(item.destination for item in refused)


def _delivered(case_id: int, version: int, name: str, at: dt.datetime) -> Callable[[Connection], None]:
    def then(c: Connection) -> None:
        everywhere = outbox.mark_delivered(c, case_id, version, name, proof="c-store", at=at)
        case = cases.load(c, case_id)
        if everywhere and isinstance(case, Reported):
            proofs = outbox.proofs(c, case_id, version)
            delivered = Delivered(
                case_id=case_id,
                source=case.source,
                match=case.match,
                result=case.result,
                objects=case.objects,
                proofs=proofs,
            )
            cases.save(c, delivered, why=", ".join(f"{p.destination} ({p.kind})" for p in proofs))

    return then


def _refused(case_id: int, version: int, name: str, error: str) -> Callable[[Connection], None]:
    def then(c: Connection) -> None:
        outbox.mark_refused(c, case_id, version, name, error=error)
        log.error("report.refused", case=case_id, destination=name, error=error)

    return then


def _outgoing(item: outbox.OutboxObject) -> OutgoingObject:
    return OutgoingObject(sop_class_uid=item.sop_class_uid, sop_instance_uid=item.sop_instance_uid, part10=item.part10)
