"""Verification SCU: whether somebody answers at a destination (PS3.4 annex A)."""

from __future__ import annotations

from pydicom import uid
from pynetdicom import evt
from pynetdicom.events import Event

from config.settings import Delivery, Destination
from dicom_io.errors import PeerUnavailable
from dicom_io.scu_association import UNCOMPRESSED, associated

VERIFICATION = uid.UID("1.2.840.10008.1.1")
_NO_PDU = "Evt19"
"""An unrecognised or invalid PDU was received (PS3.8 table 9-10)."""


def verify(to: Destination, settings: Delivery) -> None:
    """Return when `to` answered a C-ECHO.

    Raises:
        PeerUnavailable: it did not.
        PeerRefused: it answered, and does not want an association of ours, or no C-ECHO.

    """
    contexts = [(VERIFICATION, syntax) for syntax in UNCOMPRESSED]
    steps: list[Event] = []
    try:
        with associated(contexts, to, settings, [(evt.EVT_FSM_TRANSITION, steps.append)]) as association:
            answer = association.send_c_echo()
    except RuntimeError as error:  # it ended in the meantime
        msg = f"{to.name}: the association ended"
        raise PeerUnavailable(msg) from error
    except PeerUnavailable as error:
        if not any(step.fsm_event == _NO_PDU for step in steps):
            raise
        foreign = PeerUnavailable(f"{to.name}: {to.host}:{to.port} answers, but does not speak DICOM")
        foreign.connected = error.connected
        raise foreign from error
    if answer.get("Status") is None:
        msg = f"{to.name}: no answer to C-ECHO"
        raise PeerUnavailable(msg)
