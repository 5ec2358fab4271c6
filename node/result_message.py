"""Builds the HL7 message of a result from the frozen report, the orders and the image it tells of."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from config.hl7_out import Hl7Receiver, ResultsOut
from dicom_io.errors import HeaderInvalid
from dicom_io.header import acquired_at, read_header
from dicom_io.report_summary import ReportSummary, summarise
from dicom_io.spool import Spool
from node.errors import FailureCode, GiveUp
from node.feeds import hl7_out
from node.feeds.hl7_meaning import Meaning
from node.feeds.hl7_out import Envelope
from node.store import cases, report_objects, result_messages
from node.store.clinical_orders import order_numbers
from node.store.engine import Connection, Ledger
from node.store.result_messages import FrozenMessage, MessageKey


@dataclass(frozen=True, slots=True)
class Builder:
    """What a message is built from. `zone` is that of DICOM times without an offset."""

    ledger: Ledger
    settings: ResultsOut
    spool: Spool
    zone: ZoneInfo

    def build(self, key: MessageKey, receiver: Hl7Receiver) -> FrozenMessage:
        """Build one message; the same report after the same earlier ones gives the same bytes.

        Raises:
            GiveUp: the frozen report, or an earlier one, is gone or cannot be read back.

        """
        with self.ledger.read() as c:
            report = self._summary(c, key.case_id, key.version)
            earlier = [self._summary(c, key.case_id, version) for version in result_messages.told_before(c, key)]
            placer, filler = order_numbers(c, report.accession, report.study_uid)
            taken_at = self._taken_at(c, key.case_id)
            opened = result_messages.find(c, key)
        meaning = Meaning(key.meaning)
        at = report.at if meaning is Meaning.RESULT or opened is None else opened.opened_at.astimezone(report.at.tzinfo)
        envelope = Envelope(
            receiver=receiver.name,
            application=self.settings.application,
            facility=self.settings.facility,
            receiving_application=receiver.application,
            receiving_facility=receiver.facility,
            charset=receiver.charset,
            procedure=self.settings.procedure,
            placer=placer,
            filler=filler,
            taken_at=taken_at,
        )
        message = hl7_out.result_message(report, envelope, meaning, at, earlier)
        return FrozenMessage(control_id=hl7_out.control_id(report, receiver.name, meaning), message=message)

    def _summary(self, c: Connection, case_id: int, version: int) -> ReportSummary:
        sr = next((o.part10 for o in report_objects.objects(c, case_id, version, kind="sr")), None)
        if sr is None:
            raise GiveUp(FailureCode.REPORT_INVALID, f"version {version} has no structured report")
        try:
            return summarise(sr, self.zone)
        except HeaderInvalid as error:
            raise GiveUp(FailureCode.REPORT_INVALID, str(error)) from error

    def _taken_at(self, c: Connection, case_id: int) -> dt.datetime | None:
        """When the image was taken; None once it has left the spool: the report's study time stands for it then."""
        try:
            header = read_header(self.spool.path(cases.load(c, case_id).source.spool_file))
        except (HeaderInvalid, OSError):
            return None
        return acquired_at(header, self.zone)
