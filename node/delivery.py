"""Reported -> Delivered: every destination gets every object, again and again until it has them, and proves it.

One task per case, version and destination, in a lane of that destination: a dead archive delays nobody else. What is
sent are frozen bytes, so a repeated send is the archive's duplicate and never a second finding; what it answered for is
not sent again. The newest version wins: an older one that is not there yet is cancelled, and a newer one waits until no
older one is under way to the same destination. Sent is not delivered: that needs the proof the settings ask for
(`node.proof`). What the deliveries mean for the case is recorded by `node.delivery_record`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from config.settings import Delivery, Destination
from dicom_io.errors import PeerFault, PeerRefused
from dicom_io.negotiation import Accepted
from dicom_io.ready_associations import ReadyAssociations
from dicom_io.sr_class import SR_CLASSES
from dicom_io.storage_scu import CLASS_CONFLICT, NO_SUCH_OBJECT, SUBSEQUENT_OCCURRENCE, Outbound
from node import breaker
from node.backoff import pause
from node.breaker import Pace
from node.delivery_record import record_delivered, refuse
from node.errors import GiveUp, Retry
from node.parcel import Load, Parcel, load, pack
from node.proof_kind import first_kind
from node.store import alerts, commitments_asked, destinations, jobs, outbox, sent, variants
from node.store.alerts import AlertKind
from node.store.delivery_list import UNPROVED
from node.store.destinations import Breaker
from node.store.engine import Connection, Ledger
from node.store.jobs import Task
from node.store.outbox import DeliveryState
from node.store.sent import SentObject
from node.tasks import DELIVER, PROVE, deliver_key, destination_lane, parse_deliver_key

REFUSALS_BEFORE_A_PERSON = 3
"""An archive that says no is asked again so often, since some say no while they restart."""
_FINAL = (SUBSEQUENT_OCCURRENCE, CLASS_CONFLICT)
"""Statuses that another try would only repeat (structured-report.md section 6)."""

NEWER_WAITS_SECONDS = 1.0
"""Until a newer version looks again whether the older one's send has ended; a send is bounded by the DIMSE time-out."""

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Answers:
    """What a destination answered so far, DIMSE status by SOP Instance UID."""

    stored: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    unsent: list[str] = field(default_factory=list)
    """Noted as sent, and not come to yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverer:
    """Handles `DELIVER` tasks. `preference`: names of SR classes, the one asked for first in front."""

    ledger: Ledger
    settings: Delivery
    preference: Sequence[str] = tuple(SR_CLASSES)
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    paces: Mapping[str, Pace] = field(default_factory=dict)
    """By destination; one that has none is not bounded."""
    ready: ReadyAssociations = field(default_factory=ReadyAssociations)

    def deliver(self, task: Task) -> Callable[[Connection], None] | None:
        """Send one report to one destination; what it means for the case is recorded in the completion transaction.

        Raises:
            Retry: the destination cannot take it now, or refused and will be asked again; or an older version is still
                under way there.
            LostLease: another process took the delivery over.

        """
        case_id, version, name = parse_deliver_key(task.key)
        with self.ledger.read() as c:
            what = load(c, case_id, version, name)
        if what.delivery.state is not DeliveryState.WAITING:
            return None
        destination, answers = self._destination(name), Answers()
        try:
            proving = destination.proof != "none"
            with self.ready.outbound(what.classes, destination, self.settings, proving=proving) as archive:
                parcels, left_out = pack(what, archive.took, self._classes(destination))
                to_go = self._begin(task, what, parcels)
                if to_go is None:
                    return None
                self._store(archive, what, to_go, answers)
                took = archive.took
        except PeerFault as fault:
            return self._failed(task, what, answers, fault)
        log.info("report.sent", case=case_id, version=version, destination=name, objects=len(answers.stored))
        return self._sent(what, destination, answers, left_out, took)

    def bury(self, c: Connection, task: Task, why: GiveUp) -> None:
        """Put the delivery of a dead task before a person."""
        case_id, version, name = parse_deliver_key(task.key)
        refuse(c, case_id, version, name, error=str(why))

    def _destination(self, name: str) -> Destination:
        return next(d for d in self.settings.destinations if d.name == name)

    def _classes(self, destination: Destination) -> list[str]:
        """SOP Class UIDs of SRs it is to get, the preferred one first."""
        names = self.preference if destination.sr_class == "auto" else (destination.sr_class,)
        return [SR_CLASSES[name] for name in names]

    def _begin(self, task: Task, what: Load, parcels: tuple[Parcel, ...]) -> tuple[Parcel, ...] | None:
        """Open the send: variants frozen, objects noted as sent; what is to go, None when nothing is any more."""
        case_id, version, name = parse_deliver_key(task.key)
        with self.ledger.begin() as c:
            jobs.checkpoint(c, task)
            older = [deliver_key(case_id, v, name) for v in range(1, version)]
            if any(jobs.being_done(c, DELIVER, key) for key in older):
                raise Retry(NEWER_WAITS_SECONDS, f"{name}: an older version is still under way")
            if outbox.begin_send(c, case_id, version, name) is None:
                return None
            for parcel in parcels:
                if parcel.variant:
                    variants.freeze(c, case_id, version, parcel)
            to_go = tuple(parcel for parcel in parcels if parcel.sop_instance_uid not in what.stored)
            sent.begin(c, (_noted(parcel, case_id, version, name) for parcel in to_go))
            destinations.answered(c, name)
        return to_go

    def _store(self, archive: Outbound, what: Load, parcels: Sequence[Parcel], answers: Answers) -> None:
        pace = self.paces.get(what.delivery.destination)
        answers.unsent = [parcel.sop_instance_uid for parcel in parcels]
        for parcel in parcels:
            if pace is not None and what.destination.breaker is Breaker.RECOVERING:
                pace.wait()
            uid = parcel.sop_instance_uid
            answers.unsent.remove(uid)
            try:
                answers.stored[uid] = archive.store(parcel.outgoing)
            except PeerFault as fault:
                fault.partly |= bool(answers.stored)
                if fault.status is not None:
                    answers.refused[uid] = fault.status
                if not (parcel.kind == "note" and fault.status == NO_SUCH_OBJECT):
                    raise
                answers.stored[uid] = answers.refused.pop(uid)  # nothing to reject there: as good as rejected

    def _failed(self, task: Task, what: Load, answers: Answers, fault: PeerFault) -> Callable[[Connection], None]:
        """Record a try without success, and say what follows: a later one, or a person."""
        case_id, version, name = parse_deliver_key(task.key)
        now, error, declined = self.now(), str(fault), isinstance(fault, PeerRefused)
        uncertain = what.delivery.uncertain or fault.partly
        with self.ledger.begin() as c:
            jobs.checkpoint(c, task)
            sent.answered(c, name, answers.stored, answers.refused)
            sent.not_begun(c, name, answers.unsent)
            tried = outbox.mark_tried(c, case_id, version, name, error=error, uncertain=uncertain, declined=declined)
            if not fault.connected:
                breaker.count_failure(c, name, self.settings, now)
        log.warning("report.waiting", case=case_id, destination=name, tries=tried.tries, error=error)
        final = tried.refusals >= REFUSALS_BEFORE_A_PERSON or fault.status in _FINAL
        overdue = now - tried.since >= dt.timedelta(hours=self.settings.retry_hours)
        if final or overdue:
            why = error if final else f"tried for {self.settings.retry_hours:g} h: {error}"
            return lambda c: refuse(c, case_id, version, name, error=why)
        raise Retry(pause(tried.tries, self.settings), error) from fault

    def _sent(
        self, what: Load, destination: Destination, answers: Answers, left_out: Sequence[str], took: Accepted
    ) -> Callable[[Connection], None]:
        """Record that the destination answered for every object, and have it proved."""
        case_id, version, name = what.delivery.case_id, what.delivery.version, what.delivery.destination
        kind = first_kind(destination, what.destination, took, self.now())

        def then(c: Connection) -> None:
            sent.answered(c, name, answers.stored, {})
            _tell_left_out(c, what, left_out)
            _tell_note_without_object(c, what, answers)
            if kind == UNPROVED:
                record_delivered(case_id, version, name, self.now())(c)
            else:
                outbox.mark_sent(c, case_id, version, name, proof=kind, at=self.now())
                commitments_asked.forget(c, case_id, version, name)
                jobs.touch(c, PROVE, deliver_key(case_id, version, name), lane=destination_lane(name))
            if what.destination.breaker is Breaker.RECOVERING:
                breaker.end_recovery(c, name, self.now())

        return then


def _noted(parcel: Parcel, case_id: int, version: int, name: str) -> SentObject:
    return SentObject(
        destination=name,
        case_id=case_id,
        version=version,
        kind=parcel.kind,
        sop_class_uid=parcel.sop_class_uid,
        sop_instance_uid=parcel.sop_instance_uid,
    )


def _tell_left_out(c: Connection, what: Load, left_out: Sequence[str]) -> None:
    name, case_id = what.delivery.destination, what.delivery.case_id
    if left_out:
        kinds = ", ".join(left_out)
        alerts.raise_alert(c, AlertKind.DELIVERY_PARTIAL, breaker.subject(name), f"case {case_id} without {kinds}")
        log.error("report.partial", case=case_id, destination=name, left_out=kinds)
    if "note" in left_out:
        _by_hand(c, what, "the class of the rejection note is not taken")


def _tell_note_without_object(c: Connection, what: Load, answers: Answers) -> None:
    """A note that found nothing to reject (A772) is right where nothing was, and an alarm where something may be.

    One object that is not there makes an archive refuse the whole note: of several named it does not say which.
    """
    unknown = [uid for uid, status in answers.stored.items() if status == NO_SUCH_OBJECT]
    named = [one for one in what.sent if one.version < what.delivery.version and one.sends and one.kind != "note"]
    if unknown and (len(named) > 1 or any(one.stored for one in named)):
        _by_hand(c, what, "A772: not all that it has or may have is there; nothing was rejected")


def _by_hand(c: Connection, what: Load, why: str) -> None:
    subject = f"case {what.delivery.case_id} at {what.delivery.destination}"
    alerts.raise_alert(c, AlertKind.WITHDRAWAL_BY_HAND, subject, why)
