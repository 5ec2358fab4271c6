"""Storage Commitment SCP: answers N-ACTION once the request is durable, reports on the association it came by.

A requestor that releases soon wants its N-EVENT-REPORT on a new association (`commitment_report`); one that stays is
told where it waits. There pynetdicom's own `send_n_event_report` would abort a requestor that sends or releases at that
moment, so the exchange is made here: what comes in between is served, and a release ends the wait.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, Final, cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext

from dicom_io.commitment import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_ACTION,
    CommitmentRequest,
    CommitmentResult,
    event_information,
    requested_items,
)
from dicom_io.errors import HeaderInvalid, TransactionInUse

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_INSTANCE: Final = 0x0112
INVALID_ARGUMENT: Final = 0x0115
NO_SUCH_ACTION: Final = 0x0123
_POLL_SECONDS: Final = 0.005
_PAUSE_SECONDS: Final = 5.0
"""How long the association's own thread may take to step aside."""

_log = structlog.get_logger()


class CommitmentScp:
    """The N-ACTION side of storage commitment. Safe for many associations at once.

    `on_request` makes the request durable; only its return makes a Success. It may raise `TransactionInUse`.
    """

    def __init__(self, on_request: Callable[[CommitmentRequest], None]) -> None:
        self._on_request = on_request
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._waiting: dict[str, Association] = {}

    def handlers(self) -> list[tuple[Any, Callable[[Event], tuple[int, Dataset | None]]]]:
        """What to bind on a server."""
        return [(evt.EVT_N_ACTION, self.answer)]

    def answer(self, event: Event) -> tuple[int, Dataset | None]:
        """EVT_N_ACTION: a status of PS3.7 10.1.4.1.10, never an Action Reply."""
        request = cast(N_ACTION, event.request)
        if request.RequestedSOPInstanceUID != PUSH_MODEL_INSTANCE:
            return NO_SUCH_INSTANCE, None
        if request.ActionTypeID != REQUEST_ACTION:
            return NO_SUCH_ACTION, None
        peer = str(event.assoc.requestor.ae_title)
        try:
            asked = _request(event)
            self._on_request(asked)
        except (HeaderInvalid, TransactionInUse) as error:
            _log.error("commitment.refused", calling=peer, error=str(error))
            return INVALID_ARGUMENT, None
        except Exception:  # noqa: BLE001 - outermost callback: whatever failed, the sender must ask again
            _log.exception("commitment.not_recorded", calling=peer)
            return PROCESSING_FAILURE, None
        self._remember(asked.transaction_uid, event.assoc)
        _log.info(
            "commitment.requested", transaction_uid=asked.transaction_uid, calling=peer, instances=len(asked.items)
        )
        return SUCCESS, None

    def report_here(self, result: CommitmentResult) -> bool:
        """Report on the association the request came by. False: it has ended, or the requestor did not take it."""
        with self._lock:
            association = self._waiting.get(result.transaction_uid)
        if association is None or not association.is_established:
            return False
        with self._turn:  # one report at a time: two on one association would read each other's answers
            taken = _report(association, result)
        if taken:
            with self._lock:
                self._waiting.pop(result.transaction_uid, None)
        return taken

    def _remember(self, transaction_uid: str, association: Association) -> None:
        with self._lock:
            self._waiting = {t: a for t, a in self._waiting.items() if a.is_alive()}
            if association not in self._waiting.values():
                _send_one_message_at_a_time(association)
            self._waiting[transaction_uid] = association


def _request(event: Event) -> CommitmentRequest:
    try:
        information = event.action_information
        transaction_uid, items = requested_items(information)
    except HeaderInvalid:
        raise
    except Exception as error:  # pydicom raises whatever a damaged stream provokes; here it gets one name
        msg = f"the commitment request cannot be parsed ({type(error).__name__})"
        raise HeaderInvalid(msg) from error
    return CommitmentRequest(
        transaction_uid=transaction_uid,
        items=items,
        requestor_ae=str(event.assoc.requestor.ae_title).strip(),
        address=str(event.assoc.requestor.address),
        requested_at=dt.datetime.now(dt.UTC),
    )


def _report(association: Association, result: CommitmentResult) -> bool:
    context = next(
        (one for one in association.accepted_contexts if one.abstract_syntax == PUSH_MODEL and one.as_scp), None
    )
    if context is None or context.context_id is None:
        return False  # by role selection the requestor denied us the SCP role
    message = _event_report(result, context)
    with _stepped_aside(association) as ours:
        if not ours:
            return False
        association.dimse.send_msg(message, context.context_id)
        return _answered(association)


def _event_report(result: CommitmentResult, context: PresentationContext) -> N_EVENT_REPORT:
    syntax = context.transfer_syntax[0]
    message = N_EVENT_REPORT()
    message.MessageID = 1
    message.AffectedSOPClassUID = PUSH_MODEL
    message.AffectedSOPInstanceUID = PUSH_MODEL_INSTANCE
    message.EventTypeID = result.event_type
    encoded = encode(
        event_information(result), syntax.is_implicit_VR, syntax.is_little_endian, deflated=syntax.is_deflated
    )
    message.EventInformation = BytesIO(encoded or b"")
    return message


@contextlib.contextmanager
def _stepped_aside(association: Association) -> Iterator[bool]:
    """Keep the association's own thread from taking messages, as pynetdicom does for its `send_*` methods."""
    deadline = time.monotonic() + _PAUSE_SECONDS
    association._reactor_checkpoint.clear()  # noqa: SLF001 - pynetdicom's only seam for this
    try:
        while not association._is_paused and time.monotonic() < deadline:  # noqa: SLF001
            time.sleep(_POLL_SECONDS)
        yield association._is_paused and association.is_established  # noqa: SLF001
    finally:
        association._reactor_checkpoint.set()  # noqa: SLF001


def _answered(association: Association) -> bool:
    """Wait for the response; serve what the requestor sends meanwhile, and stop when it releases or aborts."""
    deadline = time.monotonic() + (association.dimse_timeout or _PAUSE_SECONDS)
    while time.monotonic() < deadline and association.dul.is_alive():
        context_id, message = association.dimse.get_msg(block=False)
        if isinstance(message, N_EVENT_REPORT) and not message.is_valid_request:
            return message.Status == SUCCESS
        if message is not None and context_id is not None:
            association._serve_request(message, context_id)  # noqa: SLF001 - what its own thread would do now
        elif association.dul.peek_next_pdu() is not None:
            return False  # left in the queue for the association's own thread
        else:
            time.sleep(_POLL_SECONDS)
    return False


def _send_one_message_at_a_time(association: Association) -> None:
    """Command and dataset of a message must follow each other (PS3.8 E.2), also when two threads send."""
    lock, send = threading.Lock(), association.dimse.send_msg

    def send_alone(message: Any, context_id: int) -> None:
        with lock:
            send(message, context_id)

    association.dimse.send_msg = send_alone  # type: ignore[method-assign,assignment]
