"""Sent -> Delivered: the destination shows that it keeps what it answered for, or gets it again.

    commitment: asked, and the report is awaited; asked again after five minutes, three times, then read back
    find, qido: every object is looked for by its UID, a few times, since archives index late
    what is not kept is sent again, the same bytes; after three times a person must look

Nothing here holds a thread: a report that is awaited is a state of the ledger, and the N-EVENT-REPORT makes the task
due (`record_event`). Which kind is asked for, and what stands in for it, is said by `node.proof_kind`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from config.settings import Delivery, Destination
from dicom_io.commitment import CommitmentItem
from dicom_io.commitment_scu import CommitmentEvent, CommitmentEvents
from dicom_io.errors import PeerFault, PeerRefused, PeerUnavailable
from node import breaker
from node.backoff import pause
from node.delivery_record import RESENDS, record_delivered, refuse
from node.errors import GiveUp, Retry
from node.parcel import load
from node.proof_kind import next_kind
from node.read_back import absent
from node.store import alerts, commitments_asked, destinations, jobs, outbox, sent
from node.store.alerts import AlertKind
from node.store.clock_jump import SLACK_SECONDS
from node.store.commitments_asked import Asked
from node.store.delivery_list import UNPROVED
from node.store.engine import Connection, Ledger
from node.store.jobs import Task
from node.store.outbox import DeliveryState
from node.store.sent import SentObject
from node.tasks import DELIVER, PROVE, deliver_key, destination_lane, parse_deliver_key

ASKS = 3
"""Commitment requests without a report before the objects are looked for instead."""
STAY_SECONDS = 1.0
"""How long the association of a commitment request is kept for a report that comes on it."""
LOOK_AGAIN_SECONDS = (2.0, 10.0, 60.0, 300.0)
"""Pauses between read-backs that do not find all; after the last the objects are sent again."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A delivery that is to be proved, with what the ledger knows of it."""

    delivery: outbox.Delivery
    to: Destination
    objects: tuple[SentObject, ...]
    """What it answered for."""
    asked: tuple[Asked, ...]
    """Commitment requests since it was sent, oldest first."""

    @property
    def key(self) -> tuple[int, int, str]:
        """(case, version, destination)."""
        return self.delivery.case_id, self.delivery.version, self.delivery.destination


