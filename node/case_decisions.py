"""What a person decides about one case: try again, let a report stand, or have it amended."""

from __future__ import annotations

from config.settings import Settings
from node import process
from node.case import Case, Delivered, Failed, Reported
from node.delivery import resume_delivery
from node.store import alerts, case_json, cases, jobs, reviews
from node.store.alerts import AlertKind
from node.store.engine import Connection
from node.store.errors import NoSuchCase
from node.tasks import ADVANCE, INFER_LANE, advance_key


def retry_case(settings: Settings, case_id: int) -> str:
    """Take up a Failed case from its start, or the refused deliveries of a reported one; says what was done.

    Raises:
        NoSuchCase: it is unknown, or there is nothing to retry.

    """
    ledger = process.open_settings_ledger(settings)
    with ledger.begin() as c:
        case = cases.load(c, case_id)
        if isinstance(case, Failed):
            cases.reopen(c, case_id, kind=ADVANCE, lane=INFER_LANE)
            done = f"case {case_id} is received again and will be screened"
        elif names := resume_delivery(c, case_id):
            done = f"case {case_id} is on its way again to {', '.join(names)}"
        else:
            msg = f"case {case_id} is {case_json.words_of(case)}; there is nothing to retry"
            raise NoSuchCase(msg)
    ledger.close()
    return done


def keep_case(settings: Settings, case_id: int, *, reason: str) -> str:
    """The flagged report stands as it is; the same evidence does not flag it again.

    Raises:
        NoSuchCase: it is unknown, or nobody need look at it.

    """
    ledger = process.open_settings_ledger(settings)
    with ledger.begin() as c:
        case = _reported(c, case_id)
        if not reviews.pending(c, case.case_id).review:
            msg = f"case {case_id} is not flagged for review"
            raise NoSuchCase(msg)
        _lift(c, case_id)
        cases.note(c, case_id, f"reviewed, kept by a person: {reason}")
    ledger.close()
    return f"case {case_id} keeps its report"


def amend_case(settings: Settings, case_id: int, *, reason: str) -> str:
    """Have a worker make the next version with what is known now, flagged or not.

    Raises:
        NoSuchCase: it is unknown, or has no report.

    """
    ledger = process.open_settings_ledger(settings)
    with ledger.begin() as c:
        _reported(c, case_id)
        jobs.touch(c, ADVANCE, advance_key(case_id), lane=INFER_LANE)  # the task first: see `node.waking`
        _lift(c, case_id)
        cases.note(c, case_id, f"reviewed, to be amended by a person: {reason}")
        reviews.ask_amendment(c, case_id, reason)
    ledger.close()
    return f"case {case_id} will be amended with what is known now"


def _reported(c: Connection, case_id: int) -> Case:
    case = cases.load(c, case_id)
    if not isinstance(case, Reported | Delivered):
        msg = f"case {case_id} is {case_json.words_of(case)}; it has no report"
        raise NoSuchCase(msg)
    return case


def _lift(c: Connection, case_id: int) -> None:
    reviews.lift(c, case_id)
    alerts.settle(c, AlertKind.REVIEW, f"case {case_id}")
