"""Enters stored objects in the ledger: a new case, one that was here before, or other bytes under a known UID.

It runs between the file and the answer of a C-STORE: when `record` returns, the object is durable and may be answered
with Success. Content that differs under one SOP Instance UID is accepted too, kept and put before a person, because a
failure would make the sender repeat for ever (reception-and-delivery.md 2.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from dicom_io.errors import HeaderInvalid
from dicom_io.header import patient_identity, read_header
from dicom_io.received import StoredInstance, adopt
from dicom_io.spool import Spool
from node.audit import AuditTrail
from node.case import Failed, Source
from node.errors import FailureCode
from node.store import case_patients, cases, jobs
from node.store.cases import Receipt, Reception
from node.store.engine import Connection, Ledger
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

        """
        patient_ids = self._patient_ids(stored.spool_file)

        def enter(c: Connection) -> tuple[Reception, bool]:
            reception = cases.receive(c, _source(stored))
            if reception.receipt is Receipt.NEW:
                case_patients.register(c, reception.case_id, patient_ids)
                jobs.enqueue(c, ADVANCE, advance_key(reception.case_id), lane=INFER_LANE)
            return reception, reception.receipt is Receipt.SAME and _reopen_if_its_file_was_gone(c, reception.case_id)

        reception, restored = self.ledger.together(enter)
        self._tell(reception, stored, restored=restored)

    def adopt_orphans(self) -> int:
        """Record files stored before the process died; their senders were not answered and will come again."""
        with self.ledger.read() as c:
            known = cases.spool_files(c)
        adopted = 0
        for file in self.spool.orphans(known):
            try:
                self.record(adopt(self.spool, file))
                adopted += 1
            except HeaderInvalid as error:
                log.warning("spool.orphan_unreadable", file=file, error=str(error))
        return adopted

    def _patient_ids(self, spool_file: str) -> tuple[str, ...]:
        """Identifier values of the image, only to wake its case when clinical data come; none if unreadable."""
        try:
            identity = patient_identity(read_header(self.spool.path(spool_file)))
        except HeaderInvalid:
            return ()
        return tuple(identifier.value for identifier in identity.identifiers)

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
                    kept=stored.spool_file,
                    from_ae=stored.calling_ae,
                    **facts,
                )
        self.audit.record(
            "instance.received",
            receipt=reception.receipt.name.lower(),
            sha256=stored.sha256,
            calling=stored.calling_ae,
            address=stored.peer_address,
            **facts,
        )


def _source(stored: StoredInstance) -> Source:
    return Source(
        reference=stored.reference,
        spool_file=stored.spool_file,
        sha256=stored.sha256,
        calling_ae=stored.calling_ae,
        received_at=stored.received_at,
    )


def _reopen_if_its_file_was_gone(c: Connection, case_id: int) -> bool:
    """The bytes that just came lie under the case's own name again, so what failed for want of them can go on."""
    case = cases.load(c, case_id)
    if not isinstance(case, Failed) or case.code is not FailureCode.SPOOL_MISSING:
        return False
    cases.reopen(c, case_id, kind=ADVANCE, lane=INFER_LANE, why="its file was received again")
    return True
