"""Composition root 2: claim a due case, take it on step by step, record each outcome.

One worker process screens one image at a time in one thread. The networks are loaded here and nowhere else in the
running node; where OpenVINO runs them, torch is not even imported.
A worker goes on with the next step of its case at once, and saves what it did in a transaction that proves, by the
fence of the task, that the case is still its own: before the report is written, and before a wait.
"""

from __future__ import annotations

import datetime as dt
import functools
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from config.settings import Settings
from dicom_io.report import ReportOrder, Write, write_here
from dicom_io.results import Installation
from dicom_io.spool import Spool
from model.engines import Engines
from model.screener import Screener, load_screener
from node import places, process
from node.active_model import activation, active_bundle, note, refuse_simulated_product, wait_for_change
from node.amendment import ReviewCode
from node.case import Delivered, Failed, ImageScored, Matched, NotApplicable, Reported, Screened, Withdrawn
from node.cores import cores
from node.delivery_record import begin_deliveries
from node.dispatch.hints import Hints, make_hints
from node.dispatch.local import Dispatcher
from node.engine_choice import half_from, wanted_engines
from node.engine_proof import EngineProof, tell_engine
from node.errors import FailureCode, GiveUp, Retry
from node.limits import bounded
from node.pipeline import Pipeline, Step, UnderWay
from node.reconsider import Reconsideration, Weighed
from node.report_writer import ReportWriter
from node.results_out import open_results
from node.shared_spool import CopiesWatch, open_spool, prove_spool, with_image
from node.store import alerts, cases, image_scores, jobs, outbox, report_objects, report_versions, reviews
from node.store.alerts import AlertKind
from node.store.engine import Connection, Ledger
from node.store.installation import installation_identity
from node.store.jobs import Task
from node.store.notices import foretell
from node.tasks import ADVANCE, INFER_LANE, advance_key
from node.waking import Waking
from node.withdrawal import Withdrawing, not_stated, save_statement

_LOOK_SECONDS: Final = 0.5
"""Between looks whether to stop, while nothing may begin yet."""

log = structlog.get_logger()


def work(
    settings: Settings,
    *,
    begin: Callable[[float], bool] = lambda _seconds: True,
    ready: Callable[[], None] = lambda: None,
) -> bool:
    """Run one worker until the process is told to stop, or the process that started it is gone.

    The networks are loaded at once; ledger and spool are opened when `begin`, which waits so many seconds, is true.
    `ready` is called once the bundle has proved itself and work begins. True: another bundle was activated, or a faster
    engine has proved itself, and a new process is to take this one's place, without what this one has loaded.

    Raises:
        BundleError: the model bundle is missing, changed or does not reproduce its golden results.
        SettingsError: the activated bundle is gone or was exchanged, or may not be used as a product.
        LedgerError: the ledger cannot be used.

    """
    stop = process.stop_on_signals()
    process.stop_with_parent(stop)
    serving = activation(settings)
    engines = wanted_engines(settings, wait=False)
    screener = _loaded(settings, engines)
    while not begin(_LOOK_SECONDS):
        if stop.is_set():
            return False
    ledger = places.open_settings_ledger(settings)
    with ledger.begin() as c:
        tell_engine(c, screener.refused)
        namespace, serial = installation_identity(c)
        note(c, serving)
        woken = Waking(settle=settings.clinical.amend_settle).by_code_table(c, settings.clinical)
    hints = make_hints(settings, ledger)
    spool = open_spool(settings)
    prove_spool(spool, ledger)
    pipeline = _pipeline(settings, ledger, spool, screener, Installation(namespace=namespace, serial=serial))
    write = ReportWriter().write if cores() > 1 else write_here  # the writer ends with this process
    dispatcher = _dispatcher(settings, pipeline, hints, write)
    dispatcher.start()
    hints.start({INFER_LANE})
    ready()
    facts, engine = screener.facts, str(screener.bundle.runtime.facts())
    log.info(
        "worker.ready", model=facts.bundle_id, simulated_training=facts.simulated_training, engine=engine, woken=woken
    )
    proof = EngineProof(engines, screener.bundle.folder, ledger) if screener.unproven else None
    renew = wait_for_change(stop, settings, serving, also=_looks(proof, CopiesWatch(spool, settings)))
    dispatcher.stop(process.DRAIN_SECONDS)
    hints.stop()
    ledger.close()
    log.info("worker.stopped", renewed=renew)
    return renew


def _looks(proof: EngineProof | None, copies: CopiesWatch) -> Callable[[], bool]:
    """What is looked at beside the work; true once a faster engine has proved itself."""

    def look() -> bool:
        copies.look()
        return proof is not None and proof.admitted()

    return look


