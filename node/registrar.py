"""Enters stored objects in the ledger: a new case, one that was here before, or other bytes under a known UID.

It runs between the file and the answer of a C-STORE: when `record` returns, the object is durable and may be answered
with Success. Content that differs under one SOP Instance UID is accepted too, kept and put before a person, because a
failure would make the sender repeat for ever (reception-and-delivery.md 2.4).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import structlog

from dicom_io.content_digest import file_digest
from dicom_io.errors import HeaderInvalid, SpoolUnavailable
from dicom_io.received import StoredInstance, adopt
from dicom_io.spool import Spool
from node.audit import AuditTrail
from node.case import Failed, Source
from node.errors import FailureCode
from node.store import case_patients, cases, jobs
from node.store.cases import Receipt, Reception
from node.store.engine import Connection, Ledger
from node.store.errors import NotStorable, OtherAlgorithm
from node.tasks import ADVANCE, INFER_LANE, advance_key

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Registrar:
    """The `on_stored` of the Storage SCP."""

    ledger: Ledger
    spool: Spool
    audit: AuditTrail

    def record(self, stored: StoredInstance) -> None:
        """Make the object a case, or count it as received again, in one transaction.

        Raises:
            LedgerUnavailable: nothing is known to be stored.
            NotStorable: nothing is stored, and will not be the next time.
            SpoolUnavailable: another host's retention deleted the file at the same moment; the sender must repeat.

        """
        try:
            reception, restored = self._enter(stored)
        except OtherAlgorithm as other:
            digest = file_digest(self.spool.path(stored.spool_file), other.algorithm)
            reception, restored = self._enter(dataclasses.replace(stored, digest=digest))
        if reception.file != stored.spool_file:  # the ledger knows these bytes under the name an older version gave
            self.spool.rename(stored.spool_file, reception.file)
        elif reception.receipt is not Receipt.NEW and self.spool.shared and not self.spool.holds(reception.file):
            msg = "the file was let go by another host while it came again"
            raise SpoolUnavailable(msg)
        self._tell(reception, stored, restored=restored)

    def _enter(self, stored: StoredInstance) -> tuple[Reception, bool]:
        def enter(c: Connection) -> tuple[Reception, bool]:
            reception = cases.receive(c, _source(stored))
            if reception.receipt is Receipt.NEW:
                case_patients.register(c, reception.case_id, stored.patient_ids)
                jobs.enqueue(c, ADVANCE, advance_key(reception.case_id), lane=INFER_LANE)
            return reception, reception.receipt is Receipt.SAME and _reopen_if_its_file_was_gone(c, reception.case_id)

        return self.ledger.together(enter, about=stored.reference.sop_instance_uid)

    def adopt_orphans(self) -> int:
        """Record files stored before the process died; their senders were not answered and will come again.

        Raises SpoolUnavailable.
        """
        with self.ledger.read() as c:
            known = cases.spool_files(c)
        adopted = 0
        for file in self.spool.orphans(known):
            try:
                self.record(adopt(self.spool, file))
                adopted += 1
            except (HeaderInvalid, NotStorable, OSError) as error:  # one bad file or sector keeps no node from starting
                log.warning("spool.orphan_unreadable", file=file, error=str(error))
        return adopted

    def clear_up(self) -> None:
        """Adopt orphans of a shared spool and delete what listeners that are gone left in it. Raises as above."""
        adopted, swept = self.adopt_orphans(), self.spool.sweep_abandoned()
        if adopted or swept:
            log.warning("spool.cleared_up", adopted=adopted, swept=swept)

    def _tell(self, reception: Reception, stored: StoredInstance, *, restored: bool) -> None:
        facts: dict[str, str | int] = {"case": reception.case_id, "sop_instance_uid": stored.reference.sop_instance_uid}
        match reception.receipt:
            case Receipt.NEW:
                log.info("case.received", from_ae=stored.calling_ae, **facts)
            case Receipt.SAME:
                log.info("case.received_again", from_ae=stored.calling_ae, restored=restored, **facts)
            case Receipt.DIFFERS:
                log.error(
                    "case.same_uid_other_content",
                    alarm=True,
                    kept=reception.file,
                    from_ae=stored.calling_ae,
                    **facts,
                )
        self.audit.record(
            "instance.received",
            receipt=reception.receipt.name.lower(),
            digest=stored.digest,
            calling=stored.calling_ae,
            address=stored.peer_address,
            **facts,
        )


def _source(stored: StoredInstance) -> Source:
    return Source(
        reference=stored.reference,
        spool_file=stored.spool_file,
        digest=stored.digest,
        calling_ae=stored.calling_ae.replace("\0", ""),  # some pad with it, and PostgreSQL takes none in a text
        received_at=stored.received_at,
    )


def _reopen_if_its_file_was_gone(c: Connection, case_id: int) -> bool:
    """The bytes that just came lie under the case's own name again, so what failed for want of them can go on."""
    case = cases.load(c, case_id)
    if not isinstance(case, Failed) or case.code is not FailureCode.SPOOL_MISSING:
        return False
    cases.reopen(c, case_id, kind=ADVANCE, lane=INFER_LANE, why="its file was received again")
    return True