@dataclass(frozen=True, slots=True, kw_only=True)
class Prover:
    """Handles `PROVE` tasks. `now` gives the aware time."""

    ledger: Ledger
    settings: Delivery
    events: CommitmentEvents
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)

    def prove(self, task: Task) -> Callable[[Connection], None] | None:
        """Find out whether the destination keeps the report; what follows is recorded in the completion transaction.

        Raises:
            Retry: it is not known yet.
            LostLease: another process took it over.

        """
        claim = self._claim(task)
        if claim is None:
            return None
        try:
            if told := [one for one in claim.asked if one.told_at is not None]:
                return self._by_report(claim, told[-1])
            if claim.delivery.proof == "commitment":
                return self._by_commitment(task, claim)
            return self._by_reading_back(task, claim)
        except PeerUnavailable as fault:
            return self._later(task, claim, fault)
        except PeerRefused as fault:
            return self._by_other_means(task, claim, str(fault))

    def bury(self, c: Connection, task: Task, why: GiveUp) -> None:
        """Put a delivery that cannot be proved before a person."""
        case_id, version, name = parse_deliver_key(task.key)
        refuse(c, case_id, version, name, error=f"stored, not proved: {why}")

    def _claim(self, task: Task) -> Claim | None:
        case_id, version, name = parse_deliver_key(task.key)
        to = next((d for d in self.settings.destinations if d.name == name), None)
        with self.ledger.read() as c:
            delivery = outbox.one(c, case_id, version, name)
            if to is None or delivery.state is not DeliveryState.SENT:
                return None
            known = sent.of_case(c, case_id, destination=name)
            asked = commitments_asked.of_delivery(c, case_id, version, name)
        # A note is not asked for: archives that act on notes hide them together with what they reject.
        objects = tuple(one for one in known if one.version == version and one.kind != "note" and one.stored)
        return Claim(delivery=delivery, to=to, objects=objects, asked=asked)

    def _by_report(self, claim: Claim, told: Asked) -> Callable[[Connection], None]:
        """What an archive reported: all kept, or some not. What it does not name it does not keep."""
        lost = [one.sop_instance_uid for one in claim.objects if one.sop_instance_uid not in told.committed]
        if not lost:
            return record_delivered(*claim.key, self.now(), proof="commitment")
        reasons = sorted({f"{told.failures.get(uid, 0):04X}" for uid in lost})
        return self._send_again(claim, lost, f"storage commitment failed: {', '.join(reasons)}")

    def _by_commitment(self, task: Task, claim: Claim) -> Callable[[Connection], None]:
        if claim.asked:
            remaining = self.settings.commitment_wait - (self.now() - claim.asked[-1].asked_at).total_seconds()
            if 0 < remaining <= self.settings.commitment_wait + SLACK_SECONDS:  # else the clock was set back since
                raise Retry(remaining, f"{claim.to.name}: awaits the report on storage commitment")
        if len(claim.asked) >= ASKS:
            return self._by_other_means(task, claim, f"{claim.to.name}: no report on {ASKS} commitment requests")
        transaction = f"2.25.{uuid.uuid4().int}"
        case_id, version, name = claim.key
        with self.ledger.begin() as c:
            jobs.checkpoint(c, task)
            commitments_asked.add(c, transaction, case_id=case_id, version=version, destination=name, at=self.now())
        items = [
            CommitmentItem(sop_class_uid=o.sop_class_uid, sop_instance_uid=o.sop_instance_uid) for o in claim.objects
        ]
        try:
            come = self.events.ask(transaction, items, claim.to, self.settings, stay=STAY_SECONDS)
        except PeerFault as fault:
            if not fault.connected or isinstance(fault, PeerRefused):
                with self.ledger.begin() as c:
                    commitments_asked.unsaid(c, transaction)
            raise
        wait = 0.0 if come else self.settings.commitment_wait
        raise Retry(wait, f"{claim.to.name}: awaits the report on storage commitment")

    def _by_reading_back(self, task: Task, claim: Claim) -> Callable[[Connection], None]:
        kind = claim.delivery.proof or ""
        with self.ledger.read() as c:
            what = load(c, *claim.key)
        lost = absent(kind, what.kept(claim.objects), claim.to, self.settings)
        if not lost:
            return record_delivered(*claim.key, self.now(), proof=kind)
        why = f"{claim.to.name}: {len(lost)} of {len(claim.objects)} objects not found by {kind}"
        if claim.delivery.looks < len(LOOK_AGAIN_SECONDS):
            self._note(task, claim, why)
            raise Retry(LOOK_AGAIN_SECONDS[claim.delivery.looks], why)
        return self._send_again(claim, lost, why)

    def _send_again(self, claim: Claim, lost: Sequence[str], why: str) -> Callable[[Connection], None]:
        case_id, version, name = claim.key

        def then(c: Connection) -> None:
            sent.missing(c, name, lost)
            if claim.delivery.resends >= RESENDS:
                refuse(c, case_id, version, name, error=f"sent {RESENDS + 1} times and not kept: {why}")
                return
            outbox.send_again(c, case_id, version, name, error=why)
            jobs.touch(c, DELIVER, deliver_key(case_id, version, name), lane=destination_lane(name))
            log.warning("report.not_kept", case=case_id, destination=name, missing=len(lost), error=why)

        return then

    def _by_other_means(self, task: Task, claim: Claim, why: str) -> Callable[[Connection], None]:
        """The kind asked for does not work there: the next one, the destination's word, or a person."""
        case_id, version, name = claim.key
        other = next_kind(claim.to, claim.delivery.proof or "")
        if other is None:
            return self._without_end(task, claim, why)

        def then(c: Connection) -> None:
            if claim.to.proof == "auto":
                destinations.remember_proof(c, name, other, at=self.now())
            if other == UNPROVED:
                record_delivered(case_id, version, name, self.now())(c)
                return
            outbox.await_proof(c, case_id, version, name, other)
            jobs.touch(c, PROVE, deliver_key(case_id, version, name), lane=destination_lane(name))

        log.warning("proof.other_means", case=case_id, destination=name, kind=other, error=why)
        return then

    def _without_end(self, task: Task, claim: Claim, why: str) -> Callable[[Connection], None]:
        """The settings ask for a proof the destination does not give: a person is told, and it is tried for days."""
        case_id, version, name = claim.key
        if self.now() - claim.delivery.since >= dt.timedelta(hours=self.settings.retry_hours):
            return lambda c: refuse(c, case_id, version, name, error=f"stored, not proved: {why}")
        self._note(task, claim, why, alert=True)
        raise Retry(pause(claim.delivery.looks + 1, self.settings), why)

    def _later(self, task: Task, claim: Claim, fault: PeerFault) -> Callable[[Connection], None]:
        """The destination does not answer now: it is asked again, for as long as a delivery may be tried."""
        case_id, version, name = claim.key
        if self.now() - claim.delivery.since >= dt.timedelta(hours=self.settings.retry_hours):
            return lambda c: refuse(c, case_id, version, name, error=f"stored, not proved: {fault}")
        with self.ledger.begin() as c:
            jobs.checkpoint(c, task)
            if not fault.connected:
                breaker.count_failure(c, name, self.settings, self.now())
        raise Retry(self.settings.backoff_first, str(fault)) from fault

    def _note(self, task: Task, claim: Claim, why: str, *, alert: bool = False) -> None:
        with self.ledger.begin() as c:
            jobs.checkpoint(c, task)
            outbox.mark_looked(c, *claim.key, error=why)
            if alert:
                alerts.raise_alert(c, AlertKind.PROOF_MISSING, breaker.subject(claim.to.name), why)


def record_event(ledger: Ledger, event: CommitmentEvent) -> None:
    """Record an archive's report and have its delivery looked at; one that nobody asked for is only logged.

    Raises:
        LedgerUnavailable: nothing is known to be recorded.

    """
    with ledger.begin() as c:
        asked = commitments_asked.tell(
            c,
            event.transaction_uid,
            committed=event.committed,
            failures=event.failures,
            at=dt.datetime.now(dt.UTC),
        )
        if asked is not None:
            jobs.poke(c, PROVE, deliver_key(asked.case_id, asked.version, asked.destination))
    known = asked is not None
    log.info("commitment.told", transaction_uid=event.transaction_uid, known=known, failed=len(event.failures))


def wants_events(destinations_: Iterable[Destination]) -> bool:
    """Whether an archive may be asked for commitment, so that its reports must find an open door."""
    return any(one.proof in ("auto", "commitment") for one in destinations_)
