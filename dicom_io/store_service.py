"""C-STORE: an object becomes a file and a row of the ledger, and only then its answer is Success.

Status codes are those of PS3.4 B.2.3. Any failure is answered 0xA700, so that the sender keeps the image and comes
again, except for objects no retry can mend. Results that the archive routes back to us are taken too: a refusal would
make it repeat. Not allowed here: who may send, and any judgement about what is screened.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from io import BytesIO
from typing import Final

import structlog
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event

from config.settings import Reception
from dicom_io.admission import Observer, StoreFailure, caller
from dicom_io.arrival import arrival
from dicom_io.errors import HeaderInvalid, SenderGone, SpoolFull, SpoolUnavailable
from dicom_io.part import Part
from dicom_io.received import StoredInstance, identify
from dicom_io.spool import Spool

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
DOES_NOT_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000

_MEGABYTE: Final = 1_000_000

_log = structlog.get_logger()


class StoreService:
    """Answers C-STORE. `on_stored` commits to the ledger, and only its return makes a Success.

    `on_stored` runs in the association's thread, several at a time. If it raises, the file is taken back: it must not
    raise after it has committed.
    """

    def __init__(
        self,
        settings: Reception,
        spool: Spool,
        on_stored: Callable[[StoredInstance], None],
        *,
        disk_full: Callable[[], bool],
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._disk_full = disk_full
        self._observer = observer
        self._spool = spool
        self._on_stored = on_stored

    def answer(self, event: Event) -> int:
        """EVT_C_STORE: keep the object and return the status of PS3.4 B.2.3."""
        if not isinstance(event.request, C_STORE):  # N-CREATE and others, which a storage context does not serve
            _log.error("store.not_a_store", message=type(event.request).__name__)
            return self._failed(event, StoreFailure.NOT_UNDERSTOOD, CANNOT_UNDERSTAND)
        request = event.request
        instance = str(request.AffectedSOPInstanceUID)
        try:
            with self._part(event, request) as part:
                return self._answer(event, request, part)
        except SpoolFull as error:
            _log.error("store.no_space", sop_instance_uid=instance, error=str(error))
            return self._failed(event, StoreFailure.NO_SPACE, OUT_OF_RESOURCES)
        except SpoolUnavailable as error:
            _log.error("store.spool_unavailable", sop_instance_uid=instance, error=str(error))
            return self._failed(event, StoreFailure.NOT_RECORDED, OUT_OF_RESOURCES)
        except SenderGone as error:
            _log.warning("store.interrupted", sop_instance_uid=instance, error=str(error))
            return self._failed(event, StoreFailure.NOT_RECORDED, OUT_OF_RESOURCES)
        except Exception:  # noqa: BLE001 - outermost callback: whatever failed, the sender must keep the image
            _log.exception("store.failed", sop_instance_uid=instance)
            return self._failed(event, StoreFailure.NOT_RECORDED, OUT_OF_RESOURCES)

    def begin(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> Part:
        """Start the file of an object that is arriving. Raises as `Part.write`."""
        if self._disk_full():
            msg = f"the spool is fuller than {self._settings.full_at_percent:g} %"
            raise SpoolFull(msg)
        limit = self._settings.maximum_object_mb * _MEGABYTE
        return self._spool.begin(sop_class_uid, sop_instance_uid, transfer_syntax_uid, limit=limit)

    def _part(self, event: Event, request: C_STORE) -> Part:
        """The object as a file: written while it arrived or, on the stock receive path, written now."""
        arrived = arrival(request)
        if arrived is not None:
            return arrived.take()
        part = self.begin(
            str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID), str(event.context.transfer_syntax)
        )
        try:
            part.write((request.DataSet or BytesIO()).getbuffer())
        except BaseException:
            part.abandon()
            raise
        return part

    def _answer(self, event: Event, request: C_STORE, part: Part) -> int:
        try:
            return self._store(event, request, part)
        except HeaderInvalid as error:
            file = self._quarantine(part)
            instance = str(request.AffectedSOPInstanceUID)
            _log.error("store.not_understood", sop_instance_uid=instance, error=str(error), file=file)
            return self._failed(event, StoreFailure.NOT_UNDERSTOOD, CANNOT_UNDERSTAND)

    def _store(self, event: Event, request: C_STORE, part: Part) -> int:
        with part.dataset() as stream:
            identified = identify(stream, event.context.transfer_syntax)
        reference = identified.reference
        if (reference.sop_class_uid, reference.sop_instance_uid) != (
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
        ) or reference.sop_class_uid != str(event.context.abstract_syntax):
            _log.error("store.mismatch", sop_instance_uid=reference.sop_instance_uid)
            return self._failed(event, StoreFailure.MISMATCH, DOES_NOT_MATCH)
        with self._spool.adopting(part, reference.sop_instance_uid) as spooled:
            stored = StoredInstance(
                reference=reference,
                spool_file=spooled.file,
                digest=spooled.digest,
                calling_ae=str(event.assoc.requestor.ae_title),
                peer_address=str(event.assoc.requestor.address),
                received_at=dt.datetime.now(dt.UTC),
                patient_ids=identified.patient_ids,
            )
            self._on_stored(stored)
        _log.info("store.accepted", sop_instance_uid=reference.sop_instance_uid, bytes=spooled.size)
        return SUCCESS

    def _failed(self, event: Event, why: StoreFailure, status: int) -> int:
        requestor, acceptor = event.assoc.requestor, event.assoc.acceptor
        who = caller(str(requestor.address), calling=str(requestor.ae_title), called=str(acceptor.ae_title))
        self._observer.not_stored(who, why)
        return status

    def _quarantine(self, part: Part) -> str:
        try:
            with part.dataset() as stream:
                return self._spool.quarantine(stream)
        except (SpoolFull, SpoolUnavailable, OSError):
            return ""
