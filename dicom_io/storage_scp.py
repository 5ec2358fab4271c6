"""The Storage SCP: listens on the plain port, the TLS port or both, negotiates, and drains.

What becomes of an object is `store_service`'s business, what is negotiated `offer`'s, who may associate `doorman`'s.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog
from pydicom import uid
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from config.settings import Reception, SettingsError
from dicom_io import transport_check
from dicom_io.admission import Lobby, Observer, Unobserved
from dicom_io.association_server import AssociationServer
from dicom_io.commitment import PUSH_MODEL
from dicom_io.commitment_scp import CommitmentScp
from dicom_io.commitment_scu import CommitmentEvents
from dicom_io.doorman import Doorman
from dicom_io.element import expect_defects
from dicom_io.foreign_faults import speak_in_codes
from dicom_io.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_io.offer import UNCOMPRESSED, offered
from dicom_io.received import StoredInstance
from dicom_io.spool import Spool
from dicom_io.store_service import StoreService
from dicom_io.tls import TlsFiles
from dicom_io.tls_server import TlsAssociationServer
from dicom_io.watermark import Watermark

_NO_STOCK_LIMIT: Final = 1_000_000
_LAST_WORD_SECONDS: Final = 0.5
"""So long may an A-ABORT take to go out."""
_END_SECONDS: Final = 3.0
"""So long may the threads take whose connections were cut; one that still waits for a disk is left to the process."""

_log = structlog.get_logger()

_Server = TypeVar("_Server", bound=AssociationServer)


class StorageScp:
    """Verification, Storage and, where `commitment` is given, Storage Commitment SCP.

    `on_stored` as in `StoreService`; `observer` is told of every contact. `events` takes the reports of archives that
    were asked to commit themselves, on associations of theirs, in the SCU role (PS3.4 J.3.3).

    Raises:
        SettingsError: the files of `reception.tls` cannot be used.

    """

    def __init__(
        self,
        settings: Reception,
        spool: Spool,
        on_stored: Callable[[StoredInstance], None],
        observer: Observer | None = None,
        commitment: CommitmentScp | None = None,
        events: CommitmentEvents | None = None,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._observer = observer or Unobserved()
        self._commitment = commitment
        self._events = events
        self._disk = Watermark(spool.used_percent, low_at=settings.reject_at_percent, full_at=settings.full_at_percent)
        self._store = StoreService(settings, spool, on_stored, disk_full=self._disk.full, observer=self._observer)
        self._doorman = self._make_doorman()
        self.tls_files = TlsFiles(settings.tls) if settings.tls.enabled else None
        """What clients of the TLS port are shown; None where it is off."""
        self._plain: AssociationServer | None = None
        self._tls: TlsAssociationServer | None = None
        self._threads: list[threading.Thread] = []
        self._fast = False
        self._refusals: tuple[str, ...] = ()

    @property
    def port(self) -> int:
        """The TCP port that is listened on; the configured one before `start` and where `reception.plain` is off."""
        return int(self._plain.server_address[1]) if self._plain else self._settings.port

    @property
    def fast_path_refused(self) -> tuple[str, ...]:
        """Why the own receive path may not serve, since `start`; empty where it may, or is switched off."""
        return self._refusals

    @property
    def tls_port(self) -> int | None:
        """The TCP port for TLS; None while none is listened on."""
        return int(self._tls.server_address[1]) if self._tls else None

    def start(self) -> None:
        """Sweep the spool, listen, and return.

        Raises:
            OSError: the plain port is in use or the address not ours.
            SettingsError: the TLS port cannot be used, or no port is to be listened on.

        """
        if not self._settings.plain and not self._settings.tls.enabled:
            msg = "reception.plain: is false and reception.tls.enabled too; no sender could come, switch one of them on"
            raise SettingsError(msg)
        expect_defects()
        speak_in_codes()
        swept = self._spool.sweep()
        self._doorman = self._make_doorman()
        wanted = self._settings.fast_path == "auto"
        self._refusals = _self_test(self._spool) if wanted else ()
        self._fast = wanted and not self._refusals
        with contextlib.ExitStack() as undo:
            undo.callback(self._close_servers)
            if self.tls_files is not None:
                self._tls = self._make_tls_server(self.tls_files)
            if self._settings.plain:
                self._plain = self._make_server(AssociationServer, self._settings.port)
            self._threads = [server.serve_in_background() for server in self._servers()]
            undo.pop_all()
        _log.info(
            "reception.started",
            ae_title=self._settings.ae_title,
            port=self.port if self._plain else None,
            tls_port=self.tls_port,
            receive_path="own" if self._fast else "stock",
            swept=swept,
        )

    def stop(self, grace: float = 5.0) -> None:
        """Refuse new associations (transiently), let running ones finish for `grace` seconds, abort the rest.

        All of them at once: however many stay, it is over within four seconds more.
        """
        servers = self._servers()
        if not servers:
            return
        self._doorman.drain()
        deadline = time.monotonic() + grace
        while self._doorman.occupied() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._close_servers()
        for thread in self._threads:
            thread.join()
        lingering = [association for server in servers for association in server.active_associations]
        _end(lingering)
        _log.info("reception.stopped", aborted=len(lingering))

    def _servers(self) -> list[AssociationServer]:
        return [server for server in (self._plain, self._tls) if server is not None]

    def _close_servers(self) -> None:
        for server in self._servers():
            server.close()
        self._plain = self._tls = None

    def _commitment_handlers(self) -> list[tuple[Any, Callable[[Event], Any]]]:
        asked = self._commitment.handlers() if self._commitment else []
        told = self._events.handlers() if self._events else []
        only_told = [(evt.EVT_REQUESTED, _no_requests_for_commitment)] if told and not asked else []
        return [*asked, *told, *only_told]

    def _make_doorman(self) -> Doorman:
        return Doorman(self._settings, disk_low=self._disk.low, observer=self._observer)

    def _make_tls_server(self, files: TlsFiles) -> TlsAssociationServer:
        port = self._settings.tls.port
        try:
            server = self._make_server(TlsAssociationServer, port)
        except OSError as error:
            msg = f"reception.tls.port: {port} cannot be listened on ({error.strerror}); change it or stop who has it"
            raise SettingsError(msg) from error
        server.context_of = files.context
        server.handshake_timeout = self._settings.acse_timeout
        return server

    def _make_server(self, kind: type[_Server], port: int) -> _Server:
        ae = AE(self._settings.ae_title)
        ae.implementation_class_uid = uid.UID(IMPLEMENTATION_CLASS_UID)
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.maximum_pdu_size = self._settings.maximum_pdu_bytes
        ae.maximum_associations = _NO_STOCK_LIMIT  # the stock limit counts silent connections too; ours does not
        ae.acse_timeout = self._settings.acse_timeout
        ae.dimse_timeout = self._settings.dimse_timeout
        ae.network_timeout = self._settings.idle_timeout
        for sop_class, syntaxes in offered(self._settings):
            ae.add_supported_context(sop_class, list(syntaxes))
        if self._commitment or self._events:
            roles = {"scu_role": self._commitment is not None, "scp_role": self._events is not None}
            ae.add_supported_context(PUSH_MODEL, list(UNCOMPRESSED), **roles)
        server = ae.make_server(
            (self._settings.host, port),
            evt_handlers=[
                *self._doorman.handlers(),
                (evt.EVT_C_STORE, self._store.answer),
                *self._commitment_handlers(),
            ],
            server_class=kind,
        )
        if not isinstance(server, kind):  # `make_server` is annotated more widely than it behaves
            raise TypeError
        server.read_timeout = self._settings.dimse_timeout
        server.lobby = Lobby(self._settings)
        server.on_dropped = self._doorman.dropped
        server.on_broken = self._doorman.broken
        server.open_part = self._store.begin if self._fast else None
        return server


def _self_test(spool: Spool) -> tuple[str, ...]:
    """Why the own receive path may not serve. Shared storage that is away says nothing about it."""
    if not spool.shared:
        return transport_check.reasons_against(spool)
    with tempfile.TemporaryDirectory(prefix="osteon-self-test-") as folder:
        return transport_check.reasons_against(Spool(Path(folder)))


def _no_requests_for_commitment(event: Event) -> None:
    """EVT_REQUESTED: archives may report (SCP role, PS3.7 D.3.3.4), senders may not ask."""
    if event.assoc.is_rejected:  # the doorman comes first: nothing is negotiated any more
        return
    role = event.assoc.requestor.role_selection.get(PUSH_MODEL)
    if role is None or not role.scp_role:
        acceptor = event.assoc.acceptor
        acceptor.supported_contexts = [one for one in acceptor.supported_contexts if one.abstract_syntax != PUSH_MODEL]


def _end(associations: Sequence[Association]) -> None:
    """Abort the associations that would not end by themselves, and wait until their threads have gone."""
    established = [association for association in associations if association.is_established]
    for association in established:
        association.abort(block=False)
    _join(established, _LAST_WORD_SECONDS)
    for association in associations:
        connection = association.dul.socket.socket if association.dul.socket else None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes a thread that sits in a read
        association.dul.to_user_queue.put(None)  # wakes one that waits for an A-ASSOCIATE-RQ
    _join(associations, _END_SECONDS)


def _join(associations: Iterable[Association], seconds: float) -> None:
    """Wait for all of them together."""
    deadline = time.monotonic() + seconds
    for association in associations:
        association.join(max(0.0, deadline - time.monotonic()))
