"""Composition root 1: what talks to the network. Reception, clinical feeds, delivery and the clock; never the networks.

Reception begins first. A received image is a case with its first task in one transaction, and only then is it answered
with Success. This process imports no torch, so it starts in a second and stays small (architecture.md).
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import IO

import structlog

from config.settings import Settings, SettingsError
from dicom_io.errors import HeaderInvalid
from dicom_io.header import patient_identity, read_header
from dicom_io.spool import Spool
from dicom_io.storage_scp import StorageScp, StoredInstance, adopt
from node import process
from node.case import Source
from node.clinical_feed import ClinicalFeed
from node.delivery import Deliverer, direct_undirected
from node.dispatch.local import Dispatcher
from node.errors import GiveUp
from node.schedule import Clock
from node.store import case_patients, cases, jobs
from node.store.cases import Receipt
from node.store.engine import Connection, Ledger
from node.store.jobs import Task
from node.tasks import ADVANCE, DELIVER, FEED_LANE, INFER_LANE, PROCESS_FRAMES, advance_key, destination_lane

POLL_SECONDS = 0.1
"""How often the delivery lanes look for reports that a worker process has made."""
SENDERS_PER_DESTINATION = 2

log = structlog.get_logger()


def listen(settings: Settings) -> None:
    """Run the listener alone until SIGTERM or SIGINT; workers are started with `osteon work`."""
    stop = process.stop_on_signals()
    listener = Listener(settings)
    listener.start()
    stop.wait()
    listener.stop()


class Listener:
    """One node's ears and hands. Start it once, stop it once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        directory = settings.storage.data_dir
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = _sole_owner(directory)
        self._ledger: Ledger = process.open_settings_ledger(settings)
        self._spool = Spool(process.spool_directory(settings))
        self._feed = ClinicalFeed(self._ledger, settings, wake=lambda: self._dispatcher.wake(FEED_LANE))
        self._deliverer = Deliverer(ledger=self._ledger, settings=settings.delivery)
        lanes = {destination_lane(d.name): SENDERS_PER_DESTINATION for d in settings.delivery.destinations}
        self._dispatcher = Dispatcher(
            self._ledger,
            handlers={DELIVER: self._deliverer.deliver, PROCESS_FRAMES: self._feed.process_frames},
            lanes=lanes | {FEED_LANE: 1},
            poll=POLL_SECONDS,
            on_dead=self._bury,
        )
        self._scp = StorageScp(settings.reception, self._spool, self._record)
        self._clock = Clock(settings.clinical.csv, self._feed.poll_csv)

    def start(self) -> None:
        """Adopt what an earlier run stored without recording, then open every door.

        Raises:
            SettingsError: an address is in use or not ours; names the setting.

        """
        adopted = self._adopt_orphans()
        _bind(self._scp.start, "reception", self._settings.reception.port)
        _bind(self._feed.start, "clinical.mllp", self._settings.clinical.mllp.port)
        self._dispatcher.start()
        with self._ledger.begin() as c:
            directed = direct_undirected(c, self._settings.delivery.destinations)
        self._clock.start()
        log.info(
            "listener.ready",
            ae_title=self._settings.reception.ae_title,
            dicom_port=self.dicom_port,
            mllp_port=self.mllp_port,
            adopted=adopted,
            directed=directed,
        )

    @property
    def dicom_port(self) -> int:
        """TCP port of the Storage SCP."""
        return self._scp.port

    @property
    def mllp_port(self) -> int | None:
        """TCP port of the HL7 listener; None where it is switched off."""
        return self._feed.port

    def stop(self) -> None:
        """Refuse new work, finish what runs within the drain time, and release everything."""
        self._clock.stop()
        self._scp.stop()
        self._feed.stop()
        self._dispatcher.stop(process.DRAIN_SECONDS)
        self._ledger.close()
        self._lock.close()
        log.info("listener.stopped")

    def _record(self, stored: StoredInstance) -> None:
        """Open the case of a stored object, with its first task, in one transaction; returning means durable."""
        source = Source(
            reference=stored.reference,
            spool_file=stored.spool_file,
            sha256=stored.sha256,
            calling_ae=stored.calling_ae,
            received_at=stored.received_at,
        )
        patient_ids = self._patient_ids(stored.spool_file)
        with self._ledger.begin() as c:
            reception = cases.receive(c, source)
            if reception.receipt is Receipt.NEW:
                case_patients.register(c, reception.case_id, patient_ids)
                jobs.enqueue(c, ADVANCE, advance_key(reception.case_id), lane=INFER_LANE)
        _log_reception(reception, stored)

    def _patient_ids(self, spool_file: str) -> tuple[str, ...]:
        """Identifier values of the image, only to wake its case when clinical data come; none if unreadable."""
        try:
            identity = patient_identity(read_header(self._spool.path(spool_file)))
        except HeaderInvalid:
            return ()
        return tuple(identifier.value for identifier in identity.identifiers)

    def _adopt_orphans(self) -> int:
        """Record files stored before the process died; their senders were not answered and will come again."""
        with self._ledger.read() as c:
            known = cases.spool_files(c)
        adopted = 0
        for file in self._spool.orphans(known):
            try:
                self._record(adopt(self._spool, file))
                adopted += 1
            except HeaderInvalid as error:
                log.warning("spool.orphan_unreadable", file=file, error=str(error))
        return adopted

    def _bury(self, c: Connection, task: Task, why: GiveUp) -> None:
        match task.kind:
            case "deliver":
                self._deliverer.bury(c, task, why)
            case _:
                log.error("task.dead", kind=task.kind, key=task.key, error=str(why))


def _log_reception(reception: cases.Reception, stored: StoredInstance) -> None:
    facts = {
        "case": reception.case_id,
        "sop_instance_uid": stored.reference.sop_instance_uid,
        "from_ae": stored.calling_ae,
    }
    match reception.receipt:
        case Receipt.NEW:
            log.info("case.received", **facts)
        case Receipt.SAME:
            log.info("case.received_again", **facts)
        case Receipt.DIFFERS:
            log.error("case.same_uid_other_content", kept=stored.spool_file, **facts)


def _sole_owner(directory: Path) -> IO[str]:
    """Take the data directory for this process; the operating system gives it back however the process ends."""
    handle = (directory / "listener.lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        msg = f"storage.data_dir: {directory} is in use by another running node; stop it or choose another folder"
        raise SettingsError(msg) from error
    return handle


def _bind(start: Callable[[], None], group: str, port: int) -> None:
    try:
        start()
    except OSError as error:
        msg = (
            f"{group}.port: {port} cannot be listened on ({error.strerror}); stop the other program or change the port"
        )
        raise SettingsError(msg) from error
