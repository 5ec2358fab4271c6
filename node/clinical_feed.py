"""The clinical feeds of a running node: MLLP to the inbox, inbox and drop folder to facts, waiting cases woken.

An HL7 message is answered AA only after its bytes are committed to the inbox; what it says is worked out afterwards, in
the order of receipt, by one task of the ledger that a crash merely repeats.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import structlog

from config.codes import shipped
from config.settings import Settings, SettingsError
from model.domain import Identifier
from node import intake
from node.feeds import csv_drop, inbox
from node.feeds.csv_rows import REQUIRED_COLUMNS
from node.feeds.hl7_messages import Rules
from node.feeds.mllp import MllpServer, NotStored
from node.store import case_patients, clinical, jobs
from node.store.engine import Connection, Ledger
from node.store.errors import LedgerUnavailable
from node.store.jobs import Task
from node.tasks import ADVANCE, FEED_LANE, PROCESS_FRAMES, advance_key

QUEUE_KEY: Final = "inbox"
"""Key of the one `PROCESS_FRAMES` task: there is one queue, worked off in order."""

log = structlog.get_logger()


class ClinicalFeed:
    """Both feeds of one listener. `wake` is called when the inbox holds a new message."""

    def __init__(self, ledger: Ledger, settings: Settings, wake: Callable[[], None]) -> None:
        self._ledger = ledger
        self._settings = settings.clinical
        self._rules = reading_rules(settings)
        self._wake = wake
        self._server = MllpServer(settings.clinical.mllp, self.accept) if settings.clinical.mllp.enabled else None

    @property
    def port(self) -> int | None:
        """TCP port of the MLLP listener once it is started; None where it is switched off."""
        return self._server.port if self._server else None

    def start(self) -> None:
        """Listen for HL7, and take up what an earlier run left in the inbox.

        Raises:
            OSError: the address cannot be listened on.

        """
        if self._server:
            self._server.start()
        with self._ledger.begin() as c:
            jobs.touch(c, PROCESS_FRAMES, QUEUE_KEY, lane=FEED_LANE)

    def stop(self) -> None:
        """Answer what was received and close."""
        if self._server:
            self._server.stop()

    def accept(self, frame: bytes, peer: str) -> bytes | None:
        """Commit a frame to the inbox and return its acknowledgement.

        Raises:
            NotStored: the ledger cannot write now; the sender is not answered and repeats.

        """
        at = dt.datetime.now(dt.UTC)
        accepted = inbox.accept(frame, at=at, default_charset=self._settings.mllp.default_charset)
        try:
            with self._ledger.begin() as c:
                new = intake.store_frame(c, frame, accepted, peer=peer, at=at)
                if new is not None and accepted.error is None:
                    jobs.touch(c, PROCESS_FRAMES, QUEUE_KEY, lane=FEED_LANE)
        except LedgerUnavailable as error:
            raise NotStored(str(error)) from error
        self._wake()
        return accepted.ack

    def process_frames(self, task: Task) -> None:
        """Work off the inbox, one short transaction per message, so that a crash repeats at most one."""
        while True:
            with self._ledger.begin() as c:
                jobs.checkpoint(c, task)
                frames = clinical.unprocessed_frames(c, limit=1)
                if not frames:
                    return
                patients = intake.process_frame(
                    c,
                    frames[0],
                    self._rules,
                    at=dt.datetime.now(dt.UTC),
                    trusted=self._settings.trusted_issuers,
                    default_charset=self._settings.mllp.default_charset,
                )
                wake_cases(c, patients)

    def poll_csv(self) -> None:
        """Look into the drop folder once and take what has settled."""
        if self._settings.csv.folder is None:
            return
        sink = intake.LedgerSink(self._ledger, trusted=self._settings.trusted_issuers)
        at = dt.datetime.now(dt.UTC)
        patients, files = csv_drop.poll(self._settings.csv.folder, self._settings.csv, self._rules, sink, at=at)
        if files:
            with self._ledger.begin() as c:
                wake_cases(c, patients)


def wake_cases(c: Connection, patients: Iterable[Identifier]) -> None:
    """Have the cases that wait for these patients look again now."""
    for case_id in case_patients.waiting_for(c, (p.value for p in patients)):
        jobs.poke(c, ADVANCE, advance_key(case_id))


def import_csv(ledger: Ledger, file: Path, settings: Settings, *, folder: Path) -> None:
    """Import a copy of one CSV file through a drop folder of its own below `folder`.

    Raises:
        SettingsError: the file is not in the feed's form; names the rule.

    """
    (folder / "inbox").mkdir(parents=True)
    shutil.copyfile(file, folder / "inbox" / "clinical.csv")
    sink = intake.LedgerSink(ledger, trusted=settings.clinical.trusted_issuers)
    at_once = settings.clinical.csv.model_copy(update={"settle": 0.0})
    csv_drop.poll(folder, at_once, reading_rules(settings), sink, at=dt.datetime.now(dt.UTC))
    if errors := list((folder / "rejected").glob("*.errors.csv")):
        rule = errors[0].read_text(encoding="utf-8").splitlines()[1].rpartition(",")[2]
        columns = ", ".join(sorted(REQUIRED_COLUMNS))
        msg = f"--clinical {file}: rejected ({rule}); the columns are {columns}"
        raise SettingsError(msg)


def reading_rules(settings: Settings) -> Rules:
    """How this site's feeds are read."""
    return Rules(zone=settings.site.zone, codes=shipped())
