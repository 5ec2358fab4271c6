"""Reported -> Delivered: every destination gets every object, again and again until it has them.

One task per case, version and destination, in a lane of that destination: a dead archive delays nobody else. What is
sent are the frozen bytes of the outbox, so a repeated send is the archive's duplicate and never a second finding. The
newest version wins: an older one that is not there yet is cancelled, and a newer one waits until no older one is under
way to the same destination.
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
from node.tasks import DELIVER, deliver_key, destination_lane, parse_deliver_key

REFUSALS_BEFORE_A_PERSON = 3
"""An archive that says no is asked again so often, since some say no while they restart."""

NEWER_WAITS_SECONDS = 1.0
"""Until a newer version looks again whether the older one's send has ended; a send is bounded by the DIMSE time-out."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverer:
    """Handles `DELIVER` tasks."""

    ledger: Ledger
    settings: Delivery

    def deliver(self, task: Task) -> Callable[[Connection], None] | None:
        """Send one report to one destination; what it means for the case is recorded in the completion transaction.

        Raises:
            Retry: the destination cannot take it now, or refused and will be asked again; or an older version is still
                under way there.
            LostLease: another process took the delivery over.

        """
        case_id, version, name = parse_deliver_key(task.key)
        destination = self._destination(name)
        uncertain = self._begin(task)
        if uncertain is None:
            return None
        with self.ledger.read() as c:
            objects = outbox.objects(c, case_id, version)
        try:
            send([_outgoing(o) for o in objects], destination, self.settings)
        except PeerUnavailable as error:
            tries = self._note_try(task, str(error), uncertain=uncertain or error.partly)
            raise Retry(pause(tries, self.settings), str(error)) from error
        except PeerRefused as error:
            tries = self._note_try(task, str(error), uncertain=uncertain or error.partly)
            if tries >= REFUSALS_BEFORE_A_PERSON:
                return _refused(case_id, version, name, str(error))
            raise Retry(pause(tries, self.settings), str(error)) from error
        log.info("report.delivered", case=case_id, destination=name, objects=len(objects))
        return record_delivered(case_id, version, name, dt.datetime.now(dt.UTC))

    def bury(self, c: Connection, task: Task, why: GiveUp) -> None:
        """Put the delivery of a dead task before a person."""
        case_id, version, name = parse_deliver_key(task.key)
        outbox.mark_refused(c, case_id, version, name, error=str(why))
        log.error("report.undeliverable", case=case_id, destination=name)

    def _destination(self, name: str) -> Destination:
        return next(d for d in self.settings.destinations if d.name == name)

    def _begin(self, task: Task) -> bool | None:
        """Open the send: whether an earlier one may have left something; None when there is nothing to send."""
        case_id, version, name = parse_deliver_key(task.key)
        with self.ledger.begin() as c:
            jobs.checkpoint(c, task)
            older = [deliver_key(case_id, v, name) for v in range(1, version)]
            if any(jobs.being_done(c, DELIVER, key) for key in older):
                raise Retry(NEWER_WAITS_SECONDS, f"{name}: an older version is still under way")
            return outbox.begin_send(c, case_id, version, name)

    def _note_try(self, task: Task, error: str, *, uncertain: bool) -> int:
        """Record a try without success; returns how many there were."""
        case_id, version, name = parse_deliver_key(task.key)
        with self.ledger.begin() as c:
            jobs.checkpoint(c, task)
            outbox.mark_tried(c, case_id, version, name, error=error, uncertain=uncertain)
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
            case = cases.load(c, summary.case_id)
            if isinstance(case, Reported) and not outbox.deliveries(c, case_id=case.case_id, version=case.version):
                begin_deliveries(c, case.case_id, case.version, tuple(d.name for d in destinations))
                directed += 1
    return directed


def begin_deliveries(c: Connection, case_id: int, version: int, names: tuple[str, ...]) -> None:
    """Have a frozen version of a report brought to `names`, each by its own task in its own lane."""
    outbox.open_deliveries(c, case_id, version, names)
    for name in names:
        jobs.enqueue(c, DELIVER, deliver_key(case_id, version, name), lane=destination_lane(name))


def resume_delivery(c: Connection, case_id: int) -> tuple[str, ...]:
    """Take the refused deliveries of a case up again, now; their destinations."""
    outbox.lock_case(c, case_id)  # a newer version that is just made cancels these; they must not come back after it
    refused = outbox.deliveries(c, case_id=case_id, state=outbox.DeliveryState.REFUSED)
    for item in refused:
        outbox.wait_again(c, case_id, item.version, item.destination)
        key = deliver_key(case_id, item.version, item.destination)
        jobs.touch(c, DELIVER, key, lane=destination_lane(item.destination))
    return tuple(item.destination for item in refused)


def record_delivered(case_id: int, version: int, name: str, at: dt.datetime) -> Callable[[Connection], None]:
    """Record in the completion that a destination has a version; the case ends when all have its newest."""

    def then(c: Connection) -> None:
        everywhere = outbox.mark_delivered(c, case_id, version, name, proof="c-store", at=at)
        case = cases.load(c, case_id)
        if everywhere and isinstance(case, Reported) and case.version == version:
            proofs = outbox.proofs(c, case_id, version)
            delivered = Delivered(
                case_id=case_id,
                source=case.source,
                match=case.match,
                result=case.result,
                objects=case.objects,
                proofs=proofs,
                version=version,
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
