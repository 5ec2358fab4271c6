"""Storage SCP: takes what it is sent, and says Success only for what is durable and in the ledger.

Who may associate is decided in `admission`; status codes are those of PS3.4 B.2.3. Any failure is answered 0xA700, so
that the sender keeps the image and comes again, except for objects no retry can mend. Nothing is decoded here beyond
the UIDs, and no pixel at all. Results that the archive routes back to us are taken too: a refusal would make it repeat.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import socket
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Final, cast

import structlog
from pydicom import uid
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE

from config.settings import Reception
from dicom_io.admission import Rejection, judge
from dicom_io.association_server import AssociationServer, BoundedRequestHandler
from dicom_io.decoding import TRANSFER_SYNTAXES
from dicom_io.element import expect_defects
from dicom_io.errors import HeaderInvalid, SpoolFull
from dicom_io.header import instance_reference, read_header
from dicom_io.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_io.spool import Spool
from model.domain import InstanceReference

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
DOES_NOT_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000

STORAGE_CLASSES: Final = (
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing,
    uid.SecondaryCaptureImageStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.Comprehensive3DSRStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.KeyObjectSelectionDocumentStorage,
)
"""What is stored. Only the first two are screened; the others end as not applicable."""

_VERIFICATION: Final = "1.2.840.10008.1.1"
_SERIES_INSTANCE_UID: Final = BaseTag(0x0020000E)
_PREFIX: Final = 1 << 20
"""Bytes of a deflated dataset inflated to find its UIDs."""
_NO_STOCK_LIMIT: Final = 1_000_000
_CONNECTIONS_PER_ASSOCIATION: Final = 4
"""Connections tolerated for each association allowed: balancers probe, and rejected senders linger a moment."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """One object that lies complete in the spool and waits for its row in the ledger."""

    reference: InstanceReference
    spool_file: str
    """Path below the spool directory."""
    sha256: str
    """Hex digest of the whole file."""
    calling_ae: str
    """Empty for a file adopted at start: nobody remembers."""
    peer_address: str
    received_at: dt.datetime
    """Aware, UTC."""


class StorageScp:
    """Verification and Storage SCP. `on_stored` commits to the ledger, and only its return makes a Success.

    `on_stored` runs in the association's thread, several at a time. If it raises, the file is taken back: it must not
    raise after it has committed.
    """

    def __init__(self, settings: Reception, spool: Spool, on_stored: Callable[[StoredInstance], None]) -> None:
        self._settings = settings
        self._spool = spool
        self._on_stored = on_stored
        self._lock = threading.Lock()
        self._admitted: set[Association] = set()
        self._draining = False
        self._server: AssociationServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The TCP port that is listened on; the configured one before `start`."""
        return int(self._server.server_address[1]) if self._server else self._settings.port

    def start(self) -> None:
        """Sweep the spool, listen, and return.

        Raises:
            OSError: the address is in use or not ours.

        """
        expect_defects()
        swept = self._spool.sweep()
        self._draining = False
        self._server = self._make_server()
        self._thread = self._server.serve_in_background()
        _log.info("reception.started", ae_title=self._settings.ae_title, port=self.port, swept=swept)

    def stop(self, grace: float = 5.0) -> None:
        """Refuse new associations (transiently), let running ones finish for `grace` seconds, abort the rest."""
        if self._server is None or self._thread is None:
            return
        self._draining = True
        deadline = time.monotonic() + grace
        while self._running() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._server.close()
        self._thread.join()
        lingering = self._server.active_associations
        for association in lingering:
            _end(association)
        self._server = None
        _log.info("reception.stopped", aborted=len(lingering))

    def _make_server(self) -> AssociationServer:
        ae = AE(self._settings.ae_title)
        ae.implementation_class_uid = uid.UID(IMPLEMENTATION_CLASS_UID)
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.maximum_pdu_size = self._settings.maximum_pdu_bytes
        ae.maximum_associations = _NO_STOCK_LIMIT  # the stock limit counts silent connections too; ours does not
        ae.acse_timeout = self._settings.acse_timeout
        ae.dimse_timeout = self._settings.dimse_timeout
        ae.network_timeout = self._settings.idle_timeout
        ae.add_supported_context(_VERIFICATION)
        for sop_class in STORAGE_CLASSES:
            ae.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        server = ae.make_server(
            (self._settings.host, self._settings.port),
            evt_handlers=[(evt.EVT_REQUESTED, self._admit), (evt.EVT_C_STORE, self._c_store)],
            server_class=AssociationServer,
            request_handler=BoundedRequestHandler,
        )
        if not isinstance(server, AssociationServer):  # `make_server` is annotated more widely than it behaves
            raise TypeError
        server.read_timeout = self._settings.dimse_timeout
        server.connection_limit = _CONNECTIONS_PER_ASSOCIATION * self._settings.maximum_associations
        return server

    def _running(self) -> bool:
        with self._lock:
            return any(association.is_alive() for association in self._admitted)

    def _admit(self, event: Event) -> None:
        """EVT_REQUESTED: reject before negotiation, or count the association in."""
        association = event.assoc
        request = cast(A_ASSOCIATE, association.requestor.primitive)
        called, calling = str(request.called_ae_title), str(request.calling_ae_title)
        address = str(association.requestor.address)
        rejection = judge(self._settings, called=called, calling=calling, address=address) or self._take_place(
            association
        )
        if rejection is None:
            return
        verdict = rejection.value
        _log.warning("association.rejected", reason=verdict.word, called=called, calling=calling, peer=address)
        association.acse.send_reject(verdict.result, verdict.source, verdict.reason)
        association.kill()

    def _take_place(self, association: Association) -> Rejection | None:
        with self._lock:
            if self._draining:
                return Rejection.DRAINING
            self._admitted = {one for one in self._admitted if one.is_alive()}
            if len(self._admitted) >= self._settings.maximum_associations:
                return Rejection.LIMIT
            self._admitted.add(association)
            return None

    def _c_store(self, event: Event) -> int:
        """EVT_C_STORE: the status of PS3.4 B.2.3."""
        request = cast(C_STORE, event.request)
        instance = str(request.AffectedSOPInstanceUID)
        try:
            return self._store(event, request)
        except HeaderInvalid as error:
            file = self._quarantine(request)
            _log.error("store.not_understood", sop_instance_uid=instance, error=str(error), file=file)
            return CANNOT_UNDERSTAND
        except SpoolFull as error:
            _log.error("store.no_space", sop_instance_uid=instance, error=str(error))
            return OUT_OF_RESOURCES
        except Exception:  # noqa: BLE001 - outermost callback: whatever failed, the sender must keep the image
            _log.exception("store.failed", sop_instance_uid=instance)
            return OUT_OF_RESOURCES

    def _store(self, event: Event, request: C_STORE) -> int:
        syntax = event.context.transfer_syntax
        if self._spool.used_percent() >= self._settings.full_at_percent:
            msg = f"the spool is fuller than {self._settings.full_at_percent:g} %"
            raise SpoolFull(msg)
        stream = request.DataSet or BytesIO()
        reference = identify(stream, syntax)
        if (reference.sop_class_uid, reference.sop_instance_uid) != (
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
        ) or reference.sop_class_uid != str(event.context.abstract_syntax):
            _log.error("store.mismatch", sop_instance_uid=reference.sop_instance_uid)
            return DOES_NOT_MATCH
        with self._spool.storing(
            sop_class_uid=reference.sop_class_uid,
            sop_instance_uid=reference.sop_instance_uid,
            transfer_syntax_uid=str(syntax),
            dataset=stream.getbuffer(),
        ) as spooled:
            stored = StoredInstance(
                reference=reference,
                spool_file=spooled.file,
                sha256=spooled.sha256,
                calling_ae=str(event.assoc.requestor.ae_title),
                peer_address=str(event.assoc.requestor.address),
                received_at=dt.datetime.now(dt.UTC),
            )
            self._on_stored(stored)
        _log.info("store.accepted", sop_instance_uid=reference.sop_instance_uid, bytes=spooled.size)
        return SUCCESS

    def _quarantine(self, request: C_STORE) -> str:
        try:
            return self._spool.quarantine((request.DataSet or BytesIO()).getbuffer())
        except (SpoolFull, OSError):
            return ""


