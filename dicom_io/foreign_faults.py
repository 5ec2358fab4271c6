"""What pynetdicom makes of faults, in the node's own words: one coded line, no traceback, no bytes of a peer, counted.

pynetdicom logs an error and then a traceback, whose text may quote what the peer sent. Here each fault is one line with
a code, the module it comes from and the type of the exception. A message it cannot read, such as one whose UID has 65
characters, aborts the association (PS3.8 9.3.8): that is told to the server too, which counts it.

What its state machine cannot go on from ends the upper layer's thread, as pynetdicom means it, without a traceback.

A P-DATA request that meets a release (Evt9 outside Sta6 and Sta8 of PS3.8 9.2) has nobody left to read it. pynetdicom
raises in the thread of its upper layer, which then serves no longer; here the message is dropped and its sender sees
the association end.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Final

import structlog
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE

MESSAGE_INVALID: Final = "DIMSE-MESSAGE-INVALID"
STATE_INVALID: Final = "STATE-INVALID"
OTHER: Final = "PYNETDICOM-FAULT"

_CODES: Final = {
    ("pynetdicom.dimse", "receive_primitive"): MESSAGE_INVALID,
    ("pynetdicom.dul", "_read_pdu_data"): "PDU-INVALID",
    ("pynetdicom.dul", "run_reactor"): "UPPER-LAYER-FAULT",
    ("pynetdicom.events", "trigger"): "HANDLER-FAULT",
    ("pynetdicom.transport", "recv"): "CONNECTION-FAULT",
    ("pynetdicom.transport", "send"): "CONNECTION-FAULT",
}
_P_DATA_REQUEST: Final = "Evt9"

_log = structlog.get_logger()


class CodedLines(logging.Handler):
    """In place of every other handler for what pynetdicom logs at ERROR and above."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line for each exception; the line pynetdicom writes before its traceback is left out."""
        code = _CODES.get((record.name, record.funcName), OTHER)
        told_elsewhere = record.name == "pynetdicom.fsm" or (record.exc_info is None and code != OTHER)
        if told_elsewhere:
            return
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        association = _association()
        where = f"{record.name}.{record.funcName}"
        _log.warning("association.fault", code=code, where=where, error=kind, peer=_peer(association))
        on_fault = getattr(association, "on_fault", None)
        if on_fault is not None and code == MESSAGE_INVALID:
            on_fault()


def speak_in_codes() -> None:
    """Take over what pynetdicom logs; at every start, once in effect."""
    _config.LOG_HANDLER_LEVEL = "none"  # its handlers format every message, by class, for a log level nobody keeps
    logger = logging.getLogger("pynetdicom")
    if not any(isinstance(handler, CodedLines) for handler in logger.handlers):
        logger.addHandler(CodedLines(logging.ERROR))
    logger.propagate = False


def watch(association: Association, on_fault: Callable[[], None]) -> None:
    """Make a new acceptor association safe against late messages; `on_fault` is told of each it cannot read."""
    association.on_fault = on_fault  # type: ignore[attr-defined]
    provider, machine = association.dul, association.dul.state_machine
    stock = machine.do_action

    def do_action(event: str) -> None:
        if event != _P_DATA_REQUEST or (event, machine.current_state) in TRANSITION_TABLE:
            try:
                stock(event)
            except Exception as error:
                _log.warning(
                    "association.fault", code=STATE_INVALID, error=type(error).__name__, peer=_peer(association)
                )
                raise SystemExit from error  # ends the upper layer's thread as the error would, without its traceback
            return
        _log.info("association.message_too_late", peer=_peer(association), state=machine.current_state)
        try:
            provider.to_provider_queue.get(block=False)
        except queue.Empty:
            return

    machine.do_action = do_action  # type: ignore[method-assign]


def _peer(association: Association | None) -> str:
    return str(association.requestor.address) if association else ""


def _association() -> Association | None:
    """Whose thread this is, that of an association or of its upper layer."""
    thread = threading.current_thread()
    if isinstance(thread, DULServiceProvider):
        return thread.assoc
    return thread if isinstance(thread, Association) else None
