"""The flow from a received radiograph to its report. One file, readable in one sitting.

    PACS --C-STORE--> Received -> ImageScored -> Matched -> Screened -> Reported --SR--> PACS  (delivery: node.delivery)
                          `------------`----------`-> NotApplicable(reasons) | Failed(code)

The image part comes first and needs nothing but the image: what the model is not meant for ends at once, and while the
others wait for clinical data their score lies in the ledger. Each step takes one state and gives the next; it reads the
spool and the ledger and writes nothing. Saving the new state with its follow-up work, in one transaction, is
`node.worker`'s part: a step that dies is simply run again. A step raises only `Retry` (look again later) and `GiveUp`
(a person must look) on purpose. Clinical data that come after the report are weighed in `node.reconsider`, which uses
the same parts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, assert_never

from config.settings import Settings
from dicom_io import header as dicom_header
from dicom_io.radiograph import refusals
from dicom_io.report import Write, write_here
from dicom_io.results import BuiltObject, Installation, ReportContext, ReportInvalid, build_results
from dicom_io.spool import Spool
from dicom_io.versions import Amends
from model.domain import (
    ClinicalRecord,
    ImageScore,
    MatchClass,
    ModelFacts,
    NotAssessed,
    Radiograph,
    Reason,
    Scored,
    ScreeningResult,
)
from node.amendment import used_observations
from node.case import (
    Basis,
    Case,
    Delivered,
    ImageScored,
    Matched,
    NotApplicable,
    Received,
    Reported,
    Screened,
    Source,
)
from node.errors import FailureCode, GiveUp, Retry
from node.film import Films
from node.joining import Joined, Joiner
from node.not_analysed import statement
from node.report_context import report_context, summary
from node.store import image_scores, report_objects
from node.store.clock_jump import SLACK_SECONDS
from node.store.engine import Ledger
from node.store.errors import StillLocked


class Screening(Protocol):
    """What the pipeline needs of `model.screener.Screener`; injected, so that this module never imports torch."""

    @property
    def digest(self) -> str: ...  # noqa: D102 - as in the screener
    @property
    def facts(self) -> ModelFacts: ...  # noqa: D102
    @property
    def required(self) -> tuple[str, ...]: ...  # noqa: D102
    def image_part(self, radiograph: Radiograph) -> ImageScore | NotAssessed: ...  # noqa: D102
    def combine(self, image: ImageScore, record: ClinicalRecord) -> ScreeningResult: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step brought: the next state, why, and what is recorded in the same transaction."""

    case: Case
    why: str
    image: image_scores.Entry | None = None
    """A score to be kept."""
    basis: Basis | None = None
    """What the report rests on; for Reported, and for a case that ends without one."""
    objects: tuple[BuiltObject, ...] = ()
    """The report's objects, to be frozen."""
    conflict: str = ""
    """Codes of a MATCH_CONFLICT, for the alert that is raised with this state."""
    stirred_at: dt.datetime | None = None
    """What the feeds had told until then is in this state."""
    receivers: tuple[str, ...] = ()
    """HL7 receivers that are told of the report."""
    destinations: tuple[str, ...] = ()
    """Where the objects of a case go that is not Reported."""


