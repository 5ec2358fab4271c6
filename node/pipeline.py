"""The flow from a received radiograph to its report. One file, readable in one sitting.

    PACS --C-STORE--> Received -> Matched -> Screened -> Reported --SR--> PACS     (the last arrow is node.delivery)
                          `-----------`-> NotApplicable(reasons) | Failed(code)

Each step takes one state and gives the next; it reads the spool and the clinical store and writes nothing. Saving the
new state with its follow-up work, in one transaction, is `node.worker`'s part: a step that dies is simply run again.
A step raises only `Retry` (look again later) and `GiveUp` (a person must look) on purpose.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, assert_never
from zoneinfo import ZoneInfo

from config.settings import Settings
from dicom_io import header as dicom_header
from dicom_io.errors import HeaderInvalid, PixelDecodeError
from dicom_io.radiograph import read_radiograph, refusals
from dicom_io.results import BuiltObject, Installation, ReportContext, ReportInvalid, build_results
from dicom_io.spool import Spool
from model.domain import (
    ClinicalRecord,
    MatchClass,
    NotAssessed,
    Radiograph,
    Reason,
    Scored,
    ScreeningResult,
    Sex,
)
from node.case import Case, Delivered, Matched, NotApplicable, Received, Reported, ReportObject, Screened, Source
from node.errors import FailureCode, GiveUp, Retry
from node.matching import clinical_record, match_patient
from node.store import outbox
from node.store.engine import Ledger

REQUIRED_VARIABLES = ("weight",)
"""With age and sex, what the clinical model cannot do without (model.md section 7)."""


class Screening(Protocol):
    """What the pipeline needs of `model.screener.Screener`; injected, so that this module never imports torch."""

    def screen(self, radiograph: Radiograph, record: ClinicalRecord) -> ScreeningResult:
        """Score the image with the record; every outcome is a value."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step brought: the next state, why, and the report's objects to be frozen with it."""

    case: Case
    why: str
    objects: tuple[BuiltObject, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The steps, with what they need. `now` gives the aware time."""

    ledger: Ledger
    spool: Spool
    screener: Screening
    settings: Settings
    installation: Installation
    node_version: str
    now: Callable[[], dt.datetime]

    def advance(self, case: Received | Matched | Screened) -> Step:
        """Take `case` one step further.

        Raises:
            Retry: the clinical data may still come.
            GiveUp: the object cannot be read, or its report would break a rule.

        """
        match case:
            case Received():
                return self.match(case)
            case Matched():
                return self.screen(case)
            case Screened():
                return self.report(case)
            case _:
                assert_never(case)

    def match(self, case: Received) -> Step:
        """Refuse what the header already rules out, then join the patient's clinical record, waiting a bounded time."""
        with _unreadable_gives_up():
            header = dicom_header.read_header(self._stored(case.source))
        reasons = (
            self._made_here(case)
            or refusals(header, secondary_capture=self.settings.reception.accept_secondary_capture)
            or self._too_young(dicom_header.age_years(header))
        )
        if reasons:
            return _not_applicable(case, reasons, by="header")
        identity = dicom_header.patient_identity(header)
        taken_at = dicom_header.acquired_at(header, self.settings.site.zone) or case.source.received_at
        with self.ledger.read() as connection:
            outcome = match_patient(
                connection,
                identity,
                dicom_header.accession_number(header),
                assumed_issuer=self._assumed_issuer(case.source.calling_ae),
            )
            record = clinical_record(
                connection, outcome, identity, t0=taken_at, known_at=self.now(), settings=self.settings.clinical
            )
        remaining = self._remaining_wait(case)
        missing = _missing(record, dicom_header.age_years(header), identity.sex)
        if missing and record.match is not MatchClass.NO_ID and remaining > 0:
            raise Retry(remaining, f"waiting for clinical data ({record.match}: {', '.join(missing)} missing)")
        why = f"{record.match}; joined {_listed(o.variable for o in record.observations)}; missing {_listed(missing)}"
        return Step(case=Matched(case_id=case.case_id, source=case.source, record=record), why=why)

    def screen(self, case: Matched) -> Step:
        """Score the image together with the record."""
        result = self.screener.screen(self._radiograph(case.source), case.record)
        match result:
            case NotAssessed():
                return _not_applicable(case, result.reasons, by="pixels", measurements=result.measurements)
            case Scored():
                screened = Screened(case_id=case.case_id, source=case.source, record=case.record, result=result)
                return Step(
                    case=screened,
                    why=f"{result.category}, {result.mode}, p={result.probability:.4f}, model {result.model.bundle_id}",
                )
            case _:
                assert_never(result)

    def report(self, case: Screened) -> Step:
        """Build the page and the SR, checked; their bytes are frozen in the transaction that records this state."""
        if case.result.category.lower() not in self.settings.report.report_on:
            return _no_report(case)
        with _unreadable_gives_up():
            header = dicom_header.read_header(self._stored(case.source))
        try:
            objects = build_results(header, self._radiograph(case.source), case.result, self._context())
        except ReportInvalid as error:
            raise GiveUp(FailureCode.REPORT_INVALID, str(error)) from error
        reported = Reported(
            case_id=case.case_id,
            source=case.source,
            match=case.record.match,
            result=case.result,
            objects=tuple(_summary(o) for o in objects),
            destinations=tuple(d.name for d in self.settings.delivery.destinations),
        )
        why = f"{_listed(o.kind for o in objects)} for {_listed(reported.destinations)}"
        return Step(case=reported, why=why, objects=objects)

    def _stored(self, source: Source) -> Path:
        path = self.spool.path(source.spool_file)
        if not path.is_file():
            raise GiveUp(FailureCode.SPOOL_MISSING, f"{source.spool_file} is not in the spool")
        return path

    def _radiograph(self, source: Source) -> Radiograph:
        """Decode the stored file, once its bytes are proved to be those that were received."""
        with _unreadable_gives_up():
            return _decode(self._stored(source), source.sha256, self.settings.site.zone)

    def _remaining_wait(self, case: Received) -> float:
        """Seconds until the deadline for clinical data; none when no feed could bring them."""
        clinical = self.settings.clinical
        if not clinical.mllp.enabled and clinical.csv.folder is None:
            return 0.0
        return clinical.wait - (self.now() - case.source.received_at).total_seconds()

    def _assumed_issuer(self, calling_ae: str) -> str:
        return next((p.issuer for p in self.settings.reception.peers if p.ae_title == calling_ae), "")

    def _made_here(self, case: Received) -> tuple[Reason, ...]:
        """An own result that came back is known by its UID, also where the archive changed its header."""
        with self.ledger.read() as connection:
            ours = outbox.made_here(connection, case.source.reference.sop_instance_uid)
        return (Reason.OWN_RESULT,) if ours else ()

    def _too_young(self, age_years: float | None) -> tuple[Reason, ...]:
        """Age known to be under the limit: no need to wait. An unknown age may still come with the clinical data."""
        under = age_years is not None and age_years < self.settings.model.minimum_age
        return (Reason.AGE_UNDER,) if under else ()

    def _context(self) -> ReportContext:
        return ReportContext(
            site_name=self.settings.site.name,
            zone=self.settings.site.zone,
            ae_title=self.settings.delivery.ae_title,
            installation=self.installation,
            node_version=self.node_version,
            at=self.now(),
            with_page=self.settings.report.page,
        )


@functools.lru_cache(maxsize=1)
def _decode(path: Path, sha256: str, zone: ZoneInfo) -> Radiograph:
    """Decode a spooled file whose bytes are proved to be those received; kept for the report that follows the score."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise GiveUp(FailureCode.SPOOL_MISSING, f"{path.name} is not what was received (SHA-256 differs)")
    return read_radiograph(path, zone=zone)


@contextmanager
def _unreadable_gives_up() -> Iterator[None]:
    """An object that cannot be read stays unreadable: no retry, a coded failure, the next case goes on."""
    try:
        yield
    except HeaderInvalid as error:
        raise GiveUp(FailureCode.HEADER_INVALID, str(error)) from error
    except PixelDecodeError as error:
        raise GiveUp(FailureCode.PIXEL_DECODE, str(error)) from error


def _not_applicable(
    case: Received | Matched, reasons: tuple[Reason, ...], *, by: str, measurements: tuple[tuple[str, float], ...] = ()
) -> Step:
    state = NotApplicable(case_id=case.case_id, source=case.source, reasons=reasons, measurements=measurements)
    return Step(case=state, why=f"by {by}: {_listed(reasons)}")


def _no_report(case: Screened) -> Step:
    """The site wants no report of this category: the case ends with its result in the ledger and nothing to send."""
    ended = Delivered(
        case_id=case.case_id, source=case.source, match=case.record.match, result=case.result, objects=(), proofs=()
    )
    return Step(case=ended, why=f"no report: report.report_on leaves out {case.result.category.lower()!r}")


def _missing(record: ClinicalRecord, age_years: float | None, sex: Sex) -> tuple[str, ...]:
    """What the clinical model would still need, by name."""
    known = {o.variable for o in record.observations} if record.match.joins else set()
    missing = [v for v in REQUIRED_VARIABLES if v not in known]
    if age_years is None and record.age_years is None:
        missing.append("age")
    if sex is Sex.UNKNOWN and record.sex is Sex.UNKNOWN:
        missing.append("sex")
    return tuple(missing)


def _summary(built: BuiltObject) -> ReportObject:
    return ReportObject(
        kind=built.kind,
        sop_class_uid=built.sop_class_uid,
        sop_instance_uid=built.sop_instance_uid,
        sha256=hashlib.sha256(built.part10).hexdigest(),
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
