"""The archive of the campaigns: stock pynetdicom, so that it shares no code with the node, and of changing temper.

It keeps every object it takes under its UID and digest in a folder, whole or not at all, and answers at random:
Success, a warning (kept, 0xB0xx), out of resources (not kept, 0xA7xx), cannot understand (not kept, 0xC000), or keeps
it and says nothing. Asked for storage commitment it reports on the same association, on a new one, or never; now and
then it has lost an object, says so, and wants it again. It can be asked by C-FIND and by C-ECHO. What it answered is
in `answers`, one line each.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import DEFAULT_TRANSFER_SYNTAXES, StoragePresentationContexts

PUSH_MODEL, PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
VERIFICATION = "1.2.840.10008.1.1"
AE_TITLE = "ARCHIVE"

_SILENCE = -1
_ANSWERS = {0x0000: 78, 0xB000: 4, 0xB006: 2, 0xB007: 4, 0xA700: 4, 0xA702: 2, 0xC000: 4, _SILENCE: 2}
_NOT_KEPT = (0xA700, 0xA702, 0xC000)
_REPORTS = {"same": 55, "new": 35, "never": 4, "lost": 6}
_NO_SUCH_OBJECT = 0x0112
_TRIES_TO_REPORT = 20


class MoodyArchive:
    """One archive over one folder; what it does follows from `seed` and the order of what it is asked."""

    def __init__(self, folder: Path, seed: int, node_port: int) -> None:
        self._folder = folder
        self._node_port = node_port
        self._random = random.Random(seed)
        self._guard = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def serve(self, port: int) -> Any:
        """Listen; gives the server, whose `shutdown` ends it."""
        ae = AE(AE_TITLE)
        for context in StoragePresentationContexts:  # RLE too: else it gets the pages decompressed
            ae.add_supported_context(context.abstract_syntax, [*DEFAULT_TRANSFER_SYNTAXES, RLELossless])
        for service in (VERIFICATION, PUSH_MODEL, STUDY_ROOT_FIND):
            ae.add_supported_context(service)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._commit),
            (evt.EVT_C_FIND, self._find),
        ]
        return ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)

    def _store(self, event: evt.Event) -> int:
        status: int = self._drawn(_ANSWERS)
        if status in _NOT_KEPT:
            self._noted(f"{status:04X}")
            return status
        digest = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
        part = self._folder / f"{uuid.uuid4().hex}.tmp"
        part.write_bytes(event.encoded_dataset())
        part.replace(self._folder / f"{event.request.AffectedSOPInstanceUID}_{digest}_{uuid.uuid4().hex[:8]}.dcm")
        if status == _SILENCE:
            self._noted("silence")
            event.assoc.abort()
            return 0x0000
        self._noted(f"{status:04X}")
        return status

    def _commit(self, event: evt.Event) -> tuple[int, None]:
        how: str = self._drawn(_REPORTS)
        self._noted(how)
        if how != "never":
            asked = event.action_information
            if how == "lost":
                self._lose(asked.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            arguments = (event.assoc if how == "same" else None, asked)
            threading.Thread(target=self._report, args=arguments, daemon=True).start()
        return 0x0000, None

    def _report(self, association: Association | None, asked: Dataset) -> None:
        if association is not None and association.is_established:
            kind, told = self._told(asked)
            status, _ = association.send_n_event_report(told, kind, PUSH_MODEL, PUSH_MODEL_INSTANCE)
            if "Status" in status and status.Status == 0:
                return
        for _ in range(_TRIES_TO_REPORT):  # the node may be dead at this moment, as archives are used to
            if self._call_with(asked):
                return
            time.sleep(0.5)

    def _call_with(self, asked: Dataset) -> bool:
        """N-EVENT-REPORT on an association of its own, in the SCP role; whether it was taken."""
        ae = AE(AE_TITLE)
        ae.add_requested_context(PUSH_MODEL)
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = 5
        roles = [build_role(PUSH_MODEL, scp_role=True)]
        association = ae.associate("127.0.0.1", self._node_port, ae_title="OSTEON", ext_neg=roles)
        if not association.is_established:
            return False
        kind, told = self._told(asked)
        status, _ = association.send_n_event_report(told, kind, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        association.release()
        return "Status" in status and status.Status == 0

    def _told(self, asked: Dataset) -> tuple[int, Dataset]:
        """Event type and event information: what lies here at this moment (PS3.4 J.3.3)."""
        told, kept, lost = Dataset(), [], []
        told.TransactionUID = asked.TransactionUID
        for item in asked.ReferencedSOPSequence:
            here = Dataset()
            here.ReferencedSOPClassUID = item.ReferencedSOPClassUID
            here.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
            if self._has(item.ReferencedSOPInstanceUID):
                kept.append(here)
            else:
                here.FailureReason = _NO_SUCH_OBJECT
                lost.append(here)
        if kept:
            told.ReferencedSOPSequence = kept
        if lost:
            told.FailedSOPSequence = lost
        return (2 if lost else 1), told

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        wanted = str(event.identifier.SOPInstanceUID)
        if self._has(wanted):
            found = Dataset()
            found.QueryRetrieveLevel, found.SOPInstanceUID = "IMAGE", wanted
            yield 0xFF00, found
        yield 0x0000, None

    def _has(self, instance: str) -> bool:
        return any(self._folder.glob(f"{instance}_*.dcm"))

    def _lose(self, instance: str) -> None:
        for path in self._folder.glob(f"{instance}_*.dcm"):
            path.rename(path.with_suffix(".lost"))

    def _drawn(self, weights: dict[Any, int]) -> Any:
        with self._guard:
            return self._random.choices(list(weights), list(weights.values()))[0]

    def _noted(self, answer: str) -> None:
        with self._guard, (self._folder / "answers").open("a") as answers:
            answers.write(f"{answer}\n")
