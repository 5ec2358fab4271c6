"""One file of an archive to one row, by the rules of the running node: what the processes of an archive run load."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Final

from config.settings import Settings
from dicom_io.errors import HeaderInvalid, PixelDecodeError
from dicom_io.header import read_header
from dicom_io.radiograph import read_radiograph, refusals
from model.domain import ClinicalRecord, MatchClass, NotAssessed, Observation, Radiograph, Scored, Sex
from model.screener import STATED_DECIMALS, Screener, load_screener
from node.archive_jobs import Job
from node.archive_rows import FAILED, NOT_ASSESSED, SCREENED, Row
from node.engine_choice import half_from, wanted_engines
from node.errors import FailureCode
from node.limits import bounded

_STATED: Final = "manifest"
_FAILURES: Final[dict[type[Exception], str]] = {
    HeaderInvalid: FailureCode.HEADER_INVALID,
    PixelDecodeError: FailureCode.PIXEL_DECODE,
    MemoryError: FailureCode.IMAGE_LIMIT,
    OSError: "UNREADABLE",
}


def begin(settings: Settings, bundle: Path | None) -> tuple[tuple[str, ...], Callable[[Job], Row]]:
    """Load the model, then set the limits one image has: the table's head, and what makes rows.

    Every process of a run is given the same `bundle` (None: the shipped one), whatever is activated meanwhile.

    Raises:
        BundleError, SettingsError: the model cannot be used.

    """
    screener = load_screener(
        bundle,
        minimum_age=settings.model.minimum_age,
        prevalence=settings.model.site_prevalence,
        engines=wanted_engines(settings),
    )
    half = half_from(settings, screener.bundle)
    row = functools.partial(_row, settings, screener, half)
    return _head(settings, screener, half), bounded(row, settings.model)


def _head(settings: Settings, screener: Screener, half: int | None) -> tuple[str, ...]:
    """What a reader must know before the first row; a table under another head is never continued."""
    facts = screener.facts
    simulated = "TRAINED ON SIMULATED IMAGES - NOT FOR CLINICAL USE" if facts.simulated_training else "trained on films"
    return (
        f"Osteon {importlib.metadata.version('osteon')}, model {facts.bundle_id} ({simulated})",
        f"computed by {screener.bundle.runtime.facts()}; files {screener.digest[:16]}",
        _rules(settings, half),
        "Opportunistic screening, no diagnosis. BELOW does not exclude osteoporosis; codes say what was not assessed.",
    )


def _rules(settings: Settings, half: int | None) -> str:
    """Each setting that decides whether a film is scored, from which pixels, and on which scale the result is shown."""
    share = settings.model.site_prevalence
    scale = "probabilities as calibrated" if share is None else f"probabilities at model.site_prevalence {share!r}"
    captures = "screened" if settings.reception.accept_secondary_capture else "not screened"
    decoded = "in full" if half is None else f"at half resolution from {half} px"
    age = f"model.minimum_age {settings.model.minimum_age!r}"
    return f"{age}; {scale}; Secondary Captures {captures}; decoded {decoded}"


def _row(settings: Settings, screener: Screener, half: int | None, job: Job) -> Row:
    try:
        header = read_header(job.path)
        reasons = refusals(header, secondary_capture=settings.reception.accept_secondary_capture)
        if reasons:
            return Row(file=job.file, status=NOT_ASSESSED, codes=" ".join(reasons))
        return _assessed(job, read_radiograph(job.path, zone=settings.site.zone, half_from=half), screener)
    except tuple(_FAILURES) as error:
        codes = [code for kind, code in _FAILURES.items() if isinstance(error, kind)]
        return Row(file=job.file, status=FAILED, codes=codes[0])


def _assessed(job: Job, radiograph: Radiograph, screener: Screener) -> Row:
    age = job.age_years if radiograph.age_years is None else radiograph.age_years
    sex = job.sex if radiograph.sex is Sex.UNKNOWN else radiograph.sex
    result = screener.screen(dataclasses.replace(radiograph, age_years=age, sex=sex), _record(job))
    uids = {
        "sop_instance_uid": radiograph.reference.sop_instance_uid,
        "study_instance_uid": radiograph.reference.study_uid,
    }
    if isinstance(result, NotAssessed):
        return Row(file=job.file, status=NOT_ASSESSED, codes=" ".join(result.reasons), **uids)
    return _scored(job, result, uids)


def _scored(job: Job, result: Scored, uids: dict[str, str]) -> Row:
    return Row(
        file=job.file,
        status=SCREENED,
        codes=" ".join(result.reasons),
        category=result.category,
        mode=result.mode,
        probability=_printed(result.probability),
        threshold_low=_printed(result.t_low),
        threshold_high=_printed(result.t_high),
        p_image=_printed(result.p_image),
        p_clinical="" if result.p_clinical is None else _printed(result.p_clinical),
        **uids,
    )


def _printed(p: float) -> str:
    """To the digits by which it was decided: who compares the columns comes to the category beside them."""
    return f"{p:.{STATED_DECIMALS}f}"


def _record(job: Job) -> ClinicalRecord:
    """The manifest's statement as a record; without one, nobody was asked."""
    if job.weight_kg is None:
        return ClinicalRecord(match=MatchClass.NO_ID)
    weight = Observation(
        variable="weight", value=job.weight_kg, unit="kg", age_days=0.0, observation_id=0, source=_STATED
    )
    return ClinicalRecord(match=MatchClass.MATCH_DEMOG, age_years=job.age_years, sex=job.sex, observations=(weight,))
