"""Whether `transport` may be used with the pynetdicom that is installed: version, contract, and one stored object.

`transport` leans on private parts of pynetdicom. What it overrides or touches is listed here with its signature, and
one C-STORE over loopback must come out byte-equal. Any difference means the stock path and a warning; the start of the
node is never refused for it.
"""

from __future__ import annotations

import hashlib
import inspect
import linecache
import os
import re
import select
from importlib.metadata import version
from types import CodeType
from typing import Any, Final

import structlog
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dsutils import encode
from pynetdicom.dul import DULServiceProvider
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket

from dicom_io.arrival import arrival
from dicom_io.association_server import AssociationServer
from dicom_io.errors import SpoolFull
from dicom_io.spool import Spool

TESTED: Final = ((3, 0, 4), (3, 1))
"""pynetdicom from, and below: the versions the test suite has passed with."""

CONTRACT: Final[tuple[tuple[type, str, str], ...]] = (
    (DULServiceProvider, "run_reactor", "(self) -> None"),
    (DULServiceProvider, "_is_transport_event", "(self) -> bool"),
    (DULServiceProvider, "_read_pdu_data", "(self) -> None"),
    (DULServiceProvider, "kill_dul", "(self) -> None"),
    (DULServiceProvider, "stop_dul", "(self) -> bool"),
    (DULServiceProvider, "idle_timer_expired", "(self) -> bool"),
    (AssociationSocket, "recv", "(self, nr_bytes: int) -> bytearray"),
    (AssociationSocket, "send", "(self, bytestream: bytes) -> None"),
    (AssociationSocket, "ready", "property"),
    (Association, "_run_reactor", "(self) -> None"),
    (
        DULServiceProvider,
        "send_pdu",
        "(self, primitive: 'A_ASSOCIATE | A_RELEASE | A_ABORT | A_P_ABORT | P_DATA') -> None",
    ),
    (DIMSEServiceProvider, "receive_primitive", "(self, primitive: 'P_DATA') -> None"),
    (DIMSEServiceProvider, "send_msg", "(self, primitive: 'C_CANCEL | DimseServiceType', context_id: int) -> None"),
    (
        DIMSEMessage,
        "decode_msg",
        "(self, primitive: pynetdicom.pdu_primitives.P_DATA, assoc: 'Association | None' = None) -> bool",
    ),
    (DIMSEMessage, "message_to_primitive", "(self) -> 'C_CANCEL | DimseServiceType'"),
)
"""Methods overridden, or relied on to call what is overridden."""

ATTRIBUTES: Final = (
    (
        DULServiceProvider,
        "_run_loop_delay _kill_thread _idle_timer event_queue to_provider_queue to_user_queue state_machine",
    ),
    (AssociationSocket, "_is_connected socket"),
    (Association, "_reactor_checkpoint _is_paused _kill _serve_request dimse dul"),
    (DIMSEServiceProvider, "message msg_queue"),
    (DIMSEMessage, "_data_set_file _data_set_path context_id data_set encoded_command_set command_set"),
    (P_DATA, "_presentation_data_value_list"),
    (PresentationContext, "_transfer_syntax"),
)
"""Attributes set or read, of instances: their names occur in methods of the class."""

_OBJECT_BYTES: Final = 300_000
_PATIENCE: Final = 10.0

_log = structlog.get_logger()


def reasons_against(spool: Spool) -> tuple[str, ...]:
    """Why the own receive path may not serve, logged as a warning; none: it may."""
    reasons = tuple(differences() or failure(spool))
    if reasons:
        _log.warning("reception.fast_path_refused", pynetdicom=version("pynetdicom"), reasons=reasons)
    return reasons


def differences() -> list[str]:
    """What is not as `transport` expects it: platform, version, methods, attributes."""
    found = [] if hasattr(os, "eventfd") and hasattr(select, "poll") else ["no eventfd or poll on this platform"]
    installed = tuple(int(part) for part in re.findall(r"\d+", version("pynetdicom"))[:3])
    if not TESTED[0] <= installed < TESTED[1]:
        found.append("this version of pynetdicom is not tested")
    found += [f"{owner.__name__}.{name}" for owner, name, expected in CONTRACT if _signature(owner, name) != expected]
    for owner, names in ATTRIBUTES:
        used = _names_in(owner)
        found += [f"{owner.__name__}.{name}" for name in names.split() if name not in used]
    return found


