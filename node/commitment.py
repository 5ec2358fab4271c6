"""Storage commitment: a sender asks, the node looks at its disk, and tells (PS3.4 annex J).

Success is reported only of instances whose every stored copy is on disk with the digest the ledger holds; files are
read and hashed again for each report. The report goes over the association the request came by where the requestor
keeps it open, else over a new one to `commitment_port` of its entry in `reception.peers`, for three days.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from config.settings import Settings
from dicom_io.commitment import CommitmentFailure, CommitmentItem, CommitmentRequest, CommitmentResult
from dicom_io.commitment_report import Requestor, report_to
from dicom_io.errors import PeerRefused, PeerUnavailable, TransactionInUse
from dicom_io.spool import Spool
from node.audit import AuditTrail
from node.backoff import pause
from node.errors import Retry
from node.store import cases, commitments, duplicates, jobs
from node.store.commitments import Commitment
from node.store.engine import Connection, Ledger
from node.store.jobs import Task
from node.tasks import COMMITMENT_LANE, REPORT_COMMITMENT

RELEASE_SECONDS: Final = 1.0
"""Time a requestor gets to release its association, if it wants the report on another."""
GIVE_UP_AFTER: Final = dt.timedelta(hours=72)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Committer:
    """Handles `REPORT_COMMITMENT` tasks. `report_here` as `CommitmentScp.report_here`."""

    ledger: Ledger
    spool: Spool
    settings: Settings
    report_here: Callable[[CommitmentResult], bool]
    audit: AuditTrail

    def report(self, task: Task) -> Callable[[Connection], None] | None:
        """Look, tell the requestor, and record that it knows.

        Raises:
            Retry: it could not be told; again later.

        """
        with self.ledger.read() as c:
            asked = commitments.find(c, task.key)
        if asked is None:
            return None
        result = self.examine(asked)
        try:
            if not self.report_here(result):
                report_to(
                    result,
                    self._requestor(asked),
                    calling=self.settings.reception.ae_title,
                    settings=self.settings.delivery,
                )
        except (PeerUnavailable, PeerRefused) as error:
            return self._wait_or_give_up(task, asked, str(error))
        log.info(
            "commitment.reported",
            transaction_uid=asked.transaction_uid,
            to_ae=asked.requestor_ae,
            committed=len(result.items) - len(result.failures),
            failed=len(result.failures),
        )
        self._audit_report(asked, result.failures)
        failures = {instance: int(reason) for instance, reason in result.failures.items()}
        at = dt.datetime.now(dt.UTC)
        return lambda c: commitments.mark_reported(c, asked.transaction_uid, failures, at=at)

    def _audit_report(self, asked: Commitment, failures: Mapping[str, CommitmentFailure]) -> None:
        """Say in the audit trail what the requestor was told of each instance; 0 is safe, else the Failure Reason."""
        for _, instance in asked.items:
            self.audit.record(
                "commitment.reported",
                transaction_uid=asked.transaction_uid,
                calling=asked.requestor_ae,
                sop_instance_uid=instance,
                failure=int(failures.get(instance, 0)),
            )

    def examine(self, asked: Commitment) -> CommitmentResult:
        """Compare every instance of a request with the ledger and the disk."""
        items = tuple(CommitmentItem(sop_class_uid=s, sop_instance_uid=i) for s, i in asked.items)
        found = ((item, self._failure(item)) for item in items)
        failures = {item.sop_instance_uid: failure for item, failure in found if failure is not None}
        return CommitmentResult(transaction_uid=asked.transaction_uid, items=items, failures=failures)

    def _failure(self, item: CommitmentItem) -> CommitmentFailure | None:
        with self.ledger.read() as c:
            case = cases.by_uid(c, item.sop_instance_uid)
            copies = list(_copies(c, case.case_id)) if case else []
        if case is None:
            return CommitmentFailure.NO_SUCH_OBJECT
        if case.source.reference.sop_class_uid != item.sop_class_uid:
            return CommitmentFailure.CLASS_CONFLICT
        failure = self._disk_failure([(case.source.spool_file, case.source.digest), *copies])
        if failure is not None:
            log.error("commitment.not_safe", case=case.case_id, reason=failure.name)
        return failure

    def _disk_failure(self, files: list[tuple[str, str]]) -> CommitmentFailure | None:
        """What is wrong with one of `files`, each with the digest it must have."""
        try:
            intact = all(self.spool.intact(file, digest) for file, digest in files)
        except FileNotFoundError:
            return CommitmentFailure.NO_SUCH_OBJECT
        except OSError:
            return CommitmentFailure.PROCESSING
        return None if intact else CommitmentFailure.PROCESSING

    def _requestor(self, asked: Commitment) -> Requestor:
        port = next(
            (p.commitment_port for p in self.settings.reception.peers if p.ae_title == asked.requestor_ae), None
        )
        if port is None:
            msg = (
                f"{asked.requestor_ae} has ended its association; "
                "set commitment_port in its entry of reception.peers, so that it can be told on a new one"
            )
            raise PeerRefused(msg)
        return Requestor(ae_title=asked.requestor_ae, host=asked.address, port=port)

    def _wait_or_give_up(self, task: Task, asked: Commitment, error: str) -> Callable[[Connection], None]:
        now = dt.datetime.now(dt.UTC)
        facts = {"transaction_uid": asked.transaction_uid, "to_ae": asked.requestor_ae, "error": error}
        if now - asked.requested_at > GIVE_UP_AFTER:
            log.error("commitment.given_up", **facts)
            self.audit.record("commitment.given_up", transaction_uid=asked.transaction_uid, calling=asked.requestor_ae)
            return lambda c: commitments.mark_given_up(c, asked.transaction_uid, error=error, at=now)
        with self.ledger.begin() as c:
            jobs.checkpoint(c, task)
            tries = commitments.mark_tried(c, asked.transaction_uid, error=error)
        log.warning("commitment.waiting", tries=tries, **facts)
        raise Retry(pause(tries, self.settings.delivery), error)


def record_request(ledger: Ledger, request: CommitmentRequest) -> None:
    """Make a request durable together with its task.

    Raises:
        TransactionInUse: its UID stands for another request.
        LedgerUnavailable: nothing is known to be stored.

    """
    with ledger.begin() as c:
        ours = commitments.record(
            c,
            transaction_uid=request.transaction_uid,
            requestor_ae=request.requestor_ae,
            address=request.address,
            items=tuple((item.sop_class_uid, item.sop_instance_uid) for item in request.items),
            at=request.requested_at,
        )
        if ours:
            jobs.touch(c, REPORT_COMMITMENT, request.transaction_uid, lane=COMMITMENT_LANE, delay=RELEASE_SECONDS)
    if not ours:
        msg = f"transaction {request.transaction_uid} stands for another request"
        raise TransactionInUse(msg)


def _copies(c: Connection, case_id: int) -> Iterator[tuple[str, str]]:
    """(file, digest) of other bytes that came under the same UID: the sender may mean those."""
    for copy in duplicates.listed(c, case_id=case_id, differing=True):
        if copy.spool_file is not None:
            yield copy.spool_file, copy.digest
