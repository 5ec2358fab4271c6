"""Composition root 1: what talks to the network. Reception, clinical feeds, delivery and the clock; never the networks.

Reception begins first. A received image is a case with its first task in one transaction, and only then is it answered
with Success. This process imports no torch, so it starts in a second and stays small (architecture.md).
"""

from __future__ import annotations

import datetime as dt
import errno
import functools
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from config.code_file import code_table
from config.settings import Settings, SettingsError
from dicom_io.commitment_scp import CommitmentScp
from dicom_io.commitment_scu import CommitmentEvents
from dicom_io.ready_associations import ReadyAssociations
from dicom_io.storage_scp import StorageScp
from node import breaker, places, process
from node.audit import AuditTrail
from node.breaker import Pace, Prober, lane_flows, watch_removed
from node.certificate_watch import CertificateWatch
from node.clinical_feed import ClinicalFeed
from node.commitment import Committer, record_request
from node.contacts import ContactBook
from node.data_directory import sole_owner
from node.delivery import Deliverer
from node.delivery_record import direct_undirected
from node.disk_watch import DiskWatch
from node.dispatch.hints import NoHints, make_hints
from node.dispatch.local import Dispatcher
from node.drift import watch_medians
from node.errors import GiveUp
from node.foretold import Foretold
from node.housekeeping import INBOX, MEDIANS, RECONCILE, RETENTION, SPOOL, Housekeeper
from node.proof import Prover, record_event, wants_events
from node.reconcile import Reconciler
from node.registrar import Registrar
from node.results_out import ResultSender, watch_removed_receivers
from node.retention import Keeper, purge_and_tell, tell
from node.schedule import Clock
from node.shared_spool import SpoolWatch, open_spool, prove_spool, with_spool
from node.store import alerts
from node.store.alerts import AlertKind
from node.store.engine import Connection, Ledger
from node.store.jobs import Task
from node.tasks import (
    COMMITMENT_LANE,
    DELIVER,
    HOUSEKEEPING,
    HOUSEKEEPING_LANE,
    INFER_LANE,
    PROBE,
    PROBE_LANE,
    PROVE,
    REPORT_COMMITMENT,
    SEND_RESULT,
    destination_lane,
    result_lane,
)

CHORES_POLL_SECONDS = 5.0
"""How often it is looked whether somebody asked for a daily job; nobody waits for one, so it need not cost more."""
SENDERS_PER_DESTINATION = 2
PROBERS = 2
"""Several destinations that are away at once delay each other's probe a little, and nothing else."""
COMMITMENT_REPORTERS = 2
"""One requestor that does not answer delays the others less."""

log = structlog.get_logger()


def listen(settings: Settings) -> None:
    """Run the listener alone until SIGTERM or SIGINT; workers are started with `osteon work`."""
    process.bound_arenas()
    stop = process.stop_on_signals()
    with process.starting():
        listener = Listener(settings)
        listener.start()
    stop.wait()
    listener.stop()


