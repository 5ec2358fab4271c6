"""The CSV feed of a running node: the scheduler's job claims files, one thread imports them.

The job never imports, so that a large file does not keep the next look from happening; the thread never claims. What
each file has come to is in the ledger and in the folder it lies in, so a restart loses nothing.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from config.codes import CodeTable
from config.settings import Settings
from node.csv_intake import LedgerSink
from node.facts import Change
from node.feeds.csv_drop import DropFolder
from node.feeds.csv_import import Importer, Outcome, Stopped
from node.issuers import Issuers
from node.store import alerts, csv_files
from node.store.alerts import AlertKind
from node.store.csv_files import CsvState
from node.store.engine import Connection, Ledger
from node.store.errors import LedgerUnavailable

FAILED_LOOKS = 3
"""In a row, before a person is told: a share may be gone for a moment."""
_SUBJECT = "drop folder"
_WHERE = {CsvState.RELEASED: "processing", CsvState.REJECTED: "rejected", CsvState.DONE: "done"}
"""Where a held file goes once it is not held any more."""

log = structlog.get_logger()


class CsvFeed:
    """The drop folder of one listener. Without a folder in the settings it does nothing.

    Args:
        ledger: where rows go.
        settings: of the node.
        codes: the site's code table.
        changed: told, in the transaction that did it, what changed.

    """

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        codes: CodeTable,
        changed: Callable[[Connection, Sequence[Change]], object],
    ) -> None:
        clinical = settings.clinical
        self._ledger = ledger
        self._stop = threading.Event()
        self._place = clinical.csv.folder
        self._folder = DropFolder(clinical.csv, self._stop.wait) if clinical.csv.folder else None
        sink = LedgerSink(ledger, changed, trusted=clinical.trusted_issuers)
        issuers = Issuers(listed=clinical.issuers)
        self._importer = Importer(clinical.csv, codes, issuers, settings.site.zone, sink, self._pause)
        self._queue: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._taken: set[str] = set()
        self._failed_looks = 0
        self._told: str | None = None
        self._thread = threading.Thread(target=self._run, name="csv-import", daemon=True)

    def start(self) -> None:
        """Start the import thread."""
        if self._folder is not None:
            self._thread.start()

    def stop(self) -> None:
        """Finish the batch that is being written; the rest of its file waits for the next start."""
        self._stop.set()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def poll(self) -> None:
        """Claim what has settled, and what a person decided on, and queue it. Called by the scheduler."""
        if self._folder is None or self._stop.is_set():
            return
        try:
            self._tell(self._look(self._folder))
        except LedgerUnavailable as error:
            log.warning("csv_poll_failed", error=type(error).__name__)

    def _look(self, folder: DropFolder) -> str | None:
        """Queue what there is; why a person must see to the folder, empty where all is well, None while unsure."""
        try:
            carry_out_decisions(folder, self._ledger)
            for path in folder.claim():
                if path.name not in self._taken:
                    self._taken.add(path.name)
                    self._queue.put(path)
        except OSError as error:  # its own text names the file, which may name a patient; the folder is a setting
            self._failed_looks += 1
            why = error.strerror or type(error).__name__
            log.warning("csv_poll_failed", folder=str(self._place), error=type(error).__name__, why=why)
            return f"{self._place}: {why}" if self._failed_looks >= FAILED_LOOKS else None
        self._failed_looks = 0
        return ""

    def _tell(self, why: str | None) -> None:
        if why is not None and why != self._told:
            with self._ledger.begin() as c:
                alerts.keep(c, AlertKind.CSV_FOLDER, _SUBJECT, why)
            self._told = why

    def _run(self) -> None:
        while (path := self._queue.get()) is not None and not self._stop.is_set():
            try:
                self._take(path)
            except (Stopped, LedgerUnavailable, OSError) as error:  # it stays claimed, and the next look takes it
                log.warning("csv_import_interrupted", error=type(error).__name__)
            except Exception as error:  # noqa: BLE001 - outermost loop: one file must not end the feed
                log.error("csv_import_broke", error=type(error).__name__)  # noqa: TRY400 - its text might hold a value
                self._set_aside(path)
            finally:
                self._taken.discard(path.name)

    def _take(self, path: Path) -> None:
        assert self._folder is not None  # noqa: S101 - the thread runs with a folder only
        put_away(self._folder, path, self._importer.take(path))

    def _set_aside(self, path: Path) -> None:
        assert self._folder is not None  # noqa: S101 - as above
        try:
            put_away(self._folder, path, self._importer.broke())
        except Exception as error:  # noqa: BLE001 - as in `_run`: it stays claimed, and the next look takes it
            log.warning("csv_import_interrupted", error=type(error).__name__)

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped


def put_away(folder: DropFolder, path: Path, outcome: Outcome) -> None:
    """Move a file that was taken to where its outcome belongs."""
    if outcome.where == "held" and outcome.import_id is not None:
        folder.hold(path, outcome.import_id, outcome.problems)
    else:
        folder.finish(path, outcome.where, outcome.problems)


def carry_out_decisions(folder: DropFolder, ledger: Ledger) -> None:
    """Move held files on that a person released or rejected, or that came again and went through."""
    for import_id in folder.held():
        with ledger.read() as c:
            state = csv_files.state_of(c, import_id)
        if state in _WHERE:
            folder.release(import_id, _WHERE[state])