def failure(spool: Spool) -> list[str]:
    """Send one object through the own path over loopback; what went wrong, or nothing."""
    try:
        spool.begin("", "", "").abandon()
    except (OSError, SpoolFull) as error:  # it would fail every receive path alike
        why = error.strerror if isinstance(error, OSError) else error
        return [f"the spool cannot be written ({why}), and every C-STORE is answered 0xA700"]
    try:
        sent, kept = _roundtrip(spool)
    except Exception as error:  # noqa: BLE001 - whatever a foreign version does, the stock path serves instead
        return [f"self-test failed: {type(error).__name__}"]
    return [] if sent == kept else ["self-test: the stored bytes differ from those sent"]


def _signature(owner: type, name: str) -> str:
    member = inspect.getattr_static(owner, name, None)
    if isinstance(member, property):
        return "property"
    return str(inspect.signature(member)) if callable(member) else "absent"


def _names_in(owner: type) -> set[str]:
    """Attributes of `self` in the source of a class's methods.

    Where a method lies is told by its code: `inspect.getsource` parses whole modules to find a class, which takes a
    quarter of a second at every start.
    """
    functions = [
        function
        for member in vars(owner).values()
        for function in ((member.fget, member.fset) if isinstance(member, property) else (member,))
    ]
    codes = [function.__code__ for function in functions if inspect.isfunction(function)]
    return {name for code in codes for name in re.findall(r"self\.(\w+)", _source(code))}


def _source(code: CodeType) -> str:
    last = max(line for *_, line in code.co_lines() if line is not None)
    return "".join(linecache.getlines(code.co_filename)[code.co_firstlineno - 1 : last])


def _roundtrip(spool: Spool) -> tuple[str, str]:
    """Digests of the dataset sent and of the one written."""
    kept: list[str] = []

    def keep(event: Event) -> int:
        arrived = arrival(event.request)
        if arrived is None:
            return 0xA700
        with arrived.take() as part, part.dataset() as stream:
            kept.append(hashlib.sha256(stream.read()).hexdigest())
        return 0x0000

    dataset = _object()
    server = _server(keep)
    server.open_part = spool.begin
    thread = server.serve_in_background()
    try:
        _send(dataset, int(server.server_address[1]))
    finally:
        server.close()
        thread.join()
    encoded = encode(dataset, is_implicit_vr=False, is_little_endian=True) or b""
    return hashlib.sha256(encoded).hexdigest(), kept[0] if kept else ""


def _server(keep: Any) -> AssociationServer:
    ae = AE("SELFTEST")
    ae.maximum_pdu_size = 65_536
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = _PATIENCE
    ae.add_supported_context(uid.RawDataStorage, uid.ExplicitVRLittleEndian)
    server = ae.make_server(("127.0.0.1", 0), evt_handlers=[(evt.EVT_C_STORE, keep)], server_class=AssociationServer)
    if not isinstance(server, AssociationServer):
        raise TypeError
    return server


def _send(dataset: Dataset, port: int) -> None:
    ae = AE("SELFTEST")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = _PATIENCE
    ae.add_requested_context(uid.RawDataStorage, uid.ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", port)
    if not association.is_established:
        msg = "no association"
        raise ConnectionError(msg)
    connection = association.dul.socket.socket if association.dul.socket else None
    try:
        association.send_c_store(dataset)
    finally:
        association.release()
        if connection is not None:
            connection.close()  # pynetdicom does not where the peer was faster


def _object() -> Dataset:
    """Raw data without a patient, larger than some PDUs."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.RawDataStorage, uid.generate_uid(prefix=None)
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = "2.25.1"
    dataset.add_new(0x00420011, "OB", bytes(range(250)) * (_OBJECT_BYTES // 250))
    return dataset