def _loaded(settings: Settings, engines: Engines) -> Screener:
    with process.starting():
        screener = load_screener(
            active_bundle(settings),
            minimum_age=settings.model.minimum_age,
            prevalence=settings.model.site_prevalence,
            engines=engines,
        )
    facts = screener.facts
    refuse_simulated_product(settings.report, simulated=facts.simulated_training, bundle=facts.bundle_id)
    return screener


def _pipeline(
    settings: Settings, ledger: Ledger, spool: Spool, screener: Screener, installation: Installation
) -> Pipeline:
    return Pipeline(
        ledger=ledger,
        spool=spool,
        screener=screener,
        settings=settings,
        installation=installation,
        node_version=importlib.metadata.version("osteon"),
        now=lambda: dt.datetime.now(dt.UTC),
        narrowed_days=screener.lookback_days,
        half_from=half_from(settings, screener.bundle),
    )


def _dispatcher(settings: Settings, pipeline: Pipeline, hints: Hints, write: Write) -> Dispatcher:
    """One image at a time, each within its limits, once it is on this host."""
    worker = CaseWorker(ledger=pipeline.ledger, pipeline=pipeline, write=write)
    return Dispatcher(
        pipeline.ledger,
        handlers={ADVANCE: with_image(bounded(worker.advance, settings.model), pipeline.spool, pipeline.ledger)},
        lanes={INFER_LANE: 1},
        lease=settings.fleet.lease,
        poll=settings.fleet.poll,
        on_dead=worker.bury,
        hints=hints,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseWorker:
    """Handles `ADVANCE` tasks."""

    ledger: Ledger
    pipeline: Pipeline
    write: Write = write_here
    """Writes the SR of a case while no other is waiting."""

    def advance(self, task: Task) -> Callable[[Connection], None] | None:
        """Take the task's case on to Reported or to its end, or weigh what came after its report.

        The last change is made in the completion transaction.

        Raises:
            Retry: clinical data may still come.
            GiveUp: the object cannot be read, or its report would break a rule.
            LostLease: another worker took the case over; nothing of this one is kept.

        """
        with self.ledger.read() as c:
            case = cases.load(c, int(task.key))
        if isinstance(case, UnderWay):
            return self._take_on(task, case)
        if isinstance(case, Reported | Delivered):
            weighed = Reconsideration(pipeline=self.pipeline).weigh(case)
            if weighed is not None:
                return functools.partial(save_unless_withdrawn, task=task, case=case, weighed=weighed)
        if isinstance(case, Withdrawn) and not case.stated:
            return functools.partial(save_statement, statement=Withdrawing(pipeline=self.pipeline).state(case))
        return None

    def _take_on(self, task: Task, case: UnderWay) -> Callable[[Connection], None]:
        """Take the steps up to a wait or the end; those before the report, which takes its time, are saved together.

        Where no other image waits for a worker, more than this process has time for the report: it is written by two,
        and the archive is called before it is done. Where one does, that would only cost.
        """
        taken: list[Step] = []
        write: Write = write_here
        try:
            while True:
                step = self.pipeline.advance(case, next((one.image for one in taken if one.image), None), write)
                log.info("case.step", case=case.case_id, state=type(step.case).__name__, why=step.why)
                taken.append(step)
                if not isinstance(step.case, ImageScored | Matched | Screened):
                    return functools.partial(save_last_steps, task=task, steps=tuple(taken))
                if isinstance(step.case, Screened):
                    write = write_here if self._save(task, taken) else self._hurried
                    taken.clear()
                case = step.case
        except (Retry, GiveUp):
            if taken:
                self._save(task, taken)
            raise

    def _save(self, task: Task, steps: Sequence[Step]) -> bool:
        """Record steps on the way; whether another image waits for a worker."""
        with self.ledger.begin() as c:
            jobs.checkpoint(c, task)
            for step in steps:
                save_step(c, task=task, step=step)
            return jobs.any_due(c, INFER_LANE)

    def _hurried(self, order: ReportOrder) -> Callable[[], bytes]:
        """Write as `self.write`; once the SR is there and has to be checked yet, foretell the report.

        Not before: to call an archive takes as long as to write half an SR, and would be done on the same core.
        """
        part10 = self.write(order)

        def then() -> bytes:
            found = part10()
            foretell(self.ledger, self.pipeline.destinations)
            return found

        return then

    def bury(self, c: Connection, task: Task, why: GiveUp) -> None:
        """Park the case of a dead task as Failed; one whose report stands keeps it, and a person must look."""
        case = cases.load(c, int(task.key))
        if isinstance(case, UnderWay):
            failed = Failed(case_id=case.case_id, source=case.source, code=why.code, detail=why.detail)
            cases.save(c, failed, why=str(why))
            if why.code is FailureCode.REPORT_INVALID:
                alerts.raise_alert(c, AlertKind.REPORT_INVALID, f"case {case.case_id}", str(why))
            log.error("case.failed", case=case.case_id, code=str(why.code), detail=why.detail)
        elif isinstance(case, Reported | Delivered):
            _ask_for_review(c, case.case_id, ReviewCode.AMENDMENT_FAILED, f"not amended: {why}")
        elif isinstance(case, Withdrawn):
            not_stated(c, case, why)


def save_step(c: Connection, *, task: Task, step: Step) -> None:
    """Record a step with its follow-up work: the report's bytes frozen, its deliveries opened, in one transaction."""
    case = step.case
    cases.save(c, case, why=step.why)
    if step.conflict:
        alerts.raise_alert(c, AlertKind.MATCH_CONFLICT, f"case {case.case_id}", step.conflict)
    if isinstance(case, Reported | Delivered | NotApplicable):  # perhaps after a person's retry
        alerts.settle(c, AlertKind.REPORT_INVALID, f"case {case.case_id}")
    if step.image is not None:
        image_scores.keep(c, step.image)
    if step.stirred_at is not None and not jobs.moved(c, task):
        reviews.weighed(c, case.case_id, up_to=step.stirred_at)
    if step.basis is not None and isinstance(case, Reported | Delivered):
        report_versions.record(c, case.case_id, case.version, step.basis)
    if isinstance(case, Reported):
        report_objects.freeze_once(c, case.case_id, case.version, step.objects)
        begin_deliveries(c, case.case_id, case.version, case.destinations)
        open_results(c, case.case_id, case.version, step.receivers)
    if isinstance(case, NotApplicable) and step.objects:
        report_objects.freeze_once(c, case.case_id, 1, step.objects)
        begin_deliveries(c, case.case_id, 1, step.destinations)


def save_last_steps(c: Connection, *, task: Task, steps: Sequence[Step]) -> None:
    """Record the steps a case ends its way with; what was told since it was matched and not looked at is weighed next.

    A worker that died after the match has left no other trace of it: the case goes on where it stood.
    """
    for step in steps:
        save_step(c, task=task, step=step)
    ended = steps[-1].case
    case_id = ended.case_id
    if isinstance(ended, Reported) and reviews.pending(c, case_id).stirred_at is not None:
        jobs.touch(c, ADVANCE, advance_key(case_id), lane=INFER_LANE)


def save_unless_withdrawn(c: Connection, *, task: Task, case: Reported | Delivered, weighed: Weighed) -> None:
    """Record what weighing brought, unless a person withdrew the report meanwhile: then it is over with it."""
    cases.lock_case(c, case.case_id)
    if not isinstance(cases.load(c, case.case_id), Withdrawn):
        save_weighed(c, task=task, case=case, weighed=weighed)


def save_weighed(c: Connection, *, task: Task, case: Reported | Delivered, weighed: Weighed) -> None:
    """Record what weighing brought. An amendment that names too few or too many predecessors is built anew."""
    case_id = case.case_id
    if weighed.amended is not None:
        cases.lock_case(c, case_id)  # from here on no earlier version begins to be sent
        if report_versions.released(c, case_id) != weighed.released:
            jobs.touch(c, ADVANCE, advance_key(case_id), lane=INFER_LANE)
            return
        outbox.cancel_before(c, case_id, case.version + 1)
        save_step(c, task=task, step=weighed.amended)
        reviews.lift(c, case_id)
        alerts.settle(c, AlertKind.REVIEW, f"case {case_id}")
        log.info("case.amended", case=case_id, version=case.version + 1, why=weighed.amended.why)
    if weighed.image is not None:
        image_scores.keep(c, weighed.image)
    if not jobs.moved(c, task):  # else what came while this was weighed would count as weighed with it
        reviews.weighed(c, case_id, up_to=weighed.stirred_at)
    if weighed.settled:
        reviews.settle(c, case_id, weighed.settled)
    if weighed.review is not None:
        _ask_for_review(c, case_id, weighed.review, weighed.remark)
    elif weighed.remark:
        cases.note(c, case_id, weighed.remark)
    if weighed.invalid:
        alerts.raise_alert(c, AlertKind.REPORT_INVALID, f"case {case_id}", weighed.remark)
    if weighed.conflict:
        alerts.raise_alert(c, AlertKind.MATCH_CONFLICT, f"case {case_id}", weighed.conflict)


def _ask_for_review(c: Connection, case_id: int, code: ReviewCode, remark: str) -> None:
    """Flag a reported case for a person, with alert and history."""
    reviews.flag(c, case_id, code)
    alerts.raise_alert(c, AlertKind.REVIEW, f"case {case_id}", code)
    cases.note(c, case_id, f"for review: {code}" + (f" ({remark})" if remark else ""))
    log.warning("case.review", case=case_id, code=str(code))
