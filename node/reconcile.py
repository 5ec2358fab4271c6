"""No silent miss: asks the archive which radiographs it has of a day, and looks each up in the ledger.

An image that never reached the node is named; a report that the archive no longer has is sent again, the same bytes.
What the archive does not list cannot be missed there, so the figure is coverage of what it lists
(reception-and-delivery.md 4.3).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from config.settings import Destination, Settings
from dicom_io.archive_listing import radiographs_of
from dicom_io.errors import PeerRefused, PeerUnavailable
from node.case import Delivered, Failed, NotApplicable, Withdrawn
from node.delivery_record import RESENDS, refuse
from node.errors import Retry
from node.parcel import load
from node.read_back import Kept, absent
from node.store import alerts, cases, jobs, outbox, reconciliations, report_objects, sent
from node.store.alerts import AlertKind
from node.store.engine import Connection, Ledger
from node.store.reconciliations import Known
from node.tasks import DELIVER, deliver_key, destination_lane

ASK_AGAIN_SECONDS = 600.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What became of the radiographs that an archive lists for one day; every one is in exactly one group."""

    day: dt.date
    archive: str
    reported: int = 0
    """Delivered, or ended without a report because the site wants none of its category."""
    not_applicable: Mapping[str, int]
    """By coded reason; an image with several counts under the first."""
    failed: Mapping[str, int]
    """By code."""
    withdrawn: int = 0
    under_way: int = 0
    never_received: tuple[str, ...] = ()
    """SOP Instance UIDs."""
    missing_reports: tuple[int, ...] = ()
    """Cases whose report the archive had and has no longer; it is sent again."""

    @property
    def expected(self) -> int:
        """Images the archive lists."""
        return self.received + len(self.never_received)

    @property
    def received(self) -> int:
        """Images that reached the node."""
        ended = self.reported + self.withdrawn + self.under_way
        return ended + sum(self.not_applicable.values()) + sum(self.failed.values())

    @property
    def percent(self) -> float | None:
        """Share of the expected images that have a report or a coded reason why there is none; None without images."""
        answered = self.reported + self.withdrawn + sum(self.not_applicable.values())
        return 100.0 * answered / self.expected if self.expected else None

    def document(self) -> dict[str, Any]:
        """As JSON, for the ledger and for programs."""
        figures = {name: getattr(self, name) for name in ("expected", "received", "percent")}
        return figures | dataclasses.asdict(self) | {"day": self.day.isoformat()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """Compares archive and ledger. `now` gives the aware time."""

    ledger: Ledger
    settings: Settings
    now: Callable[[], dt.datetime]

    def nightly(self) -> None:
        """Look at the last days.

        Raises:
            Retry: the archive does not answer now.

        """
        today = self.now().astimezone(self.settings.site.zone).date()
        for back in range(self.settings.reconciliation.days, 0, -1):
            try:
                self.reconcile(today - dt.timedelta(days=back))
            except PeerUnavailable as error:
                raise Retry(ASK_AGAIN_SECONDS, str(error)) from error
            except PeerRefused as error:
                with self.ledger.begin() as c:
                    alerts.raise_alert(c, AlertKind.COVERAGE, self._subject(), f"cannot be asked: {error}")
                return

    def reconcile(self, day: dt.date) -> Coverage:
        """Compare one day (study date), have missing reports sent again, record and tell what was found.

        Raises:
            PeerUnavailable: the archive does not answer now.
            PeerRefused: it does not answer such questions.
            LookupError: the settings name no archive, or none that is a destination.

        """
        archive = self._archive()
        instances = radiographs_of(day, archive, self.settings)
        with self.ledger.read() as c:
            found = reconciliations.known(c, instances, archive=archive.name)
        missing = self._missing_reports(found, archive)
        coverage = _counted(day, archive.name, instances, found, missing)
        with self.ledger.begin() as c:
            for one in missing:
                _send_again(c, one, archive.name)
            reconciliations.keep(c, day, archive.name, coverage.document())
            self._tell(c, coverage)
        return coverage

    def _missing_reports(self, found: Mapping[str, Known], archive: Destination) -> tuple[Known, ...]:
        """Cases whose newest report the archive answered for and does not show."""
        objects: dict[str, Known] = {}
        kept: list[Kept] = []
        for one in found.values():
            if one.version is None or one.state != Delivered.__name__:
                continue
            with self.ledger.read() as c:
                if not _stands(c, one):
                    continue
                what = load(c, one.case_id, one.version, archive.name)
            for item in what.kept([s for s in what.sent if s.version == one.version and s.stored and s.kind != "note"]):
                objects[item.sop_instance_uid] = one
                kept.append(item)
        if not kept:
            return ()
        lost = absent(self.settings.reconciliation.by, kept, archive, self.settings.delivery)
        return tuple({objects[uid].case_id: objects[uid] for uid in lost}.values())

    def _tell(self, c: Connection, coverage: Coverage) -> None:
        figures = {"expected": coverage.expected, "received": coverage.received, "percent": coverage.percent}
        lost = len(coverage.missing_reports)
        log.info("reconcile.done", day=coverage.day.isoformat(), archive=coverage.archive, missing=lost, **figures)
        limit = self.settings.reconciliation.alert_below_percent
        subject = f"{self._subject()} {coverage.day.isoformat()}"
        if lost or (coverage.percent is not None and coverage.percent < limit):
            detail = f"{coverage.percent:.1f} %, never received {len(coverage.never_received)}, reports missing {lost}"
            alerts.raise_alert(c, AlertKind.COVERAGE, subject, detail)
        else:
            alerts.settle(c, AlertKind.COVERAGE, subject)
        alerts.settle(c, AlertKind.COVERAGE, self._subject())

    def _archive(self) -> Destination:
        name = self.settings.reconciliation.archive
        found = next((one for one in self.settings.delivery.destinations if one.name == name), None)
        if found is None:
            msg = f"reconciliation.archive: {name!r} is no destination; name one of delivery.destinations"
            raise LookupError(msg)
        return found

    def _subject(self) -> str:
        return f"archive {self.settings.reconciliation.archive}"


def _counted(
    day: dt.date, archive: str, instances: tuple[str, ...], found: Mapping[str, Known], missing: tuple[Known, ...]
) -> Coverage:
    states = Counter(one.state for one in found.values())
    ended = (Delivered.__name__, NotApplicable.__name__, Failed.__name__, Withdrawn.__name__)
    return Coverage(
        day=day,
        archive=archive,
        reported=states[Delivered.__name__],
        not_applicable=_by_code(found, NotApplicable.__name__),
        failed=_by_code(found, Failed.__name__),
        withdrawn=states[Withdrawn.__name__],
        under_way=sum(count for state, count in states.items() if state not in ended),
        never_received=tuple(uid for uid in dict.fromkeys(instances) if uid not in found),
        missing_reports=tuple(one.case_id for one in missing),
    )


def _by_code(found: Mapping[str, Known], state: str) -> dict[str, int]:
    return dict(Counter(one.reason.split(",")[0] for one in found.values() if one.state == state))


def _send_again(c: Connection, one: Known, archive: str) -> None:
    """Have the archive get a report once more that it showed proof of and does not have any longer.

    Not one that was amended or withdrawn while the archive was asked; and one that it loses again and again is a
    person's matter.
    """
    version = one.version or 0
    cases.lock_case(c, one.case_id)
    if not _stands(c, one):
        return
    if outbox.one(c, one.case_id, version, archive).resends >= RESENDS:
        refuse(c, one.case_id, version, archive, error=f"sent {RESENDS + 1} times and not kept: not found at night")
        return
    lost = [s.sop_instance_uid for s in sent.of_case(c, one.case_id, destination=archive) if s.version == version]
    sent.missing(c, archive, lost)
    outbox.send_again(c, one.case_id, version, archive, error="not found at reconciliation")
    jobs.touch(c, DELIVER, deliver_key(one.case_id, version, archive), lane=destination_lane(archive))
    log.warning("reconcile.report_missing", case=one.case_id, version=version, archive=archive)


def _stands(c: Connection, one: Known) -> bool:
    """Whether that version is the case's newest, final, and can still be sent whole."""
    case = cases.load(c, one.case_id)
    newest = isinstance(case, Delivered) and case.version == one.version
    return newest and report_objects.whole(c, one.case_id, one.version or 0)
