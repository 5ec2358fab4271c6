"""N-EVENT-REPORT on an association of our own to the requestor, in the SCP role (PS3.4 J.3.3, PS3.7 D.3.3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydicom import uid
from pynetdicom import AE, build_role
from pynetdicom.association import Association

from config.settings import Delivery
from dicom_io.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, CommitmentResult, event_information
from dicom_io.errors import PeerRefused, PeerUnavailable
from dicom_io.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_SYNTAXES: Final = [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian]
_SUCCESS: Final = 0x0000
_TRANSIENT: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Requestor:
    """Where a requestor of storage commitment awaits its report."""

    ae_title: str
    host: str
    port: int


def report_to(result: CommitmentResult, to: Requestor, *, calling: str, settings: Delivery) -> None:
    """Tell `to` the outcome; returns when it has answered Success. `calling` is our AE title as it knows it.

    Raises:
        PeerUnavailable: not reachable, busy, or gone in the middle.
        PeerRefused: it does not take us as SCP of storage commitment, or answered with a failure.

    """
    ae = AE(calling)
    ae.implementation_class_uid = uid.UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = ae.acse_timeout = settings.acse_timeout
    ae.dimse_timeout = ae.network_timeout = settings.dimse_timeout
    ae.add_requested_context(PUSH_MODEL, _SYNTAXES)
    role = build_role(PUSH_MODEL, scp_role=True)
    association = ae.associate(to.host, to.port, ae_title=to.ae_title, ext_neg=[role])
    try:
        _report(association, result, to)
    finally:
        if association.is_established:
            association.release()
        if association.is_alive():
            association.abort()


def _report(association: Association, result: CommitmentResult, to: Requestor) -> None:
    if not association.is_established:
        answer = association.acceptor.primitive
        if association.is_rejected and answer is not None and answer.result != _TRANSIENT:
            msg = f"{to.ae_title}: association rejected: {answer.reason_str}"
            raise PeerRefused(msg)
        if association.rejected_contexts and not association.accepted_contexts:
            msg = f"{to.ae_title}: Storage Commitment refused on port {to.port}"
            raise PeerRefused(msg)
        msg = f"{to.ae_title}: no association with {to.host}:{to.port}"
        raise PeerUnavailable(msg)
    if not any(context.as_scp for context in association.accepted_contexts):
        msg = f"{to.ae_title}: does not accept the node in the SCP role (PS3.7 D.3.3.4)"
        raise PeerRefused(msg)
    try:
        status, _ = association.send_n_event_report(
            event_information(result), result.event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
    except RuntimeError as error:  # the association ended before the message
        msg = f"{to.ae_title}: the association ended"
        raise PeerUnavailable(msg) from error
    code = status.get("Status")
    if code is None:
        msg = f"{to.ae_title}: no answer to N-EVENT-REPORT"
        raise PeerUnavailable(msg)
    if code != _SUCCESS:
        msg = f"{to.ae_title}: N-EVENT-REPORT answered {code:04X}"
        raise PeerRefused(msg)