def identify(stream: BytesIO, transfer_syntax: uid.UID) -> InstanceReference:
    """The UIDs of an encoded dataset; reads no further than the Series Instance UID.

    Raises:
        HeaderInvalid: not a dataset of that transfer syntax, or one without the UIDs it takes to own it.

    """
    try:
        if transfer_syntax.is_deflated:
            stream = BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.getbuffer(), _PREFIX))
        stream.seek(0)
        dataset = read_dataset(
            stream,
            transfer_syntax.is_implicit_VR,
            transfer_syntax.is_little_endian,
            stop_when=lambda tag, _vr, _length: tag > _SERIES_INSTANCE_UID,
        )
    except Exception as error:  # pydicom raises whatever a damaged stream provokes; here it gets one name
        msg = f"the dataset cannot be parsed ({type(error).__name__})"
        raise HeaderInvalid(msg) from error
    return instance_reference(dataset)


def adopt(spool: Spool, file: str) -> StoredInstance:
    """A file of `Spool.orphans` as if it had just been received; the ledger commits it as usual.

    Raises:
        HeaderInvalid: it is damaged (content and name disagree) or cannot be owned.
        OSError: it cannot be read.

    """
    path = spool.path(file)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if not path.stem.endswith(sha256[:16]):
        msg = "the file's content is not what its name promises"
        raise HeaderInvalid(msg)
    return StoredInstance(
        reference=instance_reference(read_header(path)),
        spool_file=file,
        sha256=sha256,
        calling_ae="",
        peer_address="",
        received_at=dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC),
    )


def _end(association: Association) -> None:
    """Abort an association that would not end by itself, and wait until its thread has gone."""
    if association.is_established:
        association.abort(block=False)
        association.join(0.5)
    connection = association.dul.socket.socket if association.dul.socket else None
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)  # wakes a thread that sits in a read
    association.dul.to_user_queue.put(None)  # wakes one that waits for an A-ASSOCIATE-RQ
    association.join(5.0)
