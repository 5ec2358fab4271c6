"""Storage Commitment SCU: asks an archive to keep our objects safe, and takes its report (PS3.4 annex J).

The report may come on the association of the question or on one of the archive's own, soon, late, twice, or for a
transaction nobody knows any more: each is answered 0x0000 once it is recorded (`CommitmentEvents`), because an archive
that is refused repeats for ever. What follows from a report is the caller's business.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.events import Event

from config.settings import Delivery, Destination
from dicom_io.commitment import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_ACTION,
    CommitmentItem,
    action_information,
)
from dicom_io.element import integer, text
from dicom_io.errors import PeerRefused, PeerUnavailable
from dicom_io.scu_association import UNCOMPRESSED, associated

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
_TRY_AGAIN: Final = (0x0110, 0x0213)
_UNSAID: Final = 0
"""Failure Reason of a failed instance whose report gives none."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentEvent:
    """What an archive reported of one transaction."""

    transaction_uid: str
    committed: frozenset[str]
    """SOP Instance UIDs it keeps."""
    failures: Mapping[str, int]
    """Failure Reason (0008,1197) by SOP Instance UID of those it does not."""


class CommitmentEvents:
    """Takes N-EVENT-REPORTs on every association of the process, and lets one wait for that of a transaction.

    `on_event` makes the report durable; only its return makes a Success.
    """

    def __init__(self, on_event: Callable[[CommitmentEvent], None]) -> None:
        self._on_event = on_event
        self._lock = threading.Lock()
        self._awaited: dict[str, threading.Event] = {}

    def handlers(self) -> list[tuple[Any, Callable[[Event], tuple[int, Dataset | None]]]]:
        """What to bind on a server, and on the association of a question."""
        return [(evt.EVT_N_EVENT_REPORT, self.answer)]

    def answer(self, event: Event) -> tuple[int, Dataset | None]:
        """EVT_N_EVENT_REPORT: record, then Success; an archive that cannot be understood is told so in the log only."""
        try:
            told = _told(event.event_information)
        except Exception as error:  # noqa: BLE001 - pydicom raises whatever a damaged stream provokes
            _log.error("commitment.event_unreadable", error=type(error).__name__)
            return SUCCESS, None
        try:
            self._on_event(told)
        except Exception:  # noqa: BLE001 - outermost callback: whatever failed, the archive must tell again
            _log.exception("commitment.event_not_recorded", transaction_uid=told.transaction_uid)
            return PROCESSING_FAILURE, None
        with self._lock:
            waiting = self._awaited.get(told.transaction_uid)
        if waiting is not None:
            waiting.set()
        return SUCCESS, None

    def ask(
        self,
        transaction_uid: str,
        items: Sequence[CommitmentItem],
        to: Destination,
        settings: Delivery,
        *,
        stay: float,
    ) -> bool:
        """Ask for commitment, and keep the association for at most `stay` seconds. Whether the report has come.

        Raises:
            PeerUnavailable: not reachable, busy, or gone.
            PeerRefused: it does not commit, or declined the request.

        """
        here = threading.Event()
        with self._lock:
            self._awaited[transaction_uid] = here
        contexts = [(PUSH_MODEL, syntax) for syntax in UNCOMPRESSED]
        try:
            with associated(contexts, to, settings, self.handlers()) as association:
                try:
                    status, _ = association.send_n_action(
                        action_information(transaction_uid, items), REQUEST_ACTION, PUSH_MODEL, PUSH_MODEL_INSTANCE
                    )
                except RuntimeError as error:  # the association ended before the message
                    msg = f"{to.name}: the association ended"
                    raise PeerUnavailable(msg) from error
                _judge(status.get("Status"), to)
                return here.wait(stay)
        finally:
            with self._lock:
                self._awaited.pop(transaction_uid, None)


def _judge(status: int | None, to: Destination) -> None:
    if status == SUCCESS:
        return
    if status is None:
        msg = f"{to.name}: no answer to N-ACTION"
        raise PeerUnavailable(msg)
    detail = f"{to.name}: the commitment request was answered {status:04X}"
    fault = PeerUnavailable(detail) if status in _TRY_AGAIN else PeerRefused(detail)
    fault.status = status
    raise fault


def _told(information: Dataset) -> CommitmentEvent:
    """PS3.4 table J.3-2."""
    failed = information.get("FailedSOPSequence") or ()
    kept = information.get("ReferencedSOPSequence") or ()
    return CommitmentEvent(
        transaction_uid=text(information, "TransactionUID"),
        committed=frozenset(text(item, "ReferencedSOPInstanceUID") for item in kept),
        failures={text(item, "ReferencedSOPInstanceUID"): integer(item, "FailureReason") or _UNSAID for item in failed},
    )
