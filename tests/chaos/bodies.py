"""What the campaigns run in processes of their own, and kill. Each ends by itself when the campaign is gone.

The listener is the product's own. The worker is the product's `CaseWorker` with a screener that answers at once, and by
the evidence: what is tested is durability.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import faulthandler
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from chaos import clock
from chaos.moody_archive import MoodyArchive
from support.reporting import EvidenceScreener

from config.settings import Settings
from dicom_io.results import Installation
from node import listener as product_listener
from node import places, process
from node.dispatch.hints import make_hints
from node.dispatch.local import Dispatcher
from node.pipeline import Pipeline
from node.shared_spool import open_spool, prove_spool, with_image
from node.store.errors import LedgerUnavailable
from node.store.installation import installation_identity
from node.tasks import ADVANCE, INFER_LANE
from node.worker import CaseWorker


def listener(settings: Settings, log: Path) -> None:
    """The listener, until SIGTERM."""
    _set_up(log)
    with _as_a_command():
        product_listener.listen(settings)


def worker(settings: Settings, log: Path) -> None:
    """One worker, until SIGTERM."""
    _set_up(log)
    with _as_a_command():
        _work(settings)


def _work(settings: Settings) -> None:
    """Composed as `node.worker.work` does, with another screener."""
    stop = process.stop_on_signals()
    ledger = places.open_settings_ledger(settings)
    with ledger.begin() as c:
        namespace, serial = installation_identity(c)
    hints = make_hints(settings, ledger)
    spool = open_spool(settings)
    prove_spool(spool, ledger)
    pipeline = Pipeline(
        ledger=ledger,
        spool=spool,
        screener=EvidenceScreener(),
        settings=settings,
        installation=Installation(namespace=namespace, serial=serial),
        node_version="chaos",
        now=lambda: dt.datetime.now(dt.UTC),
    )
    cases = CaseWorker(ledger=ledger, pipeline=pipeline)
    dispatcher = Dispatcher(
        ledger,
        handlers={ADVANCE: with_image(cases.advance, spool, ledger)},
        lanes={INFER_LANE: 1},
        poll=settings.fleet.poll,
        on_dead=cases.bury,
        hints=hints,
    )
    dispatcher.start()
    hints.start({INFER_LANE})
    stop.wait()
    dispatcher.stop(process.DRAIN_SECONDS)
    hints.stop()
    ledger.close()


def archive(folder: Path, port: int, seed: int, node_port: int, log: Path) -> None:
    """The archive, until SIGTERM."""
    _set_up(log)
    server = MoodyArchive(folder, seed, node_port).serve(port)
    process.stop_on_signals().wait()
    server.shutdown()


@contextlib.contextmanager
def _as_a_command() -> Iterator[None]:
    """A process whose database goes away while it starts ends with one line, and whoever keeps it starts it again."""
    try:
        yield
    except LedgerUnavailable as error:
        sys.exit(str(error))


def _set_up(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    faulthandler.register(signal.SIGUSR1)  # where every thread is, into the log: see `Hospital.say_where`
    clock.follow(log.parent)
    process.configure_logging()
    threading.Thread(target=_end_with_campaign, daemon=True).start()


def _end_with_campaign() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
