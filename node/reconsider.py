"""Reported -> Reported, the next version: clinical data that came after the report, weighed once.

    stirred by a feed, or asked by a person
        -> the same evidence: nothing          -> more evidence, in the window, first time: amended
        -> more evidence, but late or again: logged only
        -> the evidence is no longer so: a person must look, or amended where the site says so

Like a step of the pipeline it only reads. What it found is saved by `node.worker` in one transaction, and a weighing
that dies is run again with the same outcome, since nothing of it is kept before.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from dataclasses import dataclass

from dicom_io.versions import EarlierDocument, amends
from model.domain import MatchClass, Mode, NotAssessed, Scored
from node import amendment
from node.amendment import Available, Finding, ReviewCode, Used, used_observations
from node.case import Basis, Cause, Delivered, Reported, Screened
from node.delivery_record import under_way
from node.errors import FailureCode, GiveUp, Retry
from node.joining import Joined
from node.pipeline import Pipeline, Step
from node.store import clinical_persons, image_scores, report_versions, reviews
from node.store.report_versions import Version
from node.store.reviews import Pending

UNDER_WAY_SECONDS = 1.0
"""Until the end of a send is looked for again: only then is it known whether the version left the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What one weighing brought; everything is saved in one transaction."""

    stirred_at: dt.datetime | None
    """What the feeds had told until then is weighed."""
    remark: str = ""
    """For the history: codes and names of variables, no value."""
    settled: str = ""
    """Digest of evidence that is logged, flagged or acted on with this, and not again."""
    review: ReviewCode | None = None
    """A person must look."""
    invalid: bool = False
    """The amended report broke one of its own rules."""
    conflict: str = ""
    """Codes of a MATCH_CONFLICT that the report does not tell of, and that was not decided on before."""
    amended: Step | None = None
    image: image_scores.Entry | None = None
    """A score to be kept."""
    released: tuple[int, ...] = ()
    """Versions that had left the node when the amendment was built, and that it names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconsideration:
    """Weighs what is known now against what a report rests on."""

    pipeline: Pipeline

    def weigh(self, case: Reported | Delivered) -> Weighed | None:
        """What follows for a reported case; None when nothing waits to be weighed.

        Raises:
            Retry: an earlier version is just being sent.

        """
        with self.pipeline.ledger.read() as c:
            pending = reviews.pending(c, case.case_id)
            versions = report_versions.all_of(c, case.case_id)
        if (pending.stirred_at is None and pending.amend_asked is None) or not versions:
            return None
        try:
            joined = self.pipeline.join(case.source)
            result, image = self.pipeline.score(case.source, joined.record)
        except GiveUp:  # the image was removed after its retention: what stands in the ledger can still be compared
            return self._by_the_ledger(pending, self._used(case, versions[-1]), "its image is gone")
        # After the join, which may have waited for a correction: else that would pass for late data.
        used = self._used(case, versions[-1])
        if joined.record.match is MatchClass.CODES_UNCONFIRMED:  # nothing can be used now; that takes nothing back
            return self._by_the_ledger(pending, used, "the code table is not confirmed")
        now = Available(result=result, persons=joined.persons)
        weighed = self._judge(case, pending, versions, used, now, joined)
        told_before = case.match is MatchClass.CONFLICT or now.digest == pending.settled
        return dataclasses.replace(weighed, image=image, conflict="" if told_before else joined.conflict)

    def _used(self, case: Reported | Delivered, newest: Version) -> Used:
        """What the newest version rests on, and whether all of that stands."""
        with self.pipeline.ledger.read() as c:
            standing = report_versions.standing(c, newest.basis.observations)
        standing = standing and _recorded(newest, case.result)
        return Used(result=case.result, persons=newest.basis.persons, standing=standing)

    def _judge(
        self,
        case: Reported | Delivered,
        pending: Pending,
        versions: tuple[Version, ...],
        used: Used,
        now: Available,
        joined: Joined,
    ) -> Weighed:
        if now.digest == pending.settled and pending.amend_asked is None:
            return Weighed(stirred_at=pending.stirred_at)
        finding = amendment.compare(used, now)
        weighed = Weighed(stirred_at=pending.stirred_at, settled=now.digest)
        cause = self._cause(pending, versions, used, now, finding)
        if isinstance(cause, Cause) and isinstance(now.result, Scored):
            return self._amended(weighed, case, versions, cause, now.result, joined)
        if pending.amend_asked is not None and isinstance(now.result, Scored):
            return dataclasses.replace(weighed, remark="asked to amend: the evidence is the same, no new report")
        if finding is Finding.SAME:
            return Weighed(stirred_at=pending.stirred_at)
        if finding is Finding.CHANGED and not (self._amends_itself and isinstance(now.result, Scored)):
            return dataclasses.replace(weighed, review=amendment.review_code(used, now))
        changed = amendment.difference(case.result, now.result) if isinstance(now.result, Scored) else ""
        return dataclasses.replace(weighed, remark=f"logged only, {_why_not(finding, versions)}: {changed}")

    def _cause(
        self, pending: Pending, versions: tuple[Version, ...], used: Used, now: Available, finding: Finding
    ) -> Cause | None:
        """Why the report is to be amended; None when it is not."""
        if isinstance(now.result, NotAssessed) or not amendment.would_differ(used, now.result):
            return None
        if pending.amend_asked is not None:
            return Cause.PERSON
        if finding is Finding.CHANGED:
            return Cause.CORRECTION if self._amends_itself else None
        arrived = pending.stirred_at or self.pipeline.now()
        window = self.pipeline.settings.clinical.reprocess_window
        first = not _amended_before(versions) and amendment.within(versions[0].made_at, arrived, window)
        return Cause.LATE_DATA if finding is Finding.LATE and first else None

    def _amended(
        self,
        weighed: Weighed,
        case: Reported | Delivered,
        versions: tuple[Version, ...],
        cause: Cause,
        result: Scored,
        joined: Joined,
    ) -> Weighed:
        """The next version, built with the evidence of now; a failure leaves the old one and asks for a person."""
        with self.pipeline.ledger.read() as c:
            if under_way(c, case.case_id):
                raise Retry(UNDER_WAY_SECONDS, "an earlier version is just being sent")
            documents = report_versions.documents(c, case.case_id)
            released = report_versions.released(c, case.case_id)
        basis = Basis(
            cause=cause,
            changed=amendment.difference(case.result, result),
            persons=joined.persons,
            observations=used_observations(joined.record, result),
        )
        screened = Screened(case_id=case.case_id, source=case.source, record=joined.record, result=result)
        earlier = [EarlierDocument(part10=d.part10, released=d.version in released) for d in documents]
        try:
            step = self.pipeline.report(screened, basis, amends(versions[-1].version + 1, earlier))
        except GiveUp as error:
            invalid = error.code is FailureCode.REPORT_INVALID
            return dataclasses.replace(
                weighed, review=ReviewCode.AMENDMENT_FAILED, invalid=invalid, remark=f"not amended: {error}"
            )
        return dataclasses.replace(weighed, amended=step, released=released)

    def _by_the_ledger(self, pending: Pending, used: Used, why: str) -> Weighed:
        """Compare what the ledger alone can tell: used values taken back, and the person read as another."""
        if pending.amend_asked is not None:  # its flag was lifted when a person asked; it must not stay so
            failed, remark = ReviewCode.AMENDMENT_FAILED, f"not amended: {why}"
            return Weighed(stirred_at=pending.stirred_at, review=failed, remark=remark)
        with self.pipeline.ledger.read() as c:
            root = clinical_persons.root(c, used.persons[0]) if used.persons else None
            persons = () if root is None else clinical_persons.group(c, root)
            gone = root is not None and clinical_persons.blocked(c, root)
        rests = used.result.mode is Mode.IMAGE_AND_CLINICAL
        moved = rests and (gone or set(persons) != set(used.persons))
        if not moved and (used.standing or not rests):
            return Weighed(stirred_at=pending.stirred_at)
        digest = Available(result=used.result, persons=persons).digest
        if digest == pending.settled:
            return Weighed(stirred_at=pending.stirred_at)
        code = ReviewCode.PERSON_CHANGED if moved else ReviewCode.CORRECTED
        return Weighed(stirred_at=pending.stirred_at, settled=digest, review=code, remark=why)

    @property
    def _amends_itself(self) -> bool:
        return self.pipeline.settings.clinical.on_correction == "amend"


def _amended_before(versions: tuple[Version, ...]) -> bool:
    """Whether the one automatic amendment by late data was made."""
    return any(version.basis.cause is Cause.LATE_DATA for version in versions)


def _why_not(finding: Finding, versions: tuple[Version, ...]) -> str:
    if finding is Finding.CHANGED:
        return "the evidence is the same"
    return "the report was amended once" if _amended_before(versions) else "it came after the window"


def _recorded(version: Version, result: Scored) -> bool:
    """Whether it is known which observations the version rests on; reports of old releases did not say."""
    return bool(version.basis.observations) or all(item.observed_at is None for item in result.inputs)
