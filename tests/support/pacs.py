"""A small archive for the failure cases: what it accepts, answers, keeps, promises and forgets is set by the test."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt

from dicom_io.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from dicom_io.negotiation import STUDY_ROOT_FIND

PAGE = str(uid.SecondaryCaptureImageStorage)
NOTE = str(uid.KeyObjectSelectionDocumentStorage)
E, C, C3D = str(uid.EnhancedSRStorage), str(uid.ComprehensiveSRStorage), str(uid.Comprehensive3DSRStorage)
EVERYTHING = (PAGE, NOTE, E, C, C3D)
BOTH = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)


class FakePacs:
    """Use as a context manager; started again it listens on the same port.

    `answer`: status by (SOP class, number of sends of that object so far). `commitment`: where and how it reports:
    `same`, `new`, `never`, `twice`, `refuse` or None (not offered); `find`: whether it answers C-FIND.
    """

    def __init__(
        self,
        *,
        classes: Sequence[str] = EVERYTHING,
        syntaxes: Sequence[str] = BOTH,
        answer: Callable[[str, int], int] = lambda _class, _sends: 0,
        commitment: str | None = None,
        find: bool = False,
        node_port: int | None = None,
        port: int = 0,
    ) -> None:
        self.classes, self.syntaxes, self.answer = classes, syntaxes, answer
        self.commitment, self.find, self.node_port, self.port = commitment, find, node_port, port
        self.kept: dict[str, Dataset] = {}
        self.wire: list[tuple[str, str, str]] = []
        """(SOP class, SOP instance, SHA-256 of the bytes on the wire) of every C-STORE, in order."""
        self.asked: list[str] = []
        self.said: list[int] = []
        """Status with which the node answered each N-EVENT-REPORT."""
        self.echoes = 0
        self.hides: Callable[[Dataset], bool] = lambda _kept: False
        """What a C-FIND does not show."""
        self.before_commitment: Callable[[], None] = lambda: None
        self._threads: list[threading.Thread] = []

    def __enter__(self):
        ae = AE("PACS")
        ae.require_called_aet = True
        ae.add_supported_context("1.2.840.10008.1.1")
        for one in self.classes:
            ae.add_supported_context(one, list(self.syntaxes))
        if self.commitment is not None:
            ae.add_supported_context(PUSH_MODEL)
        if self.find:
            ae.add_supported_context(STUDY_ROOT_FIND)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_N_ACTION, self._commit),
        ]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        self.port = self._server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(10)
        self._server.shutdown()

    def destination(self, name: str = "pacs", **settings: Any) -> dict[str, Any]:
        return {"name": name, "ae_title": "PACS", "host": "127.0.0.1", "port": self.port, **settings}

    def sends(self, instance: str) -> int:
        return sum(uid_ == instance for _, uid_, _ in self.wire)

    @property
    def order(self) -> list[str]:
        return [sop_class for sop_class, _, _ in self.wire]

    def _echo(self, _event: evt.Event) -> int:
        self.echoes += 1
        return 0

    def _store(self, event: evt.Event) -> int:
        sop_class, instance = str(event.request.AffectedSOPClassUID), str(event.request.AffectedSOPInstanceUID)
        digest = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
        status = self.answer(sop_class, self.sends(instance))
        self.wire.append((sop_class, instance, digest))
        if status == -1:
            event.assoc.abort()
            return 0
        if status == 0 or 0xB000 <= status <= 0xBFFF:
            self.kept[instance] = event.dataset
        return status

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        wanted = event.identifier
        for instance, kept in list(self.kept.items()):
            keys = ("StudyInstanceUID", "SeriesInstanceUID")
            if (
                instance == wanted.SOPInstanceUID
                and not self.hides(kept)
                and all(kept[k].value == wanted[k].value for k in keys)
            ):
                found = Dataset()
                found.SOPInstanceUID = instance
                yield 0xFF00, found
        yield 0x0000, None

    def _commit(self, event: evt.Event) -> tuple[int, None]:
        if self.commitment == "refuse":
            return 0x0112, None
        self.before_commitment()
        information = event.action_information
        self.asked.append(str(information.TransactionUID))
        if self.commitment != "never":
            for _ in range(2 if self.commitment == "twice" else 1):
                self._later(self._report, event.assoc, information)
        return 0x0000, None

    def _report(self, association: Any, asked: Dataset) -> None:
        kind, told = self.report_on(asked)
        if self.commitment == "same":
            status, _ = association.send_n_event_report(told, kind, PUSH_MODEL, PUSH_MODEL_INSTANCE)
            if "Status" in status:  # else the node was just releasing: it has the report, its answer is lost
                self.said.append(status.Status)
        else:
            self.tell(told, kind)

    def report_on(self, asked: Dataset) -> tuple[int, Dataset]:
        """(event type, event information): kept is what lies here now."""
        told = Dataset()
        told.TransactionUID = asked.TransactionUID
        kept = [one for one in asked.ReferencedSOPSequence if one.ReferencedSOPInstanceUID in self.kept]
        lost = [one for one in asked.ReferencedSOPSequence if one.ReferencedSOPInstanceUID not in self.kept]
        for one in lost:
            one.FailureReason = 0x0112
        if kept:
            told.ReferencedSOPSequence = kept
        if lost:
            told.FailedSOPSequence = lost
        return (2 if lost else 1), told

    def tell(self, told: Dataset, kind: int) -> None:
        """N-EVENT-REPORT on an association of its own, in the SCP role."""
        ae = AE("PACS")
        ae.add_requested_context(PUSH_MODEL)
        role = build_role(PUSH_MODEL, scp_role=True)
        association = ae.associate("127.0.0.1", self.node_port, ae_title="OSTEON", ext_neg=[role])
        assert association.is_established
        status, _ = association.send_n_event_report(told, kind, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        self.said.append(status.Status)
        association.release()

    def _later(self, call: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=call, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
