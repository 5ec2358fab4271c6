"""Withdrawn: every destination that has the report is told, in the order stop, reject, supersede, verify, notify.

    a person withdraws (`withdraw`): nothing queued of the result is sent any more, and the case can have no other
    the worker states it (`Withdrawing`): a superseding version that says so, and for each destination a rejection note
    that names every object it has or may have, of every version, in the class it was sent in
    the lanes deliver it: note, page, SR, ahead of everything else, with the proof and the patience of any report

Each step is one transaction under the fence of a task and may be run again. All versions are rejected, not the newest
alone: an earlier one of the same image must not stand as the valid result again. A destination that does not act on
notes, or is no longer in the settings, is a person's matter, and an alert says so. Where the superseding version cannot
be made, the notes go alone: the worst is a wrong result that still stands.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from dicom_io.rejection_note import Rejection, SentVersion, build_rejection_note
from dicom_io.results import BuiltObject, ReportContext, ReportInvalid, build_withdrawal
from dicom_io.versions import EarlierDocument, amends
from node.case import Basis, Cause, Withdrawn
from node.delivery_record import begin_deliveries, under_way
from node.errors import FailureCode, GiveUp, Retry
from node.pipeline import Pipeline
from node.store import alerts, cases, outbox, report_objects, report_versions, sent, variants
from node.store.alerts import AlertKind
from node.store.engine import Connection
from node.store.report_versions import FrozenSr
from node.store.sent import SentObject

UNDER_WAY_SECONDS = 1.0
"""Until the end of a send is looked for again: only then is it known what a destination has."""
TITLES = {"safety": Rejection.PATIENT_SAFETY, "quality": Rejection.QUALITY}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What the withdrawal of one report takes."""

    case: Withdrawn
    objects: tuple[BuiltObject, ...] = ()
    """The superseding version; empty where no destination has anything."""
    notes: Mapping[str, BuiltObject] = field(default_factory=dict)
    """By destination."""
    destinations: tuple[str, ...] = ()
    """That get the superseding version."""
    by_hand: Mapping[str, str] = field(default_factory=dict)
    """Why a person must remove the objects, by destination."""
    failed: str = ""
    """Why there is no superseding version: the notes go alone, and a person is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawing:
    """Makes the statement of a withdrawal."""

    pipeline: Pipeline

    def state(self, case: Withdrawn) -> Stated:
        """Build what the destinations are told.

        Raises:
            Retry: a send of the report is still running.
            GiveUp: the statement cannot be built, and there is no note to send either, or not any more.

        """
        with self.pipeline.ledger.read() as c:
            if under_way(c, case.case_id):
                raise Retry(UNDER_WAY_SECONDS, "the report is just being sent")
            everything = sent.of_case(c, case.case_id)
            documents = report_versions.documents(c, case.case_id)
            released = report_versions.released(c, case.case_id)
            newest = report_versions.newest(c, case.case_id)
        known = [one for one in everything if one.sends and one.kind != "note"]
        if not known:
            return Stated(case=dataclasses.replace(case, stated=True))
        if not documents:
            raise GiveUp(FailureCode.REPORT_INVALID, "the SR of the report is gone")
        earlier = [EarlierDocument(part10=d.part10, released=d.version in released) for d in documents]
        context = self.pipeline.context(amends(newest + 1, earlier))
        by_destination: dict[str, list[SentObject]] = {}
        for one in known:
            by_destination.setdefault(one.destination, []).append(one)
        taking = {d.name: d.iocm for d in self.pipeline.settings.delivery.destinations}
        by_hand = {name: why for name in by_destination if (why := _by_hand(taking.get(name)))}
        noted = {one.destination for one in everything if one.kind == "note"}
        notes = {}
        for name, there in by_destination.items():
            if name in by_hand or name in noted:
                continue
            try:
                notes[name] = _note(case, _versions(there, documents), context)
            except ReportInvalid as error:
                by_hand[name] = f"its rejection note cannot be built: {error}"
        following = dataclasses.replace(case, version=newest + 1)
        try:
            objects = build_withdrawal(documents[-1].part10, case.reason, context)
        except ReportInvalid as error:
            if not notes:
                raise GiveUp(FailureCode.REPORT_INVALID, str(error)) from error
            return Stated(case=following, notes=notes, destinations=tuple(notes), failed=str(error))
        return Stated(
            case=dataclasses.replace(following, stated=True),
            objects=objects,
            notes=notes,
            destinations=tuple(name for name in by_destination if name in taking),
            by_hand=by_hand,
        )


def withdraw(c: Connection, case: Withdrawn) -> None:
    """Stop everything of the report that is on its way. The caller wakes the case's task, before."""
    outbox.cancel_before(c, case.case_id, case.version + 1)
    cases.save(c, case, why=f"withdrawn ({case.rejection}) by {case.by}: {case.reason}")