class Listener:
    """One node's ears and hands. Start it once, stop it once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        directory = settings.storage.data_dir
        self._lock = sole_owner(directory)
        self._ledger: Ledger = places.open_settings_ledger(settings)
        self._spool = open_spool(settings)
        prove_spool(self._spool, self._ledger)
        self._inbox: Ledger = places.open_settings_inbox(settings)
        self._feed = ClinicalFeed(self._ledger, self._inbox, settings)
        destinations = settings.delivery.destinations
        self._ready = ReadyAssociations(SENDERS_PER_DESTINATION)
        self._deliverer = Deliverer(
            ledger=self._ledger,
            ready=self._ready,
            settings=settings.delivery,
            preference=settings.report.sr_classes,
            paces={d.name: Pace(settings.delivery.recovery_rate) for d in destinations},
        )
        self._events = CommitmentEvents(functools.partial(record_event, self._ledger))
        self._prover = Prover(ledger=self._ledger, settings=settings.delivery, events=self._events)
        self._audit = AuditTrail(directory / "audit")
        self._commitment = CommitmentScp(functools.partial(record_request, self._ledger))
        self._committer = Committer(
            ledger=self._ledger,
            spool=self._spool,
            settings=settings,
            report_here=self._commitment.report_here,
            audit=self._audit,
        )
        self._results = ResultSender(
            ledger=self._ledger, settings=settings.results, spool=self._spool, zone=settings.site.zone
        )
        self._keeper = Keeper(
            ledger=self._ledger, spool=self._spool, settings=settings, now=lambda: dt.datetime.now(dt.UTC)
        )
        self._registrar = Registrar(ledger=self._ledger, spool=self._spool, audit=self._audit)
        self._hints = make_hints(settings, self._ledger)
        self._housekeeper = Housekeeper(ledger=self._ledger, work=self._daily(), hourly=self._hourly())
        self._dispatcher = self._make_dispatcher()
        self._chores = self._make_chores()
        self._contacts = ContactBook(self._ledger, self._audit)
        self._scp = StorageScp(
            settings.reception,
            self._spool,
            self._registrar.record,
            self._contacts,
            self._commitment if settings.reception.commitment else None,
            self._events if wants_events(destinations) else None,
        )
        self._certificates = self._watch_certificates()
        self._clock = self._make_clock()

    def start(self) -> None:
        """Adopt what an earlier run stored without recording, then open every door.

        From a spool that other listeners share it is adopted later, once nobody can be about to record it.

        Raises:
            SettingsError: an address is in use or not ours; names the setting.

        """
        adopted = 0 if self._spool.shared else self._registrar.adopt_orphans()
        self._contacts.start()
        reception, mllp = self._settings.reception, self._settings.clinical.mllp
        _bind(self._scp.start, "reception", host=reception.host, port=reception.port)
        _bind(self._feed.start, "clinical.mllp", host=mllp.host, port=mllp.port)
        self._dispatcher.start()
        self._hints.start({INFER_LANE, *_lanes(self._settings)})
        with self._ledger.begin() as c:
            directed = direct_undirected(c, self._settings.delivery.destinations)
            watch_removed(c, (d.name for d in self._settings.delivery.destinations))
            watch_removed_receivers(c, {r.name for r in self._settings.results.receivers})
            breaker.keep_asking(c, self._settings.delivery)
            alerts.keep(c, AlertKind.FAST_PATH_REFUSED, "reception", "; ".join(self._scp.fast_path_refused))
        self._clock.start()
        self._housekeeper.ask_daily()
        self._housekeeper.ask_hourly()
        self._chores.start()
        certificate_days, hl7_certificate_days = (one.remind() for one in self._certificates)
        log.info(
            "listener.ready",
            ae_title=self._settings.reception.ae_title,
            dicom_port=self.dicom_port,
            dicom_tls_port=self._scp.tls_port,
            certificate_days=certificate_days,
            hl7_certificate_days=hl7_certificate_days,
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
        self._keeper.stopping.set()
        self._clock.stop()
        _at_once(
            self._scp.stop,
            self._feed.stop,
            lambda: self._dispatcher.stop(process.DRAIN_SECONDS),
            lambda: self._chores.stop(process.DRAIN_SECONDS),
        )
        self._hints.stop()
        self._ready.close()
        self._contacts.stop()
        self._inbox.close()
        self._ledger.close()
        self._lock.close()
        log.info("listener.stopped")

    def _make_dispatcher(self) -> Dispatcher:
        """What brings results to others."""
        return Dispatcher(
            self._ledger,
            handlers={
                DELIVER: self._deliverer.deliver,
                PROVE: self._prover.prove,
                PROBE: Prober(ledger=self._ledger, settings=self._settings.delivery).probe,
                SEND_RESULT: with_spool(self._results.send, self._spool),
                REPORT_COMMITMENT: with_spool(self._committer.report, self._spool),
            },
            lanes=_lanes(self._settings),
            lease=self._settings.fleet.lease,
            poll=self._settings.fleet.poll,
            on_dead=self._bury,
            max_crashes=None,  # frozen bytes end no process; only an administrator or the host does
            gate=lane_flows,
            hints=Foretold(hints=self._hints, ledger=self._ledger, settings=self._settings.delivery, ready=self._ready),
        )

    def _make_chores(self) -> Dispatcher:
        """What keeps house. No hint wakes it: every commit would, to find nothing."""
        return Dispatcher(
            self._ledger,
            handlers={HOUSEKEEPING: self._housekeeper.do},
            lanes={HOUSEKEEPING_LANE: 1},
            lease=self._settings.fleet.lease,
            poll=CHORES_POLL_SECONDS,
            on_dead=self._bury,
            max_crashes=None,  # a host that restarts often must not end them
            hints=NoHints(),
        )

    def _make_clock(self) -> Clock:
        return Clock(
            self._settings.clinical.csv,
            self._feed.poll_csv,
            hourly=(self._housekeeper.ask_daily, self._housekeeper.ask_hourly, *self._own_files()),
            daily=lambda: [one.remind() for one in self._certificates],
            watches=self._watches(),
        )

    def _watches(self) -> tuple[Callable[[], None], ...]:
        disk = DiskWatch(self._spool, self._settings.reception, self._ledger)
        looks = (disk.look, *(one.look for one in self._certificates))
        return (*looks, SpoolWatch(self._spool, self._ledger).look) if self._spool.shared else looks

    def _watch_certificates(self) -> tuple[CertificateWatch, CertificateWatch]:
        """Of DICOM and of HL7."""
        reception, mllp = self._settings.reception.tls, self._settings.clinical.mllp.tls
        host = socket.gethostname()[:50] if self._spool.shared else ""
        return (
            CertificateWatch(reception.where, self._scp.tls_files, self._ledger, host=host),
            CertificateWatch(mllp.where, self._feed.tls_files, self._ledger, host=host),
        )

    def _own_files(self) -> tuple[Callable[[], None], ...]:
        """What each host of a fleet lets go by itself; alone, retention does it all."""
        return (lambda: tell(self._keeper.purge_files(), self._audit),) if self._spool.shared else ()

    def _hourly(self) -> dict[str, Callable[[], object]]:
        """What is done once an hour, by whichever host."""
        codes = self._settings.clinical.codes.file
        work: dict[str, Callable[[], object]] = {
            INBOX: self._feed.purge,
            MEDIANS: lambda: watch_medians(self._ledger, code_table(codes)),
        }
        return work | ({SPOOL: self._registrar.clear_up} if self._spool.shared else {})

    def _daily(self) -> dict[str, Callable[[], None]]:
        """What is done once a day, by whichever host."""
        retain = {RETENTION: lambda: purge_and_tell(self._keeper, self._audit)}
        if not self._settings.reconciliation.archive:
            return retain
        reconciler = Reconciler(ledger=self._ledger, settings=self._settings, now=lambda: dt.datetime.now(dt.UTC))
        return retain | {RECONCILE: reconciler.nightly}

    def _bury(self, c: Connection, task: Task, why: GiveUp) -> None:
        match task.kind:
            case "deliver":
                self._deliverer.bury(c, task, why)
            case "prove":
                self._prover.bury(c, task, why)
            case "probe":  # nobody would ask any more: let the deliveries find out by themselves
                breaker.release(c, task.key, dt.datetime.now(dt.UTC))
            case "send-result":
                self._results.bury(c, task, why)
            case "housekeeping":
                self._housekeeper.bury(c, task, why)
            case _:
                log.error("task.dead", kind=task.kind, key=task.key, error=str(why))


def _at_once(*stops: Callable[[], object]) -> None:
    """Stop what need not wait for each other: the longest counts, not the sum. Raises what one raised, after all."""
    with ThreadPoolExecutor(len(stops), "stop") as pool:
        for one in [pool.submit(stop) for stop in stops]:
            one.result()


def _lanes(settings: Settings) -> dict[str, int]:
    """Threads by lane."""
    lanes = {destination_lane(d.name): SENDERS_PER_DESTINATION for d in settings.delivery.destinations}
    commitment = {COMMITMENT_LANE: COMMITMENT_REPORTERS} if settings.reception.commitment else {}
    results = {result_lane(r.name): 1 for r in settings.results.receivers}
    return lanes | commitment | results | ({PROBE_LANE: PROBERS} if lanes else {})


def _bind(start: Callable[[], None], group: str, *, host: str, port: int) -> None:
    try:
        start()
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            key, remedy = f"{group}.port: {port} on {host}", "stop the other program or change the port"
        else:
            key, remedy = f"{group}.host: {host}", "write an address of this machine"
        msg = f"{key} cannot be listened on ({error.strerror}); {remedy}"
        raise SettingsError(msg) from error
