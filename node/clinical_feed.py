"""The clinical feeds of a running node: MLLP to the inbox, inbox and drop folder to facts, cases told.

An HL7 message is answered AA only after its bytes are committed to the inbox, which no other work of the node writes
to; what it says is worked out afterwards, in the order of receipt (`inbox_consumer`).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from zoneinfo import ZoneInfo

from config.code_file import code_table
from config.settings import Settings, SettingsError
from dicom_io.tls import TlsFiles
from model.domain import Identifier
from node.csv_feed import CsvFeed
from node.csv_intake import LedgerSink
from node.feed_book import FeedBook
from node.feeds.csv_header import described
from node.feeds.csv_import import Importer
from node.feeds.hl7_check import IsPrior
from node.feeds.hl7_rules import Rules
from node.feeds.inbox import default_issuer
from node.feeds.mllp import MllpServer
from node.frame_reception import FrameReception
from node.inbox_consumer import InboxConsumer, Workplace
from node.issuers import Issuers
from node.store import clinical_persons
from node.store.engine import Ledger
from node.waking import Waking


class ClinicalFeed:
    """Both feeds of one listener."""

    def __init__(self, ledger: Ledger, inbox: Ledger, settings: Settings) -> None:
        """Raise SettingsError where the feed's TLS files cannot be used."""
        mllp = settings.clinical.mllp
        self._book = FeedBook(inbox)
        self.consumer = InboxConsumer(workplace(ledger, inbox, settings))
        is_prior = prior_lookup(ledger, settings) if mllp.prior_identifiers == "reject" else None
        self.reception = FrameReception(inbox, mllp, self._book, self.consumer.wake, is_prior)
        self.tls_files = TlsFiles(mllp.tls) if mllp.enabled and mllp.tls.enabled else None
        """What senders of HL7 are shown; None where they speak without TLS."""
        context = self.tls_files.context if self.tls_files else None
        self._server = MllpServer(mllp, self.reception.commit, self._book.count, context) if mllp.enabled else None
        self._csv = CsvFeed(ledger, settings, code_table(settings.clinical.codes.file), waking(settings).by_changes)
        self.poll_csv = self._csv.poll
        self.purge = self.consumer.purge

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
        self._book.start()
        self.consumer.start()
        self._csv.start()

    def stop(self) -> None:
        """Answer what was received and close; what is not worked off yet waits for the next start."""
        if self._server:
            self._server.stop()
        self.consumer.stop()
        self._csv.stop()
        self._book.stop()


def prior_lookup(ledger: Ledger, settings: Settings) -> IsPrior:
    """Asks the ledger whether an identifier was merged into another, in the spelling that it is stored in."""
    issuers = Issuers(listed=settings.clinical.issuers)

    def is_prior(identifier: Identifier) -> bool:
        with ledger.read() as c:
            return clinical_persons.is_prior(c, issuers.canonical(identifier))

    return is_prior


def workplace(ledger: Ledger, inbox: Ledger, settings: Settings) -> Workplace:
    """How this site's HL7 messages are worked off."""
    return Workplace(
        ledger=ledger,
        inbox=inbox,
        settings=settings.clinical,
        rules=reading_rules(settings),
        changed=waking(settings).by_changes,
    )


def import_csv(ledger: Ledger, file: Path, settings: Settings, *, folder: Path) -> None:
    """Import a copy of one CSV file that lies below `folder`.

    Raises:
        SettingsError: the file is not in the feed's form; names the rule.

    """
    folder.mkdir(parents=True)
    copy = folder / "clinical.csv"
    shutil.copyfile(file, copy)
    codes = code_table(settings.clinical.codes.file)
    sink = LedgerSink(ledger, waking(settings).by_changes, trusted=settings.clinical.trusted_issuers)
    issuers = Issuers(listed=settings.clinical.issuers)
    importer = Importer(settings.clinical.csv, codes, issuers, settings.site.zone, sink, lambda _seconds: None)
    outcome = importer.take(copy)
    if outcome.where != "done":
        why = ": ".join(filter(None, (outcome.rule, described(outcome.problems))))
        msg = f"--clinical {file}: {outcome.where} ({why}); see clinical.csv in `osteon settings` for the form"
        raise SettingsError(msg)


def waking(settings: Settings) -> Waking:
    """How this site's cases are woken."""
    return Waking(settle=settings.clinical.amend_settle)


def reading_rules(settings: Settings) -> Rules:
    """How this site's HL7 messages are read."""
    mllp, issuers = settings.clinical.mllp, Issuers(listed=settings.clinical.issuers)
    return Rules(
        zone=ZoneInfo(mllp.timezone) if mllp.timezone else settings.site.zone,
        codes=code_table(settings.clinical.codes.file),
        default_issuer=default_issuer(mllp, issuers),
        decimal_comma=mllp.decimal_comma,
        issuers=issuers,
    )