UnderWay = Received | ImageScored | Matched | Screened
"""A case that is still to be reported."""
_ALL_THAT_IS_KNOWN = dt.datetime.max.replace(tzinfo=dt.UTC)
"""Not this host's time: its clock may have been set back, or be behind that of the host which recorded the data."""
_BEING_WRITTEN_SECONDS = 1.0


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
    narrowed_days: Mapping[str, float] = field(default_factory=dict)
    """Look-backs of the model bundle, days by variable; they narrow the site's."""
    half_from: int | None = None
    """Short side in px from which images are decoded at half resolution; None: never."""

    def advance(self, case: UnderWay, fresh: image_scores.Entry | None = None, write: Write = write_here) -> Step:
        """Take `case` one step further. `fresh`: a score of an earlier step that is not in the ledger yet.

        `write` writes the SR of a report, perhaps elsewhere.

        Raises:
            Retry: the clinical data may still come.
            GiveUp: the object cannot be read, or its report would break a rule.

        """
        match case:
            case Received():
                return self._stated(self.look(case))
            case ImageScored():
                return self.match(case)
            case Matched():
                return self._stated(self.screen(case, fresh))
            case Screened():
                observations = used_observations(case.record, case.result)
                return self.report(case, Basis(persons=case.persons, observations=observations), write=write)
            case _:
                assert_never(case)

    def look(self, case: Received) -> Step:
        """End what header or pixels rule out; score the others by their image and say how long they may wait."""
        header = self._films.header(case.source)
        reasons = (
            self._made_here(case)
            or refusals(header, secondary_capture=self.settings.reception.accept_secondary_capture)
            or self._too_young(dicom_header.age_years(header))
        )
        if reasons:
            return _not_applicable(case, reasons, by="header")
        image, fresh = self._image_part(case.source)
        if isinstance(image, NotAssessed):
            return _not_applicable(case, image.reasons, by="pixels", measurements=image.measurements)
        wait_until = case.source.received_at + dt.timedelta(seconds=self._wait())
        scored = ImageScored(case_id=case.case_id, source=case.source, wait_until=wait_until)
        why = f"image accepted and scored; clinical data may come until {wait_until:%Y-%m-%d %H:%M:%S %Z}"
        return Step(case=scored, why=why, image=fresh)

    def match(self, case: ImageScored) -> Step:
        """Join the patient's clinical record; wait for it until the deadline, but not longer than it is incomplete."""
        joined = self.join(case.source)
        record, missing = joined.record, joined.missing
        remaining = (case.wait_until - self.now()).total_seconds()
        # More than it may wait at all: the clock was set back, or the site waits less now.
        may_wait = 0 < remaining <= self._wait() + SLACK_SECONDS
        if missing and record.match is not MatchClass.NO_ID and may_wait:
            raise Retry(remaining, f"waiting for clinical data ({record.match}: {', '.join(missing)} missing)")
        why = f"{record.match}; joined {_listed(o.variable for o in record.observations)}; missing {_listed(missing)}"
        matched = Matched(case_id=case.case_id, source=case.source, record=record, persons=joined.persons)
        return Step(case=matched, why=why, conflict=joined.conflict, stirred_at=joined.stirred_at)

    def screen(self, case: Matched, fresh: image_scores.Entry | None = None) -> Step:
        """Fuse the image's score with the record; `fresh` as in `advance`."""
        result, scored = self.score(case.source, case.record, fresh)
        match result:
            case NotAssessed():
                return _not_applicable(case, result.reasons, by="record", measurements=result.measurements)
            case Scored():
                screened = Screened(
                    case_id=case.case_id, source=case.source, record=case.record, result=result, persons=case.persons
                )
                why = f"{result.category}, {result.mode}, p={result.probability:.4f}, model {result.model.bundle_id}"
                return Step(case=screened, why=why, image=scored)
            case _:
                assert_never(result)

    def report(self, case: Screened, basis: Basis, amends: Amends | None = None, write: Write = write_here) -> Step:
        """Build the page and the SR, checked; their bytes are frozen in the transaction that records this state.

        `amends` is what a further version takes over. One whose predecessor left the node is always reported: nobody
        may be left with a result that no longer holds.
        """
        if not self._wants(case.result) and (amends is None or not amends.predecessors):
            return _no_report(case, basis, 1 if amends is None else amends.version)
        header, context = self._films.header(case.source), self.context(amends)
        try:
            objects = build_results(header, self._films.radiograph(case.source), case.result, context, write)
        except ReportInvalid as error:
            raise GiveUp(FailureCode.REPORT_INVALID, str(error)) from error
        reported = Reported(
            case_id=case.case_id,
            source=case.source,
            match=case.record.match,
            result=case.result,
            objects=tuple(summary(o) for o in objects),
            destinations=self.destinations,
            version=context.version,
        )
        why = f"version {context.version}: {_listed(o.kind for o in objects)} for {_listed(reported.destinations)}"
        receivers = tuple(r.name for r in self.settings.results.receivers)
        return Step(case=reported, why=why, objects=objects, basis=basis, receivers=receivers)

    def join(self, source: Source) -> Joined:
        """What is known now of the image's patient, as of the image's time.

        Raises:
            Retry: clinical data are being written, and that takes long.
            GiveUp: the object cannot be read.

        """
        joiner = Joiner(settings=self.settings, required=self.screener.required, narrowed_days=self.narrowed_days)
        header = self._films.header(source)
        try:
            with self.ledger.read() as c:
                return joiner.join(c, source, header, known_at=_ALL_THAT_IS_KNOWN)
        except StillLocked as error:  # no fault of the case, and not to be counted as one
            raise Retry(_BEING_WRITTEN_SECONDS, "clinical data are being written") from error

    def score(
        self, source: Source, record: ClinicalRecord, fresh: image_scores.Entry | None = None
    ) -> tuple[ScreeningResult, image_scores.Entry | None]:
        """The result of image and record; and the image's score when it was not in the ledger (another model since).

        `fresh` as in `advance`.
        """
        image, scored = self._image_part(source, fresh)
        return (image if isinstance(image, NotAssessed) else self.screener.combine(image, record)), scored

    def _image_part(
        self, source: Source, fresh: image_scores.Entry | None = None
    ) -> tuple[ImageScore | NotAssessed, image_scores.Entry | None]:
        """Fresh, or from the ledger where it is kept, else computed, with what is then to be kept."""
        model = self.screener.digest
        if fresh is not None and (fresh.digest, fresh.model) == (source.digest, model):
            return fresh.score, None
        with self.ledger.read() as c:
            kept = image_scores.load(c, source.digest, model)
        if kept is not None:
            return kept, None
        image = self.screener.image_part(self._films.radiograph(source))
        if isinstance(image, NotAssessed):
            return image, None
        return image, image_scores.Entry(digest=source.digest, model=model, score=image)

    def context(self, amends: Amends | None) -> ReportContext:
        """What the objects of a version depend on beside image and result; `amends` as in `report`."""
        return report_context(
            self.settings, self.installation, node_version=self.node_version, at=self.now(), amends=amends
        )

    def _stated(self, step: Step) -> Step:
        """A case that ends without a score, with the report that says so where the site wants one."""
        if not isinstance(step.case, NotApplicable) or not self.settings.report.send_not_analysed:
            return step
        header = self._films.header(step.case.source)
        objects = statement(step.case, header, self.screener.facts, self.context(None))
        told = f"; reported as not analysed: {_listed(o.kind for o in objects)}" if objects else ""
        return replace(step, objects=objects, destinations=self.destinations, why=step.why + told)

    def _wants(self, result: Scored) -> bool:
        """Whether the site wants a report of this category."""
        return result.category.lower() in self.settings.report.report_on

    @property
    def destinations(self) -> tuple[str, ...]:
        """Where a report goes, by name."""
        return tuple(d.name for d in self.settings.delivery.destinations)

    @property
    def _films(self) -> Films:
        settings = self.settings
        return Films(
            spool=self.spool, zone=settings.site.zone, charsets=settings.reception.charsets, half_from=self.half_from
        )

    def _wait(self) -> float:
        """Seconds an image may wait for clinical data; none when no feed could bring them."""
        clinical = self.settings.clinical
        return clinical.wait if clinical.mllp.enabled or clinical.csv.folder is not None else 0.0

    def _made_here(self, case: Received) -> tuple[Reason, ...]:
        """An own result that came back is known by its UID, also where the archive changed its header."""
        with self.ledger.read() as connection:
            ours = report_objects.made_here(connection, case.source.reference.sop_instance_uid)
        return (Reason.OWN_RESULT,) if ours else ()

    def _too_young(self, age_years: float | None) -> tuple[Reason, ...]:
        """Age known to be under the limit: no need to wait. An unknown age may still come with the clinical data."""
        under = age_years is not None and age_years < self.settings.model.minimum_age
        return (Reason.AGE_UNDER,) if under else ()


def _not_applicable(
    case: Received | Matched, reasons: tuple[Reason, ...], *, by: str, measurements: tuple[tuple[str, float], ...] = ()
) -> Step:
    state = NotApplicable(case_id=case.case_id, source=case.source, reasons=reasons, measurements=measurements)
    return Step(case=state, why=f"by {by}: {_listed(reasons)}")


def _no_report(case: Screened, basis: Basis, version: int) -> Step:
    """The site wants no report of this category: the case ends with its result in the ledger and nothing to send."""
    ended = Delivered(
        case_id=case.case_id,
        source=case.source,
        match=case.record.match,
        result=case.result,
        objects=(),
        proofs=(),
        version=version,
    )
    why = f"no report: report.report_on leaves out {case.result.category.lower()!r}"
    return Step(case=ended, why=why, basis=basis)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
