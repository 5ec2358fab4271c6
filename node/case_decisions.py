"""What a person decides about one case: try again, let a report stand, or have it amended."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator

from config.settings import Delivery, Settings
from node import places
from node.audit import AuditTrail
from node.case import Delivered, Failed, Reported, Withdrawn
from node.delivery_record import resume_delivery
from node.errors import FailureCode
from node.results_out import hurry, take_back, watch_removed_receivers
from node.results_out import resume as resume_results
from node.store import alerts, case_json, cases, destinations, jobs, outbox, reviews
from node.store.alerts import AlertKind
from node.store.destinations import Breaker
from node.store.engine import Connection
from node.store.errors import NoSuchCase
from node.store.outbox import DeliveryState
from node.tasks import ADVANCE, DELIVER, INFER_LANE, PROBE, advance_key, deliver_key, destination_lane
from node.withdrawal import withdraw


def retry_case(settings: Settings, case_id: int) -> str:
    """Take up a Failed case from its start, a withdrawal that could not be stated, or what receivers refused; says so.

    What only waits for its next try gets it now, as far as its destination or receiver is to be had.

    Raises:
        NoSuchCase: it is unknown, or there is nothing to retry.

    """
    with _deciding(settings) as c:
        case = cases.load(c, case_id)
        if isinstance(case, Failed) and case.code is not FailureCode.NOT_DELIVERED:
            cases.reopen(c, case_id, kind=ADVANCE, lane=INFER_LANE)
            done = f"case {case_id} is received again and will be screened"
        elif isinstance(case, Withdrawn) and not case.stated:
            jobs.touch(c, ADVANCE, advance_key(case_id), lane=INFER_LANE)
            said = (f"the withdrawal of case {case_id} will be stated", _again(c, case_id, settings))
            done = "; ".join(filter(None, said))
        elif not (done := _again(c, case_id, settings)):
            msg = f"case {case_id} is {case_json.words_of(case)}; there is nothing to retry"
            raise NoSuchCase(msg)
    return done


def _again(c: Connection, case_id: int, settings: Settings) -> str:
    """Take up what destinations and receivers refused of a case, and hurry what waits; says so, or nothing."""
    known = {receiver.name for receiver in settings.results.receivers}
    waiting = outbox.deliveries(c, case_id=case_id, state=DeliveryState.WAITING)
    hurried = [*(_hurried(c, one, settings.delivery) for one in waiting), *hurry(c, case_id, known)]
    if names := (*resume_delivery(c, case_id), *resume_results(c, case_id, known)):
        return "; ".join((f"case {case_id} is on its way again to {', '.join(names)}", *hurried))
    return f"case {case_id} waits: {'; '.join(hurried)}" if hurried else ""


def _hurried(c: Connection, one: outbox.Delivery, settings: Delivery) -> str:
    """Have a delivery that waits tried now; says that, or what its destination waits for and who can end it."""
    name, state = one.destination, destinations.get(c, one.destination)
    if all(name != known.name for known in settings.destinations):
        return f"{name} is not in the settings; put it back, or `osteon deliveries drop {name} --reason WHY --by WHO`"
    if state.paused_at is not None:
        return f"{name} is paused; `osteon deliveries resume {name} --by WHO` ends that"
    if state.breaker is Breaker.OPEN:
        jobs.poke(c, PROBE, name)
        return f"{name} does not answer; it is asked now, then every {settings.probe_seconds:g} s, until it does"
    jobs.touch(c, DELIVER, deliver_key(one.case_id, one.version, name), lane=destination_lane(name))
    return f"{name} is tried again now"


def keep_case(settings: Settings, case_id: int, *, reason: str) -> str:
    """The flagged report stands as it is; the same evidence does not flag it again.

    Raises:
        NoSuchCase: it is unknown, or nobody need look at it.

    """
    with _deciding(settings) as c:
        case = _reported(c, case_id)
        if not reviews.pending(c, case.case_id).review:
            msg = f"case {case_id} is not flagged for review"
            raise NoSuchCase(msg)
        _lift(c, case_id)
        cases.note(c, case_id, f"reviewed, kept by a person: {reason}")
    return f"case {case_id} keeps its report"


def amend_case(settings: Settings, case_id: int, *, reason: str) -> str:
    """Have a worker make the next version with what is known now, flagged or not.

    Raises:
        NoSuchCase: it is unknown, or has no report.

    """
    with _deciding(settings) as c:
        _reported(c, case_id)
        jobs.touch(c, ADVANCE, advance_key(case_id), lane=INFER_LANE)  # the task first: see `node.waking`
        _lift(c, case_id)
        cases.note(c, case_id, f"reviewed, to be amended by a person: {reason}")
        reviews.ask_amendment(c, case_id, reason)
    return f"case {case_id} will be amended with what is known now"


def withdraw_case(
    settings: Settings, case_id: int, *, reason: str, rejection: str, by: str, wrong_patient: bool = False
) -> str:
    """Take a report back wherever it is; says what was done. Doing it twice changes nothing.

    Args:
        settings: of the node.
        case_id: its number.
        reason: why; it stands in the statement that the archives get, so it names no patient.
        rejection: `safety` or `quality`, the title of the rejection note.
        by: who decided.
        wrong_patient: HL7 receivers are told that the values belonged to another patient (OBX-11 W).

    Raises:
        NoSuchCase: it is unknown, or has no report.
        ReportInvalid: the reason cannot stand in a statement.

    """
    from dicom_io.withdrawal import stated_reason  # noqa: PLC0415 - loads highdicom, which no other decision needs

    said, now = stated_reason(reason), dt.datetime.now(dt.UTC)
    with _deciding(settings) as c:
        case = cases.load(c, case_id)
        if isinstance(case, Withdrawn):
            return f"case {case_id} is withdrawn already; `osteon case {case_id}` says who was told"
        _reported(c, case_id)
        jobs.touch(c, ADVANCE, advance_key(case_id), lane=INFER_LANE)  # the task first: see `node.waking`
        cases.lock_case(c, case_id)
        case = _reported(c, case_id)
        withdrawn = Withdrawn(
            case_id=case_id,
            source=case.source,
            version=case.version,
            reason=said,
            rejection=rejection,
            by=by,
            at=now,
        )
        withdraw(c, withdrawn)
        _lift(c, case_id)
        told = take_back(c, case_id, case.version, wrong_patient=wrong_patient)
        watch_removed_receivers(c, {receiver.name for receiver in settings.results.receivers})
        # Before the commit: whoever dies in between leaves a line too many and never a withdrawal without one.
        audit = AuditTrail(settings.storage.data_dir / "audit")
        audit.record("report.withdrawn", case=case_id, version=case.version, kind=rejection, by=by, reason=said)
        audit.flush()
    whom = f"is told, and {', '.join(told)} by HL7" if told else "is told"
    return f"case {case_id} is withdrawn; every destination that has the report {whom}: `osteon case {case_id}`"


@contextlib.contextmanager
def _deciding(settings: Settings) -> Iterator[Connection]:
    """One transaction of the node's ledger, which is closed again whatever comes of it."""
    with contextlib.closing(places.open_settings_ledger(settings)) as ledger, ledger.begin() as c:
        yield c


def _reported(c: Connection, case_id: int) -> Reported | Delivered:
    case = cases.load(c, case_id)
    if not isinstance(case, Reported | Delivered):
        msg = f"case {case_id} is {case_json.words_of(case)}; it has no report"
        raise NoSuchCase(msg)
    return case


def _lift(c: Connection, case_id: int) -> None:
    reviews.lift(c, case_id)
    alerts.settle(c, AlertKind.REVIEW, f"case {case_id}")