def save_statement(c: Connection, *, statement: Stated) -> None:
    """Freeze the statement and the notes and have them delivered, in one transaction."""
    case = statement.case
    if statement.objects or statement.notes:
        report_objects.freeze_once(c, case.case_id, case.version, statement.objects)
        report_versions.record(c, case.case_id, case.version, Basis(cause=Cause.WITHDRAWAL, changed=case.rejection))
        for name, note in statement.notes.items():
            variants.freeze(c, case.case_id, case.version, note)
            sent.assign(c, [_assigned(note, case, name)])
        begin_deliveries(c, case.case_id, case.version, statement.destinations, ahead=True)
    for name, why in statement.by_hand.items():
        alerts.raise_alert(c, AlertKind.WITHDRAWAL_BY_HAND, f"case {case.case_id} at {name}", why)
    told = ", ".join(statement.destinations) or "nobody has it"
    if statement.failed:
        _tell(c, case, statement.failed)
        cases.save(c, case, why=f"version {case.version}: notes alone for {told}; not stated: {statement.failed}")
        return
    alerts.settle(c, AlertKind.WITHDRAWAL_FAILED, f"case {case.case_id}")
    alerts.settle(c, AlertKind.REPORT_INVALID, f"case {case.case_id}")
    cases.save(c, case, why=f"stated: version {case.version} for {told}")
    log.info("case.withdrawn", case=case.case_id, version=case.version, destinations=len(statement.destinations))


def not_stated(c: Connection, case: Withdrawn, why: GiveUp) -> None:
    """Nothing could be made that is to be sent: until a person has acted, the report stands wherever it is."""
    _tell(c, case, str(why))
    cases.note(c, case.case_id, f"the withdrawal could not be stated: {why}")


def _tell(c: Connection, case: Withdrawn, why: str) -> None:
    alerts.raise_alert(c, AlertKind.WITHDRAWAL_FAILED, f"case {case.case_id}", why)
    log.error("case.withdrawal_failed", case=case.case_id, why=why)


def _note(case: Withdrawn, there: Sequence[SentVersion], context: ReportContext) -> BuiltObject:
    return build_rejection_note(there, title=TITLES[case.rejection], reason=case.reason, context=context)


def _versions(there: Sequence[SentObject], documents: Sequence[FrozenSr]) -> list[SentVersion]:
    """What one destination has, by version, with the frozen SR that knows the series of its objects."""
    found = []
    for document in documents:
        objects = tuple((o.sop_class_uid, o.sop_instance_uid) for o in there if o.version == document.version)
        if objects:
            found.append(SentVersion(sr=document.part10, objects=objects))
    return found


def _assigned(note: BuiltObject, case: Withdrawn, destination: str) -> SentObject:
    return SentObject(
        destination=destination,
        case_id=case.case_id,
        version=case.version,
        kind=note.kind,
        sop_class_uid=note.sop_class_uid,
        sop_instance_uid=note.sop_instance_uid,
    )


def _by_hand(iocm: str | None) -> str:
    """Why a destination needs a person; empty where it is told by a note."""
    return {None: "it is no longer in the settings", "off": "it does not act on rejection notes (iocm = off)"}.get(
        iocm, ""
    )
