"""Verification SCU: whether somebody answers at a destination (PS3.4 annex A)."""

from __future__ import annotations

from pydicom import uid

from config.settings import Delivery, Destination
from dicom_io.errors import PeerUnavailable
from dicom_io.scu_association import UNCOMPRESSED, associated

VERIFICATION = uid.UID("1.2.840.10008.1.1")


def verify(to: Destination, settings: Delivery) -> None:
    """Return when `to` answered a C-ECHO.

    Raises:
        PeerUnavailable: it did not.
        PeerRefused: it answered, and does not want an association of ours, or no C-ECHO.

    """
    with associated([(VERIFICATION, syntax) for syntax in UNCOMPRESSED], to, settings) as association:
        try:
            answer = association.send_c_echo()
        except RuntimeError as error:  # it ended in the meantime
            msg = f"{to.name}: the association ended"
            raise PeerUnavailable(msg) from error
    if answer.get("Status") is None:
        msg = f"{to.name}: no answer to C-ECHO"
        raise PeerUnavailable(msg)
