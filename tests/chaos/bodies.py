"""What the campaigns run in processes of their own, and kill. Each ends by itself when the campaign is gone.

The listener is the product's own. The worker is the product's `CaseWorker` with a screener that answers at once: what
is tested is durability. The archive is stock pynetdicom, so that it shares no reception code with the node; it keeps
every object it is sent under its UID and digest, whole or not at all.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import threading
import uuid
from pathlib import Path

from pydicom.uid import RLELossless
from pynetdicom import AE, evt
from pynetdicom.presentation import DEFAULT_TRANSFER_SYNTAXES, StoragePresentationContexts
from support.node_parts import FixedScreener

from config.settings import Settings
from dicom_io.results import Installation
from dicom_io.spool import Spool
from node import listener as product_listener
from node import process
from node.dispatch.local import Dispatcher
from node.pipeline import Pipeline
from node.store.installation import installation_identity
from node.tasks import ADVANCE, INFER_LANE
from node.worker import POLL_SECONDS, CaseWorker


def listener(settings: Settings, log: Path) -> None:
    """The listener, until SIGTERM."""
    _set_up(log)
    product_listener.listen(settings)


def worker(settings: Settings, log: Path) -> None:
    """One worker, composed as `node.worker.work` does, with another screener."""
    _set_up(log)
    stop = process.stop_on_signals()
    ledger = process.open_settings_ledger(settings)
    with ledger.begin() as c:
        namespace, serial = installation_identity(c)
    pipeline = Pipeline(
        ledger=ledger,
        spool=Spool(process.spool_directory(settings)),
        screener=FixedScreener(),
        settings=settings,
        installation=Installation(namespace=namespace, serial=serial),
        node_version="chaos",
        now=lambda: dt.datetime.now(dt.UTC),
    )
    cases = CaseWorker(ledger=ledger, pipeline=pipeline)
    dispatcher = Dispatcher(
        ledger, handlers={ADVANCE: cases.advance}, lanes={INFER_LANE: 1}, poll=POLL_SECONDS, on_dead=cases.bury
    )
    dispatcher.start()
    stop.wait()
    dispatcher.stop(process.DRAIN_SECONDS)
    ledger.close()


def archive(folder: Path, port: int, log: Path) -> None:
    """A store-everything SCP; one file `<UID>_<SHA-256 of the dataset bytes>_<n>.dcm` for each object it took."""
    _set_up(log)
    folder.mkdir(parents=True, exist_ok=True)

    def keep(event: evt.Event) -> int:
        dataset = event.request.DataSet.getvalue()
        digest = hashlib.sha256(dataset).hexdigest()
        part = folder / f"{uuid.uuid4().hex}.tmp"
        part.write_bytes(event.encoded_dataset())
        part.replace(folder / f"{event.request.AffectedSOPInstanceUID}_{digest}_{uuid.uuid4().hex[:8]}.dcm")
        return 0x0000

    ae = AE("ARCHIVE")
    for context in StoragePresentationContexts:  # RLE too: an archive that does not take it gets the pages decompressed
        ae.add_supported_context(context.abstract_syntax, [*DEFAULT_TRANSFER_SYNTAXES, RLELossless])
    ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    process.stop_on_signals().wait()
    ae.shutdown()


def _set_up(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    process.configure_logging()
    threading.Thread(target=_end_with_campaign, daemon=True).start()


def _end_with_campaign() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
