"""Composition root 2: claim a due case, take it on step by step, record each outcome.

One worker process screens one image at a time in one thread; torch is loaded here and nowhere else in the running node.
A worker goes on with the next step of its case at once, and saves each state in a transaction that proves, by the fence
of the task, that the case is still its own.
"""

from __future__ import annotations

import datetime as dt
import functools
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from config.settings import Settings
from dicom_io.results import Installation
from dicom_io.spool import Spool
from model.screener import load_screener
from node import process
from node.case import Failed, Matched, Received, Reported, Screened
from node.delivery import begin_deliveries
from node.dispatch.local import Dispatcher
from node.errors import GiveUp
from node.pipeline import Pipeline, Step
from node.store import cases, jobs, outbox
from node.store.engine import Connection, Ledger
from node.store.installation import installation_identity
from node.store.jobs import Task
from node.tasks import ADVANCE, INFER_LANE, REPORT_VERSION

POLL_SECONDS = 0.1
"""How often a worker looks for images that another process received; about 2 % of a core when idle (measured)."""

log = structlog.get_logger()


def work(settings: Settings, *, ready: Callable[[], None] = lambda: None) -> None:
    """Run one worker until the process is told to stop, or the process that started it is gone.

    `ready` is called once the bundle has proved itself and work begins.

    Raises:
        BundleError: the model bundle is missing, changed or does not reproduce its golden results.
        LedgerError: the ledger cannot be used.

    """
    stop = process.stop_on_signals()
    process.stop_with_parent(stop)
    screener = load_screener(settings.model.bundle, minimum_age=settings.model.minimum_age)
    ledger = process.open_settings_ledger(settings)
    with ledger.begin() as c:
        namespace, serial = installation_identity(c)
    pipeline = Pipeline(
        ledger=ledger,
        spool=Spool(process.spool_directory(settings)),
        screener=screener,
        settings=settings,
        installation=Installation(namespace=namespace, serial=serial),
        node_version=importlib.metadata.version("osteon"),
        now=lambda: dt.datetime.now(dt.UTC),
    )
    worker = CaseWorker(ledger=ledger, pipeline=pipeline)
    dispatcher = Dispatcher(
        ledger, handlers={ADVANCE: worker.advance}, lanes={INFER_LANE: 1}, poll=POLL_SECONDS, on_dead=worker.bury
    )
    dispatcher.start()
    ready()
    log.info("worker.ready", model=screener.facts.bundle_id, simulated_training=screener.facts.simulated_training)
    stop.wait()
    dispatcher.stop(process.DRAIN_SECONDS)
    ledger.close()
    log.info("worker.stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseWorker:
    """Handles `ADVANCE` tasks."""

    ledger: Ledger
    pipeline: Pipeline

    def advance(self, task: Task) -> Callable[[Connection], None] | None:
        """Take the task's case on to Reported or to its end; the last change is made in the completion transaction.

        Raises:
            Retry: clinical data may still come.
            GiveUp: the object cannot be read, or its report would break a rule.
            LostLease: another worker took the case over; nothing of this one is kept.

        """
        with self.ledger.read() as c:
            case = cases.load(c, int(task.key))
        while isinstance(case, Received | Matched | Screened):
            step = self.pipeline.advance(case)
            log.info("case.step", case=case.case_id, state=type(step.case).__name__, why=step.why)
            if not isinstance(step.case, Matched | Screened):
                return functools.partial(save_step, step=step)
            with self.ledger.begin() as c:
                jobs.checkpoint(c, task)
                save_step(c, step=step)
            case = step.case
        return None

    def bury(self, c: Connection, task: Task, why: GiveUp) -> None:
        """Park the case of a dead task as Failed, for a person."""
        case = cases.load(c, int(task.key))
        if isinstance(case, Received | Matched | Screened):
            failed = Failed(case_id=case.case_id, source=case.source, code=why.code, detail=why.detail)
            cases.save(c, failed, why=str(why))
            log.error("case.failed", case=case.case_id, code=str(why.code), detail=why.detail)


def save_step(c: Connection, *, step: Step) -> None:
    """Record a step with its follow-up work: the report's bytes frozen, its deliveries opened, in one transaction."""
    cases.save(c, step.case, why=step.why)
    if not isinstance(step.case, Reported):
        return
    outbox.freeze_once(c, step.case.case_id, REPORT_VERSION, step.objects)
    begin_deliveries(c, step.case.case_id, step.case.destinations)
